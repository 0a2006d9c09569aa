# shellcheck shell=bash
# Making a built system the running one, and only then the one that boots. Nothing here decides what is reported.

# running_system: the exact path that runs, which is the only thing ever gone back to.
running_system() { readlink -f "$BENTO_RUNNING"; }

# booting_system: what the system profile stands for; nothing when there is none.
booting_system() { if [ -e "$BENTO_PROFILE" ]; then readlink -f "$BENTO_PROFILE"; fi; }

# switch_to SYSTEM ACTION: SYSTEM's own program does it, in a process group of its own (timeout makes it), noted
# before it begins: whoever finds the agent dead can end it.
switch_to() {
  local status=0 note=$BENTO_RUN/activation
  # shellcheck disable=SC2016
  logged "$BASH" -c 'umask 022 && echo $$ > "$1" && shift && exec "$@"' activation "$note" \
    timeout --kill-after=10 "$BENTO_ACTIVATION_TIMEOUT" "$1/bin/switch-to-configuration" "$2" || status=$?
  rm -f "$note"
  return "$status"
}

# end_activation: ends the one that an agent which was killed has left behind.
end_activation() {
  local group note=$BENTO_RUN/activation
  read -r group 2> /dev/null < "$note" || return 0
  rm -f "$note"
  # Unless the number is another program's by now.
  if [ -e "/proc/$group" ] && ! grep -qzF -e '/bin/switch-to-configuration' "/proc/$group/cmdline" 2> /dev/null; then return 0; fi
  # The number alone for the moment before it leads its group.
  kill -TERM -- "-$group" 2> /dev/null || kill -TERM "$group" 2> /dev/null || return 0
  say "ending an activation that is still going on"
  await 10 group_is_gone "$group" || kill -KILL -- "-$group" 2> /dev/null || true
}

group_is_gone() { ! kill -0 -- "-$1" 2> /dev/null; }

# keep_alive SYSTEM NAME: a gc root, so that what may be gone back to is still there.
keep_alive() {
  logged nix-store --realise "$1" --add-root "$BENTO_STATE/gcroots/$2" --indirect
}

# write_intent PHASE: each phase is on disk before what it announces is done. See lib/recover.sh.
write_intent() { write_attempt intent.json "{ phase: \"$1\", guard: \"$guard\" }"; }

# activate_and_confirm: sets $outcome (activated, or how it ended) and $reason.
activate_and_confirm() {
  local status=0 deadline before
  bound_log
  before=$(secrets_in_use)
  name_guard
  deadline=$(($(awake_seconds) + BENTO_ACTIVATION_TIMEOUT + BENTO_CONFIRM_TIMEOUT + BENTO_GUARD_SLACK))
  if ! write_intent activating || ! arm_guard "$from" "$deadline"; then
    disarm_guard || true
    outcome=failed reason="the guard could not be armed, so nothing was activated"
    return
  fi
  say "activating $to"
  use_secrets "$secrets" || status=secrets
  [ "$status" != 0 ] || switch_to "$to" test || status=$?
  case $status in
    0) reason= ;;
    secrets) reason="its secrets could not be put into use: $(no_space_or "$(dirname "$BENTO_SECRETS")" 'see the log' "for $BENTO_SECRETS")" ;;
    4) reason="some units failed to start" && say "$reason; whether that matters is for the confirmation to say" ;;
    124 | 137) reason="the activation took longer than $BENTO_ACTIVATION_TIMEOUT s" ;;
    *) reason="the activation failed with status $status: $(last_words)" ;;
  esac
  case $status in
    0 | 4)
      if own_secrets "$to" && restart_users_of_secrets "$to" "$before" "$secrets" &&
        confirm $(($(awake_seconds) + BENTO_CONFIRM_TIMEOUT)) && ! was_replaced; then
        # From here on the new system is right, whatever happens to this program; unless the guard was faster.
        if write_intent committing && disarm_guard; then
          outcome=activated
          return
        fi
        problem="the guard's deadline passed, or the state could not be written"
      fi
      reason="${reason:+$reason; }$problem"
      if was_replaced && disarm_guard; then
        outcome=inconclusive reason="$(running_system) was activated by hand before it was confirmed, and stays"
        return
      fi
      ;;
  esac
  say "$reason: going back to $from"
  go_back
}

