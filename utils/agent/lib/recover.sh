# shellcheck shell=bash
# What an attempt that was cut off has left: an intent on disk means that its program was killed, or the machine lost
# its power.

# resolve_interrupted: brings it to an end, which it reports.
resolve_interrupted() {
  local phase
  # Temporary files are nobody's any more, since this program has the lock.
  if compgen -G "$BENTO_RUN/sftp.*" > /dev/null || compgen -G "$BENTO_STATE/.*.new" > /dev/null; then
    rm -rf "$BENTO_RUN"/sftp.* "$BENTO_STATE"/.*.new
  fi
  end_again
  if ! has_attempt intent.json; then
    [ ! -e "$BENTO_STATE/undo.json" ] || rm -rf "$BENTO_STATE/undo.json"
    clear_away
    return
  fi
  phase=$(read_state intent.json .phase)
  read_attempt intent.json
  read_undo
  guard=$(read_state intent.json .guard)
  if [ -n "$undo" ]; then
    say "going back to $to was cut off"
  else
    say "an upgrade to release $manifest_sequence was cut off"
  fi
  if [ "$(read_state intent.json .bootId)" != "$(boot_id)" ]; then
    resolve_after_restart "$phase"
  else
    # First, so that what runs stays what runs.
    end_activation
    resolve_in_same_boot "$phase"
  fi
}

# clear_away: what one that was cut off at its very end has left in memory: guards that have nothing to do any more, and the
# secrets of the system before.
clear_away() {
  local guards=("$BENTO_RUN"/guard-*/) plain=("$BENTO_SECRETS.d"/*/) directory
  if [ -e "${guards[0]}" ]; then
    for directory in "${guards[@]}"; do
      [ ! -e "$directory/armed" ] || return 0
      if [ ! -e "$directory/fired" ] || [ -e "$directory/done" ]; then rm -rf "$directory"; fi
    done
  fi
  [ "${#plain[@]}" -le 1 ] || drop_unused_secrets
}

resolve_in_same_boot() {
  if [ "$1" = staging ]; then unstage 'the upgrade was cut off'; fi
  # Confirmed, and still running: the rest is done now, unless the guard has begun to undo it.
  if [ "$1" = committing ] && [ "$(running_system)" = "$to" ] && { disarm_guard || [ -e "$guard/disarmed" ]; }; then
    complete
  fi
  local again=
  if was_replaced && { disarm_guard || [ -e "$guard/disarmed" ]; }; then
    finish inconclusive "the upgrade was cut off, and $(running_system), which was activated by hand, stays"
  fi
  reason='the upgrade was cut off before it was confirmed'
  if [ "$(running_system)" = "$from" ]; then
    if disarm_guard; then
      restore_secrets
      restart_for_restored
    else
      # What it has begun, and not ended, is done once more.
      wait_for_guard || again=1
    fi
  fi
  if [ "$(running_system)" != "$from" ] || [ -n "$again" ]; then
    say "going back to $from"
    go_back
    [ "$outcome" != stuck ] || finish stuck "$reason"
    [ -z "$restart" ] || finish "$outcome" "$reason"
  fi
  reason="$reason; the system before it runs again"
  # Each time costs what the guard waits, and what runs here.
  cut_off=1
  if [ -z "$undo" ] && [ "$(times_cut_off)" -ge 3 ]; then
    finish rolled-back "$reason; it came to that three times, so it is what ends its own upgrade"
  fi
  # The guard has put it back, and nobody has seen yet whether that was enough.
  if last_resort_helps && ! contact "$BENTO_POLL_TIMEOUT" && ! contact_comes_late; then resort; fi
  finish inconclusive "$reason"
}

resolve_after_restart() {
  guard=
  if [ "$1" = staging ]; then
    # What runs is on trial.
    if [ "$(running_system)" = "$to" ]; then
      rm -f "$BENTO_STATE/intent.json"
      return
    fi
    unstage 'the machine was restarted during the upgrade'
  fi
  # Cut off after the boot loader was told, and before that was remembered. Where the system is the same, that it runs says nothing:
  # it has booted with the secrets from before, unless the new ones were kept by then.
  if [ "$1" = committing ] && [ "$(running_system)" = "$to" ] && ! { [ "$from" = "$to" ] && has_unkept_secrets "$to"; }; then complete; fi
  # A profile that was set while the boot loader wasn't told: what runs is what boots.
  if [ "$1" = committing ] && [ "$(running_system)" = "$from" ]; then
    if [ "$(booting_system)" = "$to" ]; then
      logged nix-env --profile "$BENTO_PROFILE" --set "$from" || say "the profile could not be put back: $(last_words)"
    fi
    # The same where that was not even on the disk yet: what is told of it is told now.
    if [ "$(read_state trial.json .to)" = "$to" ]; then rm -f "$BENTO_STATE/trial.json"; fi
  fi
  finish inconclusive "the machine was restarted during the upgrade; $(running_system) runs"
}

# unstage WHY: nothing was activated, and how far the boot loader was told is unknown.
unstage() {
  if [ "$(booting_system)" = "$to" ]; then boot_again "$from" || say "$problem"; fi
  resolved=trial.json
  finish inconclusive "$1 before it was the boot default"
}

complete() {
  commit || finish failed "$problem"
  finish success 'the upgrade was cut off after it was confirmed, and completed at the next run'
}
