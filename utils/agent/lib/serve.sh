# shellcheck shell=bash
# What members of a group may ask for without being root, over a unix socket that systemd listens on: one line comes in, and
# what it leads to goes out as it happens, with `exit N` as the last line.
#
#   status [--json] | history [--json] | log [-f | N] | upgrade | suspend DURATION|forever [REASON…] | resume
#
# To go back, or to what was found to be bad, isn't among these: that can bring back any old system, with its holes. Who asks is not trusted with anything
# else than this; the words that come in are compared, and never become a command.

max_request=512

# serve [INSTANCE]: answers the one request on standard input.
serve() {
  local LC_ALL=C line='' words=() arguments=() status=0
  BENTO_PEER=$(peer_of "${1:-}")
  export BENTO_PEER
  IFS= read -r -t 10 -n "$max_request" line || line=
  if [ -z "$line" ] || [ "${#line}" -ge "$max_request" ] || [[ $line == *[[:cntrl:]]* ]]; then
    decline "a request is one line of less than $max_request bytes"
  fi
  read -ra words <<< "$line"
  case ${#words[@]}:${words[0]:-} in
    1:status | 1:history | 1:log | 1:resume | 1:upgrade) arguments=("${words[0]}") ;;
    2:status | 2:history)
      [ "${words[1]}" = --json ] || decline "${words[0]} takes nothing but --json"
      arguments=("${words[0]}" --json)
      ;;
    2:log)
      [[ ${words[1]} =~ ^(-f|[1-9][0-9]{0,8})$ ]] || decline 'log takes nothing but -f or a number'
      arguments=(log "${words[1]}")
      ;;
    *:suspend)
      arguments=(suspend)
      if [ "${words[1]:-}" != forever ]; then
        seconds_of "${words[1]:-}" > /dev/null || decline 'suspend takes a duration such as 3d, or forever, and a reason'
        arguments+=(--for "${words[1]}")
      fi
      [ "${#words[@]}" -lt 3 ] || arguments+=(--reason "${words[*]:2}")
      ;;
    *:upgrade) decline "trying a release again is root's: sudo bento-agent upgrade --again" ;;
    *:rollback) decline "going back is root's: sudo bento-agent rollback" ;;
    *) decline 'there are status, history, log, upgrade, suspend and resume' ;;
  esac
  unset -v LC_ALL
  if [ "${arguments[0]}" = upgrade ]; then
    upgrade_followed < /dev/null 2>&1 || status=$?
  else
    "$BASH" "$agent/bento-agent" "${arguments[@]}" < /dev/null 2>&1 || status=$?
  fi
  echo "exit $status"
}

decline() {
  printf 'bento-agent: %s\nexit 2\n' "$1"
  exit 0
}

# peer_of INSTANCE: who is at the other end. systemd names the instances of a unit N-PID-UID, of whoever has connected.
peer_of() {
  local uid=${1##*-}
  if [[ $uid =~ ^[0-9]{1,10}$ ]]; then
    id -nu "$uid" 2> /dev/null || echo "uid $uid"
  else
    echo 'somebody at the machine'
  fi
}

# upgrade_followed: an attempt is made as the timer makes it, so that it is one whatever becomes of who asked for it; what
# it says comes from its log. Where one is running already, it is that one.
upgrade_followed() {
  local said before pid job status=0
  said=$(mktemp) || return 1
  before=$(attempt_mark)
  pid=$(running_agent)
  if [ -n "$BENTO_UNIT" ]; then
    systemctl start "$BENTO_UNIT.service" > "$said" 2>&1 &
  else
    setsid "$BASH" "$agent/bento-agent" upgrade > "$said" 2>&1 &
  fi
  job=$!
  while [ -z "$pid" ] && kill -0 "$job" 2> /dev/null; do
    sleep 0.1
    [ "$(attempt_mark)" = "$before" ] || pid=$(running_agent)
  done
  if [ -n "$pid" ]; then
    follow_log "$pid" || true
  elif [ "$(attempt_mark)" != "$before" ]; then
    scrub < "$BENTO_STATE/attempt.log"
  else
    cat "$said"
  fi
  wait "$job" || status=$?
  rm -f "$said"
  [ -z "$BENTO_UNIT" ] || status=$(systemctl show --property ExecMainStatus --value "$BENTO_UNIT.service") || status=1
  return "$status"
}

# attempt_mark: another one for each attempt.
attempt_mark() { cat "$BENTO_RUN/attempt" 2> /dev/null || true; }