# was_replaced: whether somebody has activated another system meanwhile. They had a reason, which nothing here undoes.
was_replaced() {
  local runs
  runs=$(running_system)
  [ "$runs" != "$to" ] && [ "$runs" != "$from" ]
}

# put_back: as ../guard does. Sets $status where the system's own program failed.
put_back() {
  restore_secrets
  logged leave_emergency "$from" || true
  switch_to "$from" test || { status=$?; say "going back ended with status $status: $(last_words)"; }
  restart_for_restored
}

# go_back: the recorded path runs again, by this program or by the guard. Sets $outcome, and adds to $reason.
go_back() {
  local status=0 again=
  if disarm_guard; then
    put_back
  else
    wait_for_guard || { say "the guard was ended before it was done"; again=1; }
  fi
  # Once more, in case what failed was a passing thing, or the guard is gone.
  if [ "$(running_system)" != "$from" ] || [ -n "$again" ]; then
    end_activation
    put_back
  fi
  if [ "$(running_system)" != "$from" ]; then
    outcome=stuck
    reason="$reason; and going back failed with status $status: $(running_system) runs, and $(booting_system) boots"
  elif contact_returns; then
    outcome=rolled-back
    # Nothing has failed: this machine was asleep, or busy, and may do better another time.
    [ -z "$slow" ] || outcome=inconclusive
    return
  else
    # It was the network, and not the release; or what the release has done to it is still in the kernel.
    outcome=inconclusive
    reason="$reason; the server can't be reached from the system before it either"
  fi
  if last_resort_helps && { [ "$outcome" = stuck ] || ! contact_comes_late; }; then
    outcome=inconclusive
    resort
  fi
}

# make_durable PLACE…: what has been written to the file systems of these is on their disks. A power cut takes what is only in
# memory: the files of a system whose boot entry is there, or the boot entry of one that was told to be what boots. Not every
# boot loader's installer sees to that. Fails with $problem.
make_durable() {
  local place
  for place in "$@"; do
    if [ -e "$place" ] && ! logged sync -f "$place"; then
      problem="$place could not be written to its disk: $(last_words)"
      return 1
    fi
  done
}

# commit: the confirmed system becomes the one that boots. Fails with $problem; then the profile is as it was.
commit() {
  local before status=0 runs='' why='' place
  keep_secrets "$to" || { problem="its secrets could not be kept: $(no_space_or "$BENTO_STATE" 'the disk refused it')"; return 1; }
  before=$(booting_system)
  if [ "$(running_system)" = "$to" ]; then runs='it runs, but '; fi
  if ! note_trial; then
    problem="${runs}does not boot: $(no_space_or "$BENTO_STATE" 'the state could not be written')"
    return 1
  fi
  if ! make_durable "$(nix_store_dir)"; then
    problem="${runs}does not boot: $problem"
    return 1
  fi
  if ! logged nix-env --profile "$BENTO_PROFILE" --set "$to"; then
    problem=$(no_space_or "$(dirname "$BENTO_PROFILE")" "the system profile could not be set: $(last_words)")
    problem="${runs}does not boot: $problem"
    return 1
  fi
  switch_to "$to" boot || status=$?
  # A full /boot has been known to end with success.
  for place in "${boot_places[@]}"; do
    if [ -d "$place" ] && [ "$(free_kib "$place")" = 0 ]; then
      [ "$status" -ne 0 ] || status=28
      why="no space is left in $place"
    fi
  done
  if [ "$status" -eq 0 ] && ! make_durable "$(dirname "$BENTO_PROFILE")" "${boot_places[@]}" "${loader_places[@]}" "$BENTO_STATE"; then
    status=5 why=$problem
  fi
  [ "$status" -ne 0 ] || return 0
  problem="${runs}could not be made the boot default (status $status): ${why:-$(last_words)}"
  [ -n "$before" ] || return 1
  if logged nix-env --profile "$BENTO_PROFILE" --set "$before"; then
    problem="$problem; the profile is back at $before"
    switch_to "$before" boot || problem="$problem, whose boot entry could not be written either"
  else
    problem="$problem; and the profile could not be put back to $before"
  fi
  return 1
}
