# shellcheck shell=bash
# The fleet's cache through the ssh server that this machine polls, where it reaches nothing else (`cache: { over: ssh }` in
# fleet.yaml): a port of this machine's own, for as long as something is realised or built.

# What URLs begin with of the cache that is forwarded now, as the server reaches it and as it is reached here.
forwarded='' forward_here=''
# What is reached without a proxy otherwise.
proxied=''

# open_forward TARGET: TARGET is ADDRESS:PORT, what the server connects to. Sets the above, or fails with $problem.
open_forward() {
  local port=''
  : > "$BENTO_RUN/forward.log"
  # It ends with the pipe that bash keeps to it, and which nothing that is started from here gets: so also with an agent that is
  # killed.
  coproc FORWARD { exec "$agent/fetchers/sftp" forward "$1" "$BENTO_RUN/forward.log" 2> "$BENTO_RUN/forward.err" 9>&-; }
  # A login, or several, where the port is taken.
  forward_pid=$!
  # Without a number of its own, it has ended already.
  [ -z "${FORWARD[0]-}" ] || read -r -t $((2 * BENTO_CONNECT_TIMEOUT)) -u "${FORWARD[0]}" port || port=''
  if ! [[ $port =~ ^[0-9]{1,5}$ ]]; then
    problem=$(last_words "$BENTO_RUN/forward.err")
    close_forward
    return 1
  fi
  forwarded=http://$1 forward_here=http://127.0.0.1:$port
  # A proxy that this machine has for the world outside (networking.proxy) knows nothing of its loopback.
  proxied=${no_proxy-${NO_PROXY-}}
  export no_proxy=127.0.0.1${proxied:+,$proxied}
  export NO_PROXY=$no_proxy
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
  # What was not set may be empty from here on.
  [ -z "$forwarded" ] || export no_proxy=$proxied NO_PROXY=$proxied
  forward_pid='' forwarded='' forward_here=''
}

# is_forwarded URL
is_forwarded() { [ -n "$forward_here" ] && [[ $1 = "$forward_here" || $1 = "$forward_here"[/?]* ]]; }

# told URL…: as the server has them, for people.
told() {
  local url urls=()
  for url in "$@"; do
    if is_forwarded "$url"; then url="$forwarded${url#"$forward_here"} over ssh"; fi
    urls+=("$url")
  done
  echo "${urls[*]}"
}
