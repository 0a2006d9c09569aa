# shellcheck shell=bash
# One attempt, step by step. Once there is something to tell, every way out of it goes through `finish`, which
# remembers, reports, and says.

# begin_attempt: what every attempt begins with.
begin_attempt() {
  said_mark=0
  started=$(date -u +%Y-%m-%dT%H:%M:%S.%3NZ)
  guard='' slow='' in_contact='' from='' to='' problem='' reason='' restart='' resolved='' updating='' undo='' refusing=''
  manifest_sequence='' manifest_digest='' manifest_commit='' manifest_toplevel='' secrets='' ended='' cut_off=''
  attempt_log=$BENTO_STATE/attempt.log
  # The log of one that has ended goes with its report.
  [ -e "$BENTO_STATE/ending.json" ] || : 2> /dev/null > "$attempt_log" || attempt_log=
  # For whoever wants to follow it; see running_agent in lib/history.sh.
  { echo "$$ $started" > "$BENTO_RUN/attempt"; } 2> /dev/null || true
}

# upgrade [--again]: --again is somebody at the machine, who wants its release now whatever became of it before.
upgrade() {
  local again=
  while [ $# -gt 0 ]; do
    case $1 in
      --again) again=1 ;;
      *) usage "upgrade has no '$1'" ;;
    esac
    shift
  done
  begin_attempt

  # 1. What an attempt that was cut off has left, and reports that could not be delivered.
  resolve_interrupted
  resolve_trial
  updating=
  if is_suspended; then
    # Nothing is looked for, and yet this machine isn't silent.
    deliver
    come_to suspended "$(suspension)"
    exit 0
  fi
  # Their logs can wait until nothing waits for them.
  if has_undelivered_reports; then deliver_reports || true; fi

  # 2. What there is for this host; what it is now goes the same way.
  local envelope=$BENTO_RUN/envelope refused=''
  poll_with_heartbeat "$envelope" || {
    local status=$?
    if [ "$status" -ne 65 ]; then
      come_to "$(name_of_failure "$status")" "$problem"
      judge_last_resort no
      [ "$status" -ne 75 ] || note_contact no
      give_up "$status"
    fi
    refused=$problem
  }
  in_contact=1
  judge_last_resort yes
  note_contact yes
  if [ ! -s "$envelope" ]; then
    come_to nothing "nothing has been published for $BENTO_HOST yet"
    leave 0
  fi

  # 3. Is it this fleet's, this host's, and new?
  if ! from=$(running_system) || [ ! -x "$from/bin/switch-to-configuration" ]; then
    say "what runs here is no NixOS system: $BENTO_RUNNING"
    exit 2
  fi
  if [ -n "$refused" ]; then
    problem=$refused
    refuse "$envelope"
  fi
  open_envelope "$envelope" || refuse "$envelope"
  if is_applied && { [ -z "$again" ] || is_what_runs; }; then
    # Where that was lost. Without it, an older release would be taken if this one's were lost as well.
    remember_seen || true
    if is_what_runs; then
      come_to up-to-date "up to date with release $manifest_sequence"
      self_update
    else
      stay_with_other
    fi
    leave 0
  fi
  if is_staged && [ "$(sequence_of trial.json)" = "$manifest_sequence" ]; then
    come_to restart "release $manifest_sequence takes effect at the next restart"
    leave 0
  fi
  local left=
  if [ -z "$again" ]; then
    if is_bad "$manifest_toplevel"; then skip_bad; fi
    left=$(seconds_to_wait)
  fi
  if [ -n "$left" ]; then
    come_to waiting "release $manifest_sequence failed before, and is tried again in $left s"
    leave 0
  fi
  if ! has_room || ! remember_seen; then
    come_to failed "no space is left on the disk of $BENTO_STATE: nothing was done"
    leave 1
  fi
  say "release $manifest_sequence: $manifest_subject"

  # 4. Get it, and build it. Until here nothing of the machine was touched.
  ! has_files || say "fetching"
  fetch_release || {
    local status=$?
    [ "$status" -ne 75 ] || { come_to unreachable "$problem"; exit 75; }
    finish failed "$problem"
  }
  say "building"
  preflight || finish failed "$problem"
  build_release "$BENTO_STATE/release.next" || finish failed "$problem"
  to=$built
  check_built || finish failed "$problem"
  keeps_agent || finish failed "$problem"
  if [ -z "$again" ] && is_bad "$to"; then skip_bad; fi
  if [ "$to" = "$from" ] && [ "$(booting_system)" = "$to" ] && ! have_secrets_changed "$to" "$(released_secrets)"; then
    finish unchanged ''
  fi

  # 5. Make it what runs, and what boots.
  activate_release
}

