# shellcheck shell=bash
# Asking the agent that runs as root, over its socket, for somebody who isn't. See lib/serve.sh.

BENTO_SOCKET=${BENTO_SOCKET:-/run/bento-agent.sock}
# What connects to it: socat, which is not in the agent's path.
BENTO_SOCAT=${BENTO_SOCAT:-socat}

# may_act: whether this can be done without asking.
may_act() { [ "$EUID" -eq 0 ] || [ -w "${BENTO_STATE:-/var/bento}" ]; }

# ask VERB ARGUMENT…: ends as what was asked for ends.
ask() {
  local request=$1
  shift
  if [ "$request" = suspend ]; then
    suspend_options "$@"
    request="suspend ${suspend_for:-forever} $suspend_why"
  else
    request="$request $*"
  fi
  # Whatever isn't meant to be in a line is a blank, and a reason isn't endless.
  local LC_ALL=C
  request=${request//[[:cntrl:]]/ }
  request=${request:0:500}
  unset -v LC_ALL
  request_agent "$request"
}

# request_agent LINE: prints what comes back, line by line, but for the last one, which is the status to end with.
request_agent() {
  local line status=
  if [ ! -S "$BENTO_SOCKET" ]; then
    bad_settings "this is root's here, since services.bento.local.group is not set: sudo bento-agent"
  fi
  [ -w "$BENTO_SOCKET" ] || bad_settings "this is root's, and of the group $(stat -c %G "$BENTO_SOCKET")"
  while IFS= read -r line || [ -n "$line" ]; do
    # What was taken for the last line was none.
    [ -z "$status" ] || printf 'exit %s\n' "$status"
    status=
    if [[ $line =~ ^exit\ ([0-9]{1,3})$ ]]; then status=${BASH_REMATCH[1]}; else printf '%s\n' "$line"; fi
  done < <(printf '%s\n' "$1" | "$BENTO_SOCAT" -t 86400 - "UNIX-CONNECT:$BENTO_SOCKET")
  if [ -z "$status" ]; then
    echo "bento-agent: $BENTO_SOCKET gave no answer, or not a whole one" >&2
    exit 1
  fi
  exit "$status"
}
