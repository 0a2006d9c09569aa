# shellcheck shell=bash
# What an attempt that was cut off has left: an intent on disk means that its program was killed, or the machine lost
# its power.

# resolve_interrupted: brings it to an end, which it reports.
resolve_interrupted() {
  local phase
  # Temporary files are nobody's any more, since this program has the lock.
  rm -rf "$BENTO_RUN"/sftp.* "$BENTO_STATE"/.*.new
  phase=$(read_state intent.json .phase)
  if [ -z "$phase" ]; then
    rm -f "$BENTO_STATE/intent.json"
    return
  fi
  from=$(read_state intent.json .from)
  to=$(read_state intent.json .to)
  guard=$(read_state intent.json .guard)
  started=$(read_state intent.json .started)
  manifest_sequence=$(sequence_of intent.json)
  manifest_digest=$(read_state intent.json .digest)
  manifest_commit=$(read_state intent.json .commit)
  manifest_toplevel=$(read_state intent.json .expected)
  say "an upgrade to release $manifest_sequence was cut off"
  if [ "$(read_state intent.json .bootId)" != "$(boot_id)" ]; then
    resolve_after_restart "$phase"
  else
    # First, so that what runs stays what runs.
    end_activation
    resolve_in_same_boot "$phase"
  fi
}

resolve_in_same_boot() {
  # Confirmed, and still running: the rest is done now, unless the guard has begun to undo it.
  if [ "$1" = committing ] && [ "$(running_system)" = "$to" ] && { disarm_guard || [ -e "$guard/disarmed" ]; }; then
    complete
  fi
  reason='the upgrade was cut off before it was confirmed'
  if [ "$(running_system)" = "$from" ]; then
    disarm_guard || wait_for_guard || true
  fi
  if [ "$(running_system)" != "$from" ]; then
    say "going back to $from"
    go_back
    [ "$outcome" != stuck ] || finish stuck "$reason"
  fi
  finish inconclusive 'the upgrade was cut off before it was confirmed; the system before it runs again'
}

resolve_after_restart() {
  guard=
  # Cut off after the boot loader was told, and before that was remembered.
  if [ "$1" = committing ] && [ "$(running_system)" = "$to" ]; then complete; fi
  # A profile that was set while the boot loader wasn't told: what runs is what boots.
  if [ "$1" = committing ] && [ "$(booting_system)" = "$to" ] && [ "$(running_system)" = "$from" ]; then
    logged nix-env --profile "$BENTO_PROFILE" --set "$from" || say "the profile could not be put back: $(last_words)"
  fi
  finish inconclusive "the machine was restarted during the upgrade; $(running_system) runs"
}

complete() {
  commit || finish failed "$problem"
  finish success 'the upgrade was cut off after it was confirmed, and completed at the next run'
}