# activate_release: $to, which was built, instead of $from, which runs; the attempt ends here.
activate_release() {
  local now
  # A build takes hours, in which somebody may have activated something by hand: that is what there is to go back to.
  now=$(running_system)
  if [ "$now" != "$from" ]; then
    say "$now was activated by hand meanwhile"
    if [ -n "$updating" ]; then
      remove_tree "$updating"
      exit 0
    fi
    from=$now
    if [ "$to" = "$from" ] && [ "$(booting_system)" = "$to" ] && ! have_secrets_changed "$to" "$(released_secrets)"; then finish unchanged ''; fi
  fi
  # Activate it, confirm it, and go back if that fails. The way back must exist, and the server be there to be lost.
  preflight || finish failed "$problem"
  keep_alive "$from" previous || finish failed "the running system could not be kept alive: $(last_words)"
  contact "$BENTO_POLL_TIMEOUT" || { come_to unreachable "not activating: $problem"; exit 75; }
  prepare_secrets "$to" "$(released_secrets)" || finish failed "$problem"
  local differs
  differs=$(inhibitors "$from" "$to")
  if [ -n "$differs" ]; then stage "$differs"; fi
  activate_and_confirm
  [ "$outcome" = activated ] || finish "$outcome" "$reason"

  # Only now is it what boots.
  commit || finish failed "$problem"
  finish success "$reason"
}

# finish OUTCOME REASON: the attempt's one end. It is noted first. What is remembered comes before the report, and the report
# before the note and the intent are forgotten: cut off anywhere, the next run does all of this again, and reports under the
# same name.
finish() {
  local outcome=$1 reason=$2 status=1 unreported=
  note_ending "$1" "$2" || true
  case $1 in success | unchanged) status=0 ;; esac
  if [ -n "$updating" ]; then
    finish_self_update "$outcome"
    reason="newer inputs${reason:+: $reason}"
  fi
  case ${undo:+undo}$outcome in
    undo*) conclude_undo ;;
    success | unchanged)
      if [ "$from" != "$to" ]; then keep_alive "$from" before || true; fi
      remember_applied "$to" || unreported=0
      forget_bad "$to" || true
      [ -n "$updating" ] || keep_release || true
      mv -T "$BENTO_STATE/gcroots/next" "$BENTO_STATE/gcroots/current" 2> /dev/null || true
      ;;
    rolled-back | stuck)
      # Other secrets of the same system say nothing against the system.
      if [ "$from" = "$to" ]; then
        remember_bad '' || true
      else
        remember_bad "$to" || true
        # It passed for applied until a restart has shown what it is.
        if [ "$(read_state applied.json .toplevel)" = "$to" ]; then forget_applied "$from" || true; fi
      fi
      # To the fleet, a machine that could not go back is one more failure, whose reason says it.
      [ "$outcome" = rolled-back ] || outcome=failed
      ;;
    failed | inconclusive)
      remember_failure || true
      # A restart has shown nothing, and was undone: it is to be taken again.
      if [ "$from" != "$to" ] && [ "$(read_state applied.json .toplevel)" = "$to" ] && [ "$(booting_system)" = "$from" ]; then
        forget_applied "$from" || true
      fi
      ;;
  esac
  if [ -n "$updating" ] && [ "$outcome" = success ]; then outcome=auto-updated; fi
  come_to "$outcome" "$outcome${reason:+: $reason}"
  # What isn't remembered isn't told yet. It is as if the attempt had been cut off here: what is confirmed is completed, and
  # told, by the next run.
  if [ "$unreported" != 0 ] && ! spool_report "$outcome" "$reason"; then
    say "the report could not be written: $(no_space_or "$BENTO_STATE" 'the disk refused it')"
    unreported=$status
  fi
  if [ "$unreported" != 0 ]; then
    # Only now, since no later run would tell of it.
    [ -z "$refusing" ] ||
      jq -n --arg envelope "$refusing" '{ envelope: $envelope }' | write_state refused.json || true
    rm -f "$BENTO_STATE/intent.json"
    # A restart that is a part of it comes last.
    [ -n "$restart" ] || rm -f "$BENTO_STATE/ending.json"
    rm -f "$BENTO_STATE/undo.json" ${resolved:+"$BENTO_STATE/$resolved"}
    forget_guard
  fi
  scrub_log 2> /dev/null || true
  drop_unused_secrets
  deliver
  notify "$outcome" "$reason"
  if [ -n "$restart" ]; then
    restart_machine "$reason" afresh
    [ "$unreported" = 0 ] || rm -f "$BENTO_STATE/ending.json"
  else
    # Also one that an earlier release has made due. Without contact the machine stays as it is: it is by contact that what a restart
    # brings in is judged.
    case $status$outcome$in_contact in 0* | *failed1 | *refused1 | *rolled-back1) restart_if_due ;; esac
  fi
  exit "$status"
}

