# shellcheck shell=bash
# Whether this machine can still be reached and does its job.

# contact: authenticated contact with the server, which is what an administrator's next release will need.
contact() { apart "$fetcher" poll > /dev/null 2>> "${attempt_log:-/dev/null}"; }

# healthy: every check of the user's; fails with $problem.
healthy() {
  local check
  [ -n "$BENTO_HEALTH_CHECKS" ] || return 0
  for check in "$BENTO_HEALTH_CHECKS"/*; do
    [ -x "$check" ] || continue
    if ! logged timeout --kill-after=5 "$BENTO_HEALTH_TIMEOUT" "$check"; then
      problem="the health check $(basename "$check") failed"
      return 1
    fi
  done
}

# confirm DEADLINE: three passes in a row, spread over the settle time, before the deadline in uptime seconds. A pass that
# fails starts the count again, since a service that comes and goes is not up. Fails with $problem.
confirm() {
  local deadline=$1 passes=0 pause=$((BENTO_CONFIRM_SETTLE / 2))
  while :; do
    problem=
    if ! contact; then problem="the server can't be reached"; elif healthy; then :; fi
    if [ -z "$problem" ]; then
      passes=$((passes + 1))
      say "confirmation $passes of 3"
      [ "$passes" -lt 3 ] || return 0
    else
      passes=0
      say "not confirmed yet: $problem"
    fi
    if [ $(($(uptime_seconds) + pause)) -ge "$deadline" ]; then
      problem=${problem:-"it was not confirmed in time"}
      return 1
    fi
    sleep "$((pause > 0 ? pause : 1))"
  done
}

# contact_returns: tries for the recovery time.
contact_returns() {
  local deadline=$(($(uptime_seconds) + BENTO_RECOVERY_TIMEOUT))
  while ! contact; do
    [ "$(uptime_seconds)" -lt "$deadline" ] || return 1
    sleep 2
  done
}
