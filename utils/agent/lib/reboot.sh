# shellcheck shell=bash
# Restarts: what only a restart brings in, when this machine may be restarted, and what becomes of it.
#
# A restart brings in what nothing has confirmed yet: another kernel, or a system that can't be switched to while the
# machine runs. So it is a trial, as an activation is one. Two more files in BENTO_STATE tell of it:
#
#   trial.json         what the next restart brings in, { staged, offline, waits }: whether it could not even be activated before;
#                      whether the last poll before the restart had no contact; whether there was none after it yet
#   last-resort.json   a release that cut the machine off so that only a restart could help, and the polls since then
#                      that found nobody, { misses, again, over }: whether it is the second time for that release; whether it was
#                      the network
#
# Both have beside that what intent.json has; see write_attempt in lib/state.sh.

# needs_reboot: whether what runs has a kernel, initrd or modules that only a restart brings in.
needs_reboot() { ! boots_alike "$BENTO_RUNNING" "$BENTO_BOOTED"; }

# boots_alike ONE OTHER: whether a restart would make no difference between two systems. A container has no kernel.
boots_alike() {
  local part
  for part in kernel initrd kernel-modules; do
    if [ -e "$1/$part" ] && [ -e "$2/$part" ] && ! [ "$1/$part" -ef "$2/$part" ]; then return 1; fi
  done
}

# inhibitors FROM TO: prints what keeps TO from being switched to while FROM runs, as NixOS itself finds it out: both
# have a file that maps names to what they stand for, and a name stands for something else in TO.
inhibitors() {
  jq -nr --slurpfile from "$1/switch-inhibitors" --slurpfile to "$2/switch-inhibitors" '
    $from[0] as $from | $to[0] | to_entries
    | map(select(.key as $key | $from | has($key)) | select(.value != $from[.key]).key) | join(", ")
  ' 2> /dev/null || true
}

# note_trial: called before $to becomes what boots. What is put back, should that go wrong, is known to boot.
note_trial() {
  local known=$from staged=true
  end_boot_once
  if [ "$(running_system)" = "$to" ]; then staged=false; fi
  if [ "$staged" = false ] && ! needs_reboot; then
    rm -f "$BENTO_STATE/trial.json"
    return
  fi
  boots_alike "$from" "$BENTO_BOOTED" || known=$(readlink -f "$BENTO_BOOTED")
  keep_alive "$known" trial && write_attempt trial.json "{ staged: $staged, from: \"$known\" }"
}

# is_staged: whether a system that was not activated waits for the next restart.
is_staged() {
  [ -e "$BENTO_STATE/trial.json" ] && [ "$(read_state trial.json .staged)" = true ] && [ "$(read_state trial.json .bootId)" = "$(boot_id)" ] &&
    [ "$(read_state trial.json .to)" = "$(booting_system)" ]
}

# stage WHAT: $to becomes what boots, without having been activated. It is reported when it has proved itself.
stage() {
  say "release $manifest_sequence can't be activated while this machine runs, since it has another $1"
  write_intent staging || finish failed 'the state could not be written'
  commit || finish failed "$problem"
  rm -f "$BENTO_STATE/intent.json"
  scrub_log 2> /dev/null || true
  drop_unused_secrets
  come_to restart 'it takes effect at the next restart'
  deliver
  restart_if_due
  exit 0
}

# resolve_trial: after a restart into what nothing has confirmed yet. It is confirmed as an activation is, and undone as
# one.
resolve_trial() {
  local booted staged
  if ! has_attempt trial.json; then
    end_boot_once
    return
  fi
  [ "$(read_state trial.json .bootId)" != "$(boot_id)" ] || return 0
  read_attempt trial.json
  staged=$(read_state trial.json .staged)
  booted=$(readlink -f "$BENTO_BOOTED")
  if [ "$booted" != "$to" ]; then
    trial_was_avoided "$booted"
    return
  fi
  if [ "$(read_state trial.json .waits)" = true ] && may_be_offline && is_offline; then wait_for_contact; fi
  say "this machine was restarted into release $manifest_sequence"
  if confirm_restart; then
    end_boot_once
    resolved=trial.json
    [ "$staged" != true ] || finish success 'it took effect with a restart'
    rm -f "$BENTO_STATE/trial.json"
    return
  fi
  reason="after a restart: $problem"
  if may_be_offline && is_offline; then wait_for_contact; fi
  resolved=trial.json
  if [ "$BENTO_LAST_RESORT" -eq 0 ]; then
    # It stays.
    end_boot_once
    finish failed "$reason"
  fi
  # With contact it isn't the network.
  if contact "$BENTO_POLL_TIMEOUT"; then
    boot_again "$from" && restart=1
    finish rolled-back "$reason"
  fi
  boot_again "$from" || finish failed "$reason; and $problem"
  resort
  finish inconclusive "$reason"
}

