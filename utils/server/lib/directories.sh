# shellcheck shell=bash
# The fleet's directories. Sourced by provision, whose `die`, `root`, `publisher`, `login_of` (by host), `ids` (by
# login) and `tree` it uses.

# sshd accepts a chroot only if every directory on the way belongs to root and nobody else can write to it.
check_way() {
  local dir=$1
  case $dir in /*) ;; *) die "'$dir' is no absolute path" ;; esac
  while [ "$dir" != / ]; do
    dir=$(dirname "$dir")
    case $(stat -L -c '%u %A' "$dir" 2> /dev/null || echo missing) in
      0\ d????-??-?* | missing) ;;
      *) die "$dir must belong to root and be writable by nobody else, or sshd refuses chroots below it" ;;
    esac
  done
}

# What there is in the place of each directory, as 'drwxr-xr-x:OWNER:GROUP', by numbers.
declare -A found
look_at() {
  local line
  while read -r line; do found[${line#* }]=${line%% *}; done < <(
    printf '%s\0' "$@" | xargs -0 stat -c '%A:%u:%g %n' 2> /dev/null
  )
}

# own OWNER GROUP DIRECTORY: makes it theirs. What is in one that was somebody else's goes with it: so a chroot that was
# brought from elsewhere fits. (A number with + isn't looked up as a name first, for which there is no time.)
own() {
  case ${found[$3]-} in
    d*":$1:$2") ;;
    '') chown "+$1:+$2" "$3" ;;
    *) chown -R -h -P "+$1:+$2" "$3" ;;
  esac
}

make_directories() {
  local host dir id bento=${ids[$publisher]} outer=("$root") inner=()
  for host in "${!login_of[@]}"; do
    outer+=("$root/$host")
    inner+=("$root/$host/releases" "$root/$host/reports")
    [ -z "$tree" ] || inner+=("$root/$host/trees" "$root/$host/logs")
  done
  look_at "${outer[@]}" "$root/.bento" "${inner[@]}"
  # A symlink here would lead what follows astray; but only root could have made one.
  for dir in "${!found[@]}"; do
    case ${found[$dir]} in d*) ;; *) die "$dir is no directory" ;; esac
  done
  with_all mkdir -p "${outer[@]}" "$root/.bento" "${inner[@]}"
  with_all chown 0:0 "${outer[@]}"
  with_all chmod 755 "${outer[@]}"
  own "$bento" "$bento" "$root/.bento"
  chmod 700 "$root/.bento"
  for host in "${!login_of[@]}"; do
    id=${ids[${login_of[$host]}]}
    # setgid: what the publisher puts in is readable by the host's group, and what the host reports by the publisher's.
    own "$bento" "$id" "$root/$host/releases"
    own "$id" "$bento" "$root/$host/reports"
    [ -z "$tree" ] || make_tree "$root/$host" "$bento" "$id"
  done
  with_all chmod 2750 "${inner[@]}"
}

# make_tree CHROOT PUBLISHER HOST: what a host of the 2022 Bento reads, and nothing can be made in a chroot but by root: so
# its tree is a symlink to one that the publisher can change, and what says when it changed is a file of the publisher's.
make_tree() {
  own "$2" "$3" "$1/trees"
  own "$3" "$2" "$1/logs"
  if [ ! -L "$1/config" ]; then
    # A server of 2022 has the tree itself there: hosts go on with it until the first deploy.
    if [ -e "$1/config" ]; then
      mv -T "$1/config" "$1/trees/0-before"
      chown -R -h -P "+$2:+$3" "$1/trees/0-before"
      chmod -R u=rwX,g=rX,o= "$1/trees/0-before"
      ln -s 0-before "$1/trees/config"
    fi
    ln -s trees/config "$1/config"
  fi
  case $(stat -c '%u:%g:%a:%F' "$1/last_change_date" 2> /dev/null) in
    "$2:$3:640:regular"*) return ;;
    *:regular*) ;;
    '') : > "$1/last_change_date" ;;
    *) die "$1/last_change_date is no file" ;;
  esac
  # Its time stays: hosts take another one for news.
  chown -h "+$2:+$3" "$1/last_change_date"
  chmod 640 "$1/last_change_date"
}

# with_all PROGRAM OPTION ARGUMENT...: also where there are too many for one command line.
with_all() {
  # Of none, printf would make one that is empty: a fleet may have no hosts yet.
  [ $# -eq 2 ] || printf '%s\0' "${@:3}" | xargs -0 "$1" "$2"
}
