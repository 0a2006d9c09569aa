# shellcheck shell=bash
# Whether this machine can still be reached and does its job.

# healthy: every check of the user's; fails with $problem.
healthy() {
  local check
  [ -n "$BENTO_HEALTH_CHECKS" ] || return 0
  for check in "$BENTO_HEALTH_CHECKS"/*; do
    if [ ! -f "$check" ] || [ ! -x "$check" ]; then continue; fi
    if ! logged timeout --kill-after=5 "$BENTO_HEALTH_TIMEOUT" "$check"; then
      problem="the health check $(basename "$check") failed: $(last_words)"
      return 1
    fi
  done
}

# confirm DEADLINE: BENTO_CONFIRM_PASSES passes in a row, spread over the settle time, before the deadline in uptime seconds. A pass
# that fails starts the count again, since a service that comes and goes is not up. Fails with $problem.
confirm() {
  local deadline=$1 passes=0 pause=0 left why=
  # One pass has nothing to spread.
  [ "$BENTO_CONFIRM_PASSES" -le 1 ] || pause=$((BENTO_CONFIRM_SETTLE / (BENTO_CONFIRM_PASSES - 1)))
  while :; do
    left=$((deadline - $(uptime_seconds)))
    if [ "$left" -gt 0 ] && contact "$left" && healthy; then
      passes=$((passes + 1))
      say "confirmation $passes of $BENTO_CONFIRM_PASSES"
      [ "$passes" -lt "$BENTO_CONFIRM_PASSES" ] || return 0
      problem="it was not confirmed in time"
    else
      passes=0
      [ "$left" -gt 0 ] || return 1
      # A try that the deadline cut short tells less than the one before it.
      case $problem in *'no answer within'*) problem=${why:-$problem} ;; esac
      why=$problem
      say "not confirmed yet: $problem"
      # Trying again at once would only be in the way of what is still starting.
      [ "$pause" -gt 0 ] || pause=1
    fi
    sleep "$pause"
  done
}
