# shellcheck shell=bash
# Making a built system the running one, and only then the one that boots. Nothing here decides what is reported.

# running_system: the exact path that runs, which is the only thing ever gone back to.
running_system() { readlink -f "$BENTO_RUNNING"; }

# switch_to SYSTEM ACTION: SYSTEM's own program does it, in a process group of its own that the guard can end.
switch_to() {
  local status=0
  if [ -n "${guard:-}" ] && [ -e "$guard/armed" ]; then
    apart timeout --kill-after=10 "$BENTO_ACTIVATION_TIMEOUT" "$1/bin/switch-to-configuration" "$2" >> "$attempt_log" 2>&1 &
    # timeout leads a process group.
    echo $! > "$guard/activation"
    wait $! || status=$?
    rm -f "$guard/activation"
  else
    logged timeout --kill-after=10 "$BENTO_ACTIVATION_TIMEOUT" "$1/bin/switch-to-configuration" "$2" || status=$?
  fi
  return "$status"
}

# keep_alive SYSTEM NAME: a gc root, so that what may be gone back to is still there.
keep_alive() {
  logged nix-store --realise "$1" --add-root "$BENTO_STATE/gcroots/$2" --indirect
}

# Each phase is on disk before what it announces is done. See lib/state.sh.
write_intent() {
  jq -n --arg phase "$1" --arg from "$from" --arg to "$to" --arg guard "${guard:-}" --arg bootId "$(boot_id)" \
    --arg started "$started" --arg sequence "$manifest_sequence" --arg digest "$manifest_digest" \
    --arg commit "$manifest_commit" --arg expected "$manifest_toplevel" \
    '{ phase: $phase, from: $from, to: $to, guard: $guard, bootId: $bootId, started: $started,
       sequence: ($sequence | tonumber), digest: $digest, commit: $commit, expected: $expected }' | write_state intent.json
}

# activate_and_confirm: sets $outcome (activated, rolled-back or inconclusive) and $reason.
activate_and_confirm() {
  local status=0 deadline
  write_intent activating || { outcome=failed reason="the state can't be written"; return; }
  deadline=$(($(uptime_seconds) + BENTO_ACTIVATION_TIMEOUT + BENTO_CONFIRM_TIMEOUT + 15))
  if ! arm_guard "$from" "$deadline" || ! write_intent activating; then
    disarm_guard || true
    rm -f "$BENTO_STATE/intent.json"
    outcome=failed reason="the guard could not be armed"
    return
  fi
  say "activating $to"
  switch_to "$to" test || status=$?
  case $status in
    0) reason= ;;
    4) reason="some units failed to start" && say "$reason; whether that matters is for the confirmation to say" ;;
    124 | 137) reason="the activation took longer than $BENTO_ACTIVATION_TIMEOUT s" ;;
    *) reason="the activation failed with status $status: $(last_words)" ;;
  esac
  case $status in
    0 | 4)
      if confirm $(($(uptime_seconds) + BENTO_CONFIRM_TIMEOUT)); then
        # From here on the new system is right, whatever happens to this program; unless the guard was faster.
        write_intent committing || true
        if disarm_guard; then
          outcome=activated
          return
        fi
        problem="the guard's deadline passed"
      fi
      reason="${reason:+$reason; }$problem"
      ;;
  esac
  say "$reason: going back to $from"
  go_back
}

# go_back: the recorded path runs again, by this program or by the guard. Sets $outcome.
go_back() {
  if [ -z "$guard" ] || disarm_guard; then
    switch_to "$from" test || say "going back ended with status $?"
  else
    wait_for_guard
  fi
  if [ "$(running_system)" != "$from" ]; then
    # Once more, in case what failed was a passing thing.
    switch_to "$from" test || true
  fi
  if contact_returns; then
    outcome=rolled-back
    say "back on $from, and the server can be reached: this release won't be tried again"
  else
    # It was the network, and not the release.
    outcome=inconclusive
    say "back on $from, and the server still can't be reached: the release may not be to blame"
  fi
}

# The guard has won: it takes the time that an activation takes.
wait_for_guard() {
  local deadline=$(($(uptime_seconds) + BENTO_ACTIVATION_TIMEOUT))
  [ -e "$guard/fired" ] || return 0
  while [ ! -e "$guard/done" ] && [ "$(uptime_seconds)" -lt "$deadline" ]; do sleep 1; done
}

# commit: the confirmed system becomes the one that boots. Fails with $problem; then the profile is as it was.
commit() {
  local profile_before status=0
  profile_before=$(readlink -f "$BENTO_PROFILE" || true)
  if ! logged nix-env --profile "$BENTO_PROFILE" --set "$to"; then
    problem=$(no_space_or "$(dirname "$BENTO_PROFILE")" "the system profile could not be set: $(last_words)")
    return 1
  fi
  switch_to "$to" boot || status=$?
  # A full /boot has been known to end with success.
  if [ "$status" -eq 0 ] && [ -d "$BENTO_BOOT" ] && [ "$(free_kib "$BENTO_BOOT")" = 0 ]; then status=28; fi
  [ "$status" -ne 0 ] || return 0
  problem="it runs, but could not be made the boot default (status $status): $(last_words)"
  if [ -n "$profile_before" ]; then
    logged nix-env --profile "$BENTO_PROFILE" --set "$profile_before"
    problem="$problem; the profile is back at $profile_before"
    switch_to "$profile_before" boot || problem="$problem, whose boot entry could not be written either"
  fi
  return 1
}
