# shellcheck shell=bash
# Asking the server, through the fetcher, which says what this host's release is.

# Set where somebody at the machine does without it.
offline=

# poll_server FILE SECONDS: the envelope goes to FILE. Fails with $problem, and with status 75 when it is worth trying
# later.
poll_server() {
  local status=0 said=$BENTO_RUN/fetcher.err
  apart timeout --kill-after=5 "$2" "$fetcher" poll > "$1" 2> "$said" || status=$?
  [ -z "$attempt_log" ] || [ ! -s "$said" ] || cat "$said" 2> /dev/null >> "$attempt_log" || true
  case $status in
    0) return ;;
    124 | 137) problem="no contact: no answer within $2 s" status=75 ;;
    *) problem="no contact: $(last_words "$said")" ;;
  esac
  return "$status"
}

# contact SECONDS: authenticated contact with the server, which is what an administrator's next release will need.
# Fails with $problem.
contact() { [ -n "$offline" ] || BENTO_PROBE=1 poll_server /dev/null "$1"; }

# contact_returns: tries for the recovery time.
contact_returns() {
  local deadline=$(($(uptime_seconds) + BENTO_RECOVERY_TIMEOUT)) now
  while :; do
    now=$(uptime_seconds)
    [ "$now" -lt "$deadline" ] || return 1
    if contact $((deadline - now)); then return; fi
    sleep 1
  done
}
