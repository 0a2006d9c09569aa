# shellcheck shell=bash
# What may take as long as it likes, and is ended when it has stopped getting on: a download from a server that has gone silent, a
# build that waits for something that never comes. A line may be slow, so no deadline can tell the two apart; what is looked at is
# what has come of it.

# Which measure, below, has ended what was watched last.
ended_by=''

# watched SILENCE MEASURE [SILENCE MEASURE]… -- COMMAND…: runs COMMAND in a session of its own, and so in a process group of its own, and
# ends all of that when for SILENCE seconds nothing has changed in what MEASURE, a function that is given COMMAND's process id, prints.
# Fails with 124 then, and otherwise as COMMAND does. What COMMAND does ends with the agent, too, however that comes to its end.
watched() {
  local pairs=() watchers=() status=0 self=$BASHPID child note=$BENTO_RUN/silent
  while [ "$1" != -- ]; do
    pairs+=("$1" "$2")
    shift 2
  done
  shift
  ended_by=''
  [ ! -e "$note" ] || rm -f "$note"
  setsid "$@" < /dev/null &
  child=$!
  set -- "${pairs[@]}"
  while [ $# -gt 0 ]; do
    watch "$child" "$1" "$2" "$self" "$note" < /dev/null > /dev/null 2>&1 &
    watchers+=("$!")
    shift 2
  done
  # What is killed below is nothing that this shell should tell of.
  disown "${watchers[@]}"
  wait "$child" || status=$?
  kill -KILL "${watchers[@]}" 2> /dev/null || true
  if [ "$status" -ne 0 ] && [ -e "$note" ]; then
    read -r ended_by < "$note" || true
    status=124
  fi
  return "$status"
}

# watch CHILD SILENCE MEASURE PARENT NOTE: looks on, as a program of its own, so that it is there when the agent isn't any more. It
# counts seconds in which it ran: nothing gets on in a machine that sleeps, and no clock setting counts.
watch() {
  local child=$1 silence=$2 measure=$3 parent=$4 note=$5 quiet=0 between pause=0 before now
  trap 'end_watched "$child"; exit' TERM INT
  between=$((silence / 20))
  [ "$between" -ge 1 ] || between=1
  [ "$between" -le 60 ] || between=60
  # Waits for nothing, and starts no program each second.
  exec {never}<> <(:)
  before=$("$measure" "$child")
  while is_child_of "$parent" && kill -0 "$$" 2> /dev/null; do
    read -r -t 1 -u "$never" _ || true
    pause=$((pause + 1))
    [ "$pause" -ge "$between" ] || continue
    now=$("$measure" "$child")
    if [ "$now" = "$before" ]; then quiet=$((quiet + pause)); else quiet=0; fi
    pause=0 before=$now
    if [ "$quiet" -ge "$silence" ]; then
      echo "$measure" > "$note"
      break
    fi
  done
  end_watched "$child"
}

# is_child_of PID: whether it still is, which ends with PID.
is_child_of() {
  local said
  read -r said < "/proc/$BASHPID/stat" || return 1
  # The second word is a name in parentheses, which may hold anything.
  said=${said##*) } said=${said#* }
  [ "${said%% *}" = "$1" ]
}

# end_watched CHILD: asks the group to end, and ends it ten seconds later: Nix has builders of its own to end.
end_watched() {
  # The number alone for the moment before it leads its group.
  kill -TERM -- "-$1" 2> /dev/null || kill -TERM "$1" 2> /dev/null || return 0
  await 10 group_is_gone "$1" || kill -KILL -- "-$1" 2> /dev/null || true
}

# What has come of a fetch, by Bento's own fetchers: the archive, the repository, the release that is unpacked or staged.
fetched() {
  du -sb "$BENTO_STATE"/.archive.new "$BENTO_STATE"/{git,.git.new,branch.new,release.new} 2> /dev/null || true
}

# Of somebody else's nothing is known, so it is given a time for the whole.
unknown_progress() { :; }

# What has come of a download from a binary cache, in lots so large that one comes within a watcher's silence, $BENTO_CACHE_SPEED_TIME,
# when it brings $BENTO_CACHE_SPEED bytes a second. What Nix has written is counted, unpacked; and its memory and what it computes, so
# that nobody takes an evaluation for a download. What isn't one gets on.
download_speed() {
  local lot=$((BENTO_CACHE_SPEED * BENTO_CACHE_SPEED_TIME)) worker told=
  worker=$(worker_of "$1")
  if ! is_downloading "$worker"; then
    uptime_seconds
    return
  fi
  # What a daemon has written to who waits for it is news of every byte, and counts for nothing.
  [ "$worker" = "$1" ] || told="/proc/$1/io"
  # Of a processor's time, a hundredth of a second each.
  cat ${told:+"$told"} "/proc/$worker/io" "/proc/$worker/status" "/proc/$worker/stat" 2> /dev/null |
    awk -v told="$told" -v lot="$lot" -v tick="$BENTO_CACHE_SPEED" '
      $1 == "rchar:" && told { bytes -= $2; told = "" }
      $1 == "wchar:" { bytes += $2 }
      $1 == "VmHWM:" { bytes += $2 * 1024 }
      /^[0-9]+ \(/ { sub(/.*\) /, ""); bytes += ($12 + $13) * tick / 4 }
      END { printf "%d\n", bytes / lot }'
}

# worker_of PID: the process of Nix's daemon that works for it, of which it is an argument, where NIX_REMOTE says so; itself otherwise.
worker_of() {
  local file
  while read -r file; do
    if grep -qszE '(^|/)nix-daemon$' "$file"; then
      echo "${file//[!0-9]/}"
      return
    fi
  done < <(grep -lsxzF -- "$1" /proc/[0-9]*/cmdline)
  echo "$1"
}

# is_downloading PID: whether that program is connected to somebody, and nothing works for it, such as a builder.
is_downloading() {
  ! grep -qsE "^PPid:[[:space:]]+$1\$" /proc/[0-9]*/status || return 1
  { readlink "/proc/$1/fd/"*; cat "/proc/$1/net/tcp" "/proc/$1/net/tcp6"; } 2> /dev/null | awk '
    sub(/^socket:\[/, "") { own[$1 + 0]; next }
    $4 == "01" && $10 in own { found = 1 }
    END { exit !found }'
}

# What has come of Nix's work: what was said of it, and what Nix itself has written, such as a large path that it downloads, has got
# into memory, as it does with a tarball, or was told by a daemon that does all of it.
nix_progress() {
  log_size
  grep -hE '^([rw]char|VmHWM):' "/proc/$1/io" "/proc/$1/status" 2> /dev/null || true
}
