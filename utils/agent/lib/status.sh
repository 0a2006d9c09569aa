# shellcheck shell=bash
# What this machine runs, for the person at it.

show_status() {
  if [ "${1:-}" = --json ]; then
    status_json
    return
  fi
  [ $# -eq 0 ] || usage "status has no '$1'"
  local next
  read_poll
  printf 'host       %s\n' "$BENTO_HOST"
  printf 'running    %s\n' "$(running_system)"
  printf 'boots      %s\n' "$(readlink -f "$BENTO_PROFILE" || echo unknown)"
  printf 'release    %s\n' "$(read_state applied.json .sequence | grep . || echo 'none yet')"
  local last='"\(.outcome) at \(.finished)\(if .reason then ": " + .reason else "" end)"'
  printf 'last       %s\n' "$(read_state last.json "$last" | grep . || echo 'no attempt yet')"
  [ -z "$poll_time" ] || printf 'last poll  %s: %s\n' "$poll_time" "$poll_text"
  case $poll_result in
    bad | waiting) printf "to do      when what was wrong is mended: 'bento-agent upgrade --again', or a new release\n" ;;
  esac
  if is_started_apart; then
    printf "started    with another system than boots by default: 'bento-agent rollback' stays with what runs for good,\n"
    printf "           'bento-agent upgrade --again' goes back to the release, and a new release is taken as ever\n"
  fi
  if is_suspended; then printf 'suspended  %s\n' "$(suspension)"; fi
  if is_staged; then
    printf 'restart    needed, for a system that can not be activated while this one runs\n'
  elif needs_reboot; then
    printf 'restart    needed, for the new kernel, initrd or modules\n'
  fi
  if [ -n "$(running_agent)" ]; then printf "now        an upgrade is running; 'bento-agent log -f' follows it\n"; fi
  next=$(next_poll)
  [ -z "$next" ] || printf 'next poll  %s\n' "$next"
  printf 'undelivered reports: %s\n' "$(undelivered json)"
  [ "$(undelivered log.gz)" -eq 0 ] || printf 'undelivered logs: %s\n' "$(undelivered log.gz)"
}

status_json() {
  local reboot=false running=false apart=false
  read_poll
  if is_started_apart; then apart=true; fi
  if needs_reboot || is_staged; then reboot=true; fi
  if [ -n "$(running_agent)" ]; then running=true; fi
  jq -n --arg host "$BENTO_HOST" --arg agent "$agent_version" --arg running "$(running_system || true)" \
    --arg booted "$(readlink -f "$BENTO_BOOTED" || true)" --arg boots "$(booting_system)" \
    --argjson sequence "$(sequence_of applied.json)" --arg last "$(read_state last.json tojson)" \
    --argjson suspended "$(suspension_json)" --argjson reboot "$reboot" --argjson upgrading "$running" --argjson apart "$apart" \
    --arg time "$poll_time" --arg result "$poll_result" --arg text "$poll_text" \
    --arg next "$(next_poll)" --argjson undelivered "$(undelivered json)" '
      def text: if . == "" then null else . end;
      { version: 1, host: $host, agent: $agent, running: ($running | text), booted: ($booted | text),
        boots: ($boots | text), sequence: (if $sequence == 0 then null else $sequence end),
        last: (try ($last | fromjson | { sequence, outcome, reason, started, finished }) catch null),
        poll: (if $time == "" then null else { time: $time, result: $result, text: $text } end),
        suspended: $suspended, startedApart: $apart, reboot: $reboot, upgrading: $upgrading, nextPoll: ($next | text), undelivered: $undelivered }'
}

# read_poll: sets $poll_time, $poll_result and $poll_text to what the last one has come to, since this machine was started; see
# come_to in lib/attempt.sh. The results are the outcomes of attempts, stuck, and up-to-date, other-system, nothing (published), restart
# (needed), bad, waiting, suspended and unreachable.
read_poll() {
  poll_time='' poll_result='' poll_text=''
  { read -r poll_time && read -r poll_result && read -r poll_text; } 2> /dev/null < "$BENTO_RUN/poll" || poll_time='' poll_result='' poll_text=''
  poll_text=$(scrub <<< "$poll_text" | tr -c '[:print:]\n' '?')
}

# undelivered KIND: how many files that end with that wait.
undelivered() { find "$BENTO_STATE/spool" -name "*.$1" 2> /dev/null | wc -l; }

# next_poll: when the timer starts the next attempt; nothing where there is no timer.
next_poll() {
  local next
  [ -n "$BENTO_UNIT" ] || return 0
  next=$(TZ=UTC systemctl show --property NextElapseUSecRealtime --value "$BENTO_UNIT.timer" 2> /dev/null) || return 0
  [ -z "$next" ] || date -u -d "$next" +%Y-%m-%dT%H:%M:%SZ 2> /dev/null || true
}