# note_ending OUTCOME REASON: see finish. Fails when it could not be written.
note_ending() {
  local more reason
  [ -z "$ended" ] || return 0
  reason=$(scrub <<< "$2")
  more=$(jq -n --arg outcome "$1" --arg reason "$reason" --arg guard "$guard" --arg resolved "$resolved" --arg refusing "$refusing" \
    --arg restart "$restart" --arg sequence "$manifest_sequence" --arg subject "${manifest_subject:-}" '
      { outcome: $outcome, reason: $reason, guard: $guard, resolved: $resolved, refusing: $refusing, restart: $restart,
        nameless: ($sequence == ""), subject: $subject }') &&
    write_attempt ending.json "$more"
}

# end_again: an attempt that had ended, whose end was not remembered, reported and forgotten to the last step.
end_again() {
  local outcome
  has_attempt ending.json || return 0
  outcome=$(read_state ending.json .outcome)
  case $outcome in
    success | unchanged | failed | rolled-back | stuck | inconclusive | refused) ;;
    *) set_aside ending.json; return 0 ;;
  esac
  ended=1
  read_attempt ending.json
  read_undo
  resolved=$(read_state ending.json .resolved)
  refusing=$(read_state ending.json .refusing)
  manifest_subject=$(read_state ending.json .subject)
  [ "$(read_state ending.json .nameless)" != true ] || manifest_sequence=
  # After a restart both are over.
  if [ "$(read_state ending.json .bootId)" = "$(boot_id)" ]; then
    guard=$(read_state ending.json .guard)
    restart=$(read_state ending.json .restart)
  fi
  say "the last attempt has ended, and was cut off before that was remembered and reported"
  finish "$outcome" "$(read_state ending.json .reason)"
}

# leave STATUS: there is nothing more to do for a release now, but for what has waited for such a moment.
leave() {
  deliver_logs
  restart_if_due
  exit "$1"
}

# give_up STATUS: of a fetcher that failed.
give_up() { if [ "$1" -eq 75 ]; then exit 75; else exit 1; fi; }

name_of_failure() { if [ "$1" -eq 75 ]; then echo unreachable; else echo failed; fi; }

# come_to RESULT TEXT: what this poll comes to, said, and kept for whoever asks how this machine is; see lib/status.sh.
come_to() {
  say "$2"
  { printf '%s\n' "$(utc %Y-%m-%dT%H:%M:%SZ)" "$1" "$2" > "$BENTO_RUN/poll"; } 2> /dev/null || true
}

# poll_with_heartbeat FILE: Bento's own fetcher takes the heartbeat along in its session; others deliver it by
# themselves.
poll_with_heartbeat() {
  write_heartbeat || true
  if [ "$fetcher" = "$agent/fetchers/sftp" ] && [ "$reporter" = "$fetcher" ]; then
    BENTO_HEARTBEAT=$heartbeat poll_server "$1" "$BENTO_POLL_TIMEOUT"
  else
    local patience=("$BENTO_POLL_TIMEOUT") status=0 said
    # git can't get an envelope without the release.
    [ "$fetcher" != "$agent/fetchers/git" ] || patience=("$BENTO_FETCH_SILENCE" fetching)
    poll_server "$1" "${patience[@]}" || status=$?
    [ "$status" -eq 0 ] || [ "$status" -eq 65 ] || return "$status"
    said=$problem
    deliver_reports || true
    problem=$said
    return "$status"
  fi
}

is_applied() {
  [ "$(sequence_of applied.json)" = "$manifest_sequence" ] &&
    [ "$(read_state applied.json .digest)" = "$manifest_digest" ]
}

# has_room: what an attempt writes down, and its log, must have a place.
has_room() {
  local free
  free=$(free_kib "$BENTO_STATE")
  [ -z "$free" ] || [ "$free" -ge 1024 ]
}

# refuse ENVELOPE: reported once for each envelope, since it will be there at the next poll as well.
refuse() {
  local hash
  hash=$(sha256sum < "$1" | cut -d' ' -f1)
  if [ "$(read_state refused.json .envelope)" = "$hash" ]; then
    come_to refused "refused as before: $problem"
    leave 1
  fi
  refusing=$hash
  # What it says of itself counts for nothing.
  manifest_sequence='' manifest_digest='' manifest_commit='' manifest_toplevel=''
  finish refused "$problem"
}

# skip_bad: told the fleet once for each release, since it would wait for this machine for ever.
skip_bad() {
  local why
  why=$(of_bad "${to:-$manifest_toplevel}" .why)
  why=${why:-cut this machine off before}
  remember_seen || true
  if [ "$(sequence_of last.json)" != "$manifest_sequence" ]; then
    finish refused "it is what $why, and is not tried again"
  fi
  come_to bad "release $manifest_sequence $why, and is not tried again"
  leave 0
}
