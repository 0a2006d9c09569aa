# shellcheck shell=bash
# Whether this machine can still be reached and does its job.

# healthy: every check of the user's; fails with $problem.
healthy() {
  local check
  [ -n "$BENTO_HEALTH_CHECKS" ] || return 0
  for check in "$BENTO_HEALTH_CHECKS"/*; do
    if [ ! -f "$check" ] || [ ! -x "$check" ]; then continue; fi
    # What is told of it is what it has said, and nothing that came before.
    said_mark=$(log_size)
    if ! logged timeout --kill-after=5 "$BENTO_HEALTH_TIMEOUT" "$check"; then
      problem="the health check $(basename "$check") failed: $(last_words)"
      return 1
    fi
  done
}

# agent_of SYSTEM: the agent that SYSTEM has, which may be another one than this, with other settings.
agent_of() { echo "$1/sw/bin/bento-agent"; }

# keeps_agent: whether this machine would still be upgraded with $to, after $from. Fails with $problem.
keeps_agent() {
  [ ! -x "$(agent_of "$from")" ] || [ -x "$(agent_of "$to")" ] || {
    problem="it has no bento-agent, so it would be the last release that this machine takes: set services.bento.enable"
    return 1
  }
}

# proven SECONDS: whether $to, which runs, reaches the server and is healthy: by its own agent with its own settings, which is what
# polls from here on, and knows the checks that $to has. Fails with $problem.
proven() {
  local status=0 own said=$BENTO_RUN/prove.said arguments=()
  own=$(agent_of "$to")
  if [ ! -x "$own" ]; then
    contact "$1" && healthy
    return
  fi
  [ -z "$offline" ] || arguments+=(--offline)
  # The release that brought it has to be one that it would take itself: otherwise no other of this fleet's is, either. To go back
  # by hand is for whoever does it to judge; and what this machine has made of a branch was never signed.
  if [ -z "$undo" ] && ! is_vouched && [ -s "$BENTO_RUN/envelope" ]; then arguments+=("$BENTO_RUN/envelope"); fi
  # What systemd has set for this agent isn't what it will set for that one.
  apart timeout --kill-after=5 "$1" env -i PATH="$PATH" HOME=/root "$own" prove "${arguments[@]}" \
    < /dev/null > "$said" 2>&1 || status=$?
  [ -z "$attempt_log" ] || cat "$said" 2> /dev/null >> "$attempt_log" || true
  case $status in
    0) ;;
    124 | 137)
      problem="no answer within $1 s from the new system's agent"
      return 1
      ;;
    *)
      # One of before it could do this.
      if [ "$status" = 2 ] && grep -q "there is no 'prove'" "$said"; then
        contact "$1" && healthy
        return
      fi
      problem=$(last_words "$said")
      problem=${problem#bento-agent: }
      return 1
      ;;
  esac
}

# confirm DEADLINE: BENTO_CONFIRM_PASSES passes in a row, spread over the settle time, before the deadline in seconds that this machine was awake. A pass
# that fails starts the count again, since a service that comes and goes is not up. Fails with $problem; $slow says that there was
# no more to it than that.
confirm() {
  local deadline=$1 passes=0 pause=0 left why=
  slow=
  # One pass has nothing to spread.
  [ "$BENTO_CONFIRM_PASSES" -le 1 ] || pause=$((BENTO_CONFIRM_SETTLE / (BENTO_CONFIRM_PASSES - 1)))
  while :; do
    if is_emergency; then
      # It doesn't end by itself. The network may be as it was, and yet nobody gets in.
      problem='the machine went into emergency mode, as it does for a file system that can not be mounted'
      return 1
    fi
    left=$((deadline - $(awake_seconds)))
    if [ "$left" -gt 0 ] && proven "$left"; then
      passes=$((passes + 1))
      say "confirmation $passes of $BENTO_CONFIRM_PASSES"
      [ "$passes" -lt "$BENTO_CONFIRM_PASSES" ] || return 0
      problem="it was not confirmed in time"
    else
      passes=0
      if [ "$left" -le 0 ]; then
        [ -n "$why" ] || slow=1
        return 1
      fi
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

# prove [--offline] [ENVELOPE]: what `proven` asks the agent of a system that was just activated, as one line on stderr where it
# isn't. Nothing is changed; its places are its own.
prove() {
  local problem='' status=1
  if [ "${1:-}" = --offline ]; then
    offline=1
    shift
  fi
  own_places
  attempt_log=$BENTO_RUN/prove.log
  if will_poll && can_poll && accepts "${1:-}" && can_build && healthy; then status=0; fi
  scrub 2> /dev/null < "$attempt_log" >&2 || true
  [ "$status" -eq 0 ] || printf '%s\n' "$problem" >&2
  exit "$status"
}

# will_poll: whether systemd understands when to, and waits for it. It refuses a timer that it doesn't understand, and then nobody would
# ask the server again. Fails with $problem.
will_poll() {
  if [ -n "$BENTO_UNIT" ] && [ -d /run/systemd/system ] && ! systemctl is-active --quiet "$BENTO_UNIT.timer"; then
    problem="$BENTO_UNIT.timer does not run, so nobody would ask the server again"
    return 1
  fi
  [ -n "$BENTO_INTERVAL" ] && command -v systemd-analyze > /dev/null || return 0
  systemd-analyze calendar -- "$BENTO_INTERVAL" > /dev/null 2>&1 && return
  problem="services.bento.interval is no time that systemd understands: $BENTO_INTERVAL"
  return 1
}

# can_poll: contact, in words that say whose.
can_poll() {
  contact "$BENTO_POLL_TIMEOUT" && return
  problem="$problem (asked by the new system's own agent)"
  return 1
}

# can_build: whether its Nix gets as far as the store, without which the next release can't be had. Fails with $problem.
can_build() {
  local said=$BENTO_RUN/nix.err
  nix-store --check-validity "$(running_system)" 2> "$said" && return
  problem="its Nix does not work: $({ grep -m 1 '^error: ' "$said" || tail -n 1 "$said"; } | printable)"
  return 1
}

# accepts ENVELOPE: whether this agent would take that release. Fails with $problem.
accepts() {
  [ -n "$1" ] || return 0
  open_envelope "$1" && return
  problem="it would not take its own release: $problem"
  return 1
}
