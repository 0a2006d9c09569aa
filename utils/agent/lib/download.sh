# shellcheck shell=bash
# How fast a download of Nix's gets on, which Nix itself doesn't look at: what `watched` is told where a cache may only trickle.

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