# confirm_restart: networks and services may take longer to come up with a machine than to come back.
confirm_restart() {
  local why
  bound_log
  if confirm $(($(awake_seconds) + BENTO_CONFIRM_TIMEOUT)); then return; fi
  if is_emergency; then return 1; fi
  why=$problem
  if contact_returns || { ! may_be_offline && contact_comes_late; }; then
    confirm $(($(awake_seconds) + BENTO_CONFIRM_TIMEOUT))
    return
  fi
  # A try that the recovery time cut short tells less.
  problem=$why
  return 1
}

# may_be_offline: whether it says nothing about what is on trial when there is no contact: there was none before the restart either.
# That is believed for a day, since a machine that has lost its power while it was offline may have a kernel now with which it
# never comes back. Where nothing would be done about it anyway, it is believed for ever.
may_be_offline() {
  # There is no network in it, and nobody starts the agent a second time.
  if is_emergency; then return 1; fi
  [ "$BENTO_LAST_RESORT" -gt 0 ] || return 0
  [ "$(read_state trial.json .offline)" = true ] && [ "$(uptime_seconds)" -lt 86400 ]
}

# is_offline: whether nobody answers. One who says no has answered. Sets $problem.
is_offline() {
  local status=0
  contact "$BENTO_POLL_TIMEOUT" || status=$?
  [ "$status" -eq 75 ]
}

# wait_for_contact: what is on trial stays so until there is contact, with which it can be judged.
wait_for_contact() {
  # It has come up; what is left to see doesn't stay away for a start more.
  end_boot_once
  [ "$(read_state trial.json .waits)" = true ] || change_trial '.waits = true'
  say "release $manifest_sequence is confirmed when there is contact, which there wasn't since the restart: ${problem#no contact: }"
  exit 75
}

# note_contact CONTACT: a poll had it (yes) or didn't (no).
note_contact() {
  [ -e "$BENTO_STATE/trial.json" ] && [ "$(read_state trial.json .bootId)" = "$(boot_id)" ] || return 0
  case $1:$(read_state trial.json .offline) in
    no:) change_trial '.offline = true' ;;
    yes:true) change_trial '.offline = false' ;;
  esac
}

# change_trial JQ-FILTER
change_trial() { jq "$1" "$BENTO_STATE/trial.json" 2> /dev/null | write_state trial.json || true; }

# trial_was_avoided BOOTED: the machine booted another system.
trial_was_avoided() {
  local once=''
  resolved=trial.json
  [ ! -e "$BENTO_STATE/boot-once.json" ] || once=', as is done when a system does not come up'
  if [ "$(booting_system)" = "$to" ]; then
    # The boot loader, or somebody at the machine, has had a reason.
    boot_again "$1" || say "$problem"
    finish rolled-back "the machine was restarted, and booted $1 instead$once"
  elif [ "$1" = "$from" ]; then
    finish inconclusive "the machine was restarted before it could be made the boot default; $(running_system) runs"
  fi
  # Somebody has made another system the boot default since.
  end_boot_once
  rm -f "$BENTO_STATE/trial.json"
}

# boot_again SYSTEM: makes it what boots. Fails with $problem.
boot_again() {
  if ! logged nix-env --profile "$BENTO_PROFILE" --set "$1" || ! switch_to "$1" boot; then
    problem="$1 could not be made the boot default again: $(last_words)"
    return 1
  fi
  # A restart that is about to come is orderly; the power may still be lost before it.
  make_durable "$(dirname "$BENTO_PROFILE")" "${boot_places[@]}" "${loader_places[@]}" || return 1
  end_boot_once
}

# last_resort_helps: whether a restart would bring $from back.
last_resort_helps() { [ "$BENTO_LAST_RESORT" -gt 0 ] && [ "$(booting_system)" = "$from" ]; }

# contact_comes_late: what contact_returns waits for, and much longer.
contact_comes_late() {
  [ "$BENTO_LAST_RESORT" -gt 0 ] || return 1
  say "no contact yet; in $BENTO_LAST_RESORT s this machine is restarted"
  BENTO_RECOVERY_TIMEOUT=$BENTO_LAST_RESORT contact_returns
}

# resort: `finish` will restart the machine, and whether that helps tells what was to blame. Adds to $reason.
resort() {
  local again=false
  reason="$reason; restarted into $from, the last resort"
  if [ "$(read_state last-resort.json .over)" = true ] && [ "$(sequence_of last-resort.json)" = "$manifest_sequence" ]; then again=true; fi
  write_attempt last-resort.json "{ misses: 0, again: $again }" || true
  restart=1
}

