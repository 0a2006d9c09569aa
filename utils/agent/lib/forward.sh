# shellcheck shell=bash
# The fleet's cache through the ssh server that this machine polls, where it reaches nothing else (`cache: { over: ssh }` in
# fleet.yaml): a port of this machine's own, for as long as something is realised or built.

# The URL in fleet.json of the cache that is forwarded now, and the one that it has meanwhile.
forwarded_url='' forward_url=''

# open_forward URL TARGET: TARGET is what the server connects to. Sets the above, or fails with $problem.
open_forward() {
  local port='' path=${1#*://}
  case $path in */*) path=/${path#*/} ;; *) path='' ;; esac
  : > "$BENTO_RUN/forward.log"
  # It ends with the pipe that bash keeps to it, and which nothing that is started from here gets: so also with an agent that is
  # killed.
  coproc FORWARD { exec "$agent/fetchers/sftp" forward "$2" "$BENTO_RUN/forward.log" 2> "$BENTO_RUN/forward.err" 9>&-; }
  # A login, or several, where the port is taken.
  forward_pid=$!
  read -r -t $((4 * BENTO_CONNECT_TIMEOUT)) -u "${FORWARD[0]:-0}" port || port=''
  if ! [[ $port =~ ^[0-9]{1,5}$ ]]; then
    problem=$(last_words "$BENTO_RUN/forward.err")
    close_forward
    return 1
  fi
  forwarded_url=$1 forward_url=http://127.0.0.1:$port$path
}

# forward_trouble: prints why what goes through it gets no answer, as ssh has it; nothing when ssh has nothing to say.
forward_trouble() {
  local said
  said=$(grep -m 1 'open failed:' "$BENTO_RUN/forward.log" 2> /dev/null | printable) || return 0
  case $said in
    *prohibited*) echo "the server doesn't connect this machine to it; set it up again from fleet.json" ;;
    *) echo "the server can't connect to it: ${said##*open failed: }" ;;
  esac
}

# close_forward: what still goes through it ends. None may be open.
close_forward() {
  [ -n "${forward_pid:-}" ] || return 0
  kill "$forward_pid" 2> /dev/null || true
  wait "$forward_pid" 2> /dev/null || true
  forward_pid='' forwarded_url='' forward_url=''
}

# told URL…: as fleet.yaml has them, for people.
told() {
  local url urls=()
  for url in "$@"; do
    if [ -n "$forward_url" ] && [ "$url" = "$forward_url" ]; then urls+=("$forwarded_url over ssh"); else urls+=("$url"); fi
  done
  echo "${urls[*]}"
}