# judge_last_resort CONTACT: a poll after the restart had it (yes) or didn't (no). Contact that is back with the restart
# says that it was the release; contact that comes much later, that it was the network; unless it comes to that twice.
judge_last_resort() {
  local misses
  has_attempt last-resort.json || return 0
  [ "$(read_state last-resort.json .bootId)" != "$(boot_id)" ] && [ "$(read_state last-resort.json .over)" != true ] || return 0
  misses=$(read_state last-resort.json .misses)
  [[ $misses =~ ^[0-9]{1,4}$ ]] || misses=0
  if [ "$1" = no ]; then
    jq --argjson misses $((misses + 1)) '.misses = $misses' "$BENTO_STATE/last-resort.json" 2> /dev/null |
      write_state last-resort.json || true
    return
  fi
  if [ "$misses" -gt 2 ] && [ "$(read_state last-resort.json .again)" != true ]; then
    jq '.over = true' "$BENTO_STATE/last-resort.json" 2> /dev/null | write_state last-resort.json || true
    return
  fi
  read_attempt last-resort.json
  resolved=last-resort.json
  finish rolled-back 'it cut this machine off, until a restart brought the system before it back'
}

# restart_if_due: where the policy says so, now. One that would bring in something else than what runs isn't meant.
restart_if_due() {
  is_staged || { needs_reboot && [ "$(running_system)" = "$(booting_system)" ]; } || return 0
  case $BENTO_REBOOT in
    never) return ;;
    window)
      if ! in_window; then
        say "a restart is needed, and waits for $BENTO_REBOOT_WINDOW"
        return
      fi
      ;;
  esac
  restart_machine 'a restart is needed for the new kernel, initrd, modules or system'
}

# in_window: whether the time of day, here, is in BENTO_REBOOT_WINDOW, which may have midnight in it.
in_window() {
  local now from=${BENTO_REBOOT_WINDOW%-*} to=${BENTO_REBOOT_WINDOW#*-}
  now=$(date +%H:%M)
  if [[ $from < $to ]]; then
    [[ ! $now < $from && $now < $to ]]
  else
    [[ ! $now < $from || $now < $to ]]
  fi
}

# restart_is_coming: whether logind restarts this machine within a minute. Who asks for that once more puts it off for another one, and
# a machine that polls every minute, or that somebody asks to, would never come to it.
restart_is_coming() {
  local line mode='' at='' left
  while IFS= read -r line; do
    case $line in
      MODE=*) mode=${line#MODE=} ;;
      USEC=*) at=${line#USEC=} ;;
    esac
  done 2> /dev/null < /run/systemd/shutdown/scheduled || return 1
  [ "$mode" = reboot ] && [[ $at =~ ^[0-9]{7,17}$ ]] || return 1
  left=$((${at%??????} - $(utc %s)))
  [ "$left" -le 60 ] && [ "$left" -ge -60 ]
}

# restart_machine WHY [AFRESH]: asks for it; what asked goes on until it is ended. AFRESH is out of what has failed: not with kexec,
# which takes over what the failed kernel has made of the hardware, and can't be seen to fail.
restart_machine() {
  say "restarting this machine: $1"
  if [ -n "$BENTO_REBOOT_COMMAND" ]; then
    logged "$BENTO_REBOOT_COMMAND" "$1" || say "$BENTO_REBOOT_COMMAND failed: $(last_words)"
  elif restart_is_coming || { [ -z "${2:-}" ] && [ "$BENTO_REBOOT_KEXEC" = 1 ] && restart_with_kexec; }; then
    return
  else
    # A minute for those who are logged in, as system.autoUpgrade gives them.
    logged shutdown -r +1 "Bento: $1" || logged systemctl reboot || say "it can't be restarted: $(last_words)"
  fi
}

# restart_with_kexec: loads what boots, as NixOS's own prepare-kexec does. systemctl alone looks for it where only systemd-boot puts it,
# and takes whatever somebody has loaded before.
restart_with_kexec() {
  local system parameters
  system=$(booting_system)
  [ -e "$system/kernel" ] && [ -e "$system/init" ] && command -v kexec > /dev/null || return 1
  parameters=$(cat "$system/kernel-params" 2> /dev/null) || return 1
  logged kexec --load "$system/kernel" --initrd="$system/initrd" --append="$parameters init=$system/init" || return 1
  if logged systemctl kexec; then return; fi
  logged kexec --unload || true
  return 1
}
