# shellcheck shell=bash
# One attempt, step by step. Every way out of it goes through `finish`, which remembers, reports, and says.

upgrade() {
  attempt_log=$BENTO_STATE/attempt.log
  started=$(date -u +%Y-%m-%dT%H:%M:%S.%3NZ)
  guard='' from='' to='' manifest_sequence='' manifest_digest='' manifest_commit='' manifest_toplevel=''
  : 2> /dev/null > "$attempt_log" || attempt_log=

  # 1. What an attempt that was cut off has left, and reports that could not be delivered.
  resolve_interrupted
  deliver_reports

  # 2. What there is for this host; what it is now goes the same way.
  local envelope=$BENTO_RUN/envelope status=0
  write_heartbeat || true
  BENTO_HEARTBEAT=${heartbeat:-} apart "$fetcher" poll > "$envelope" 2>> "${attempt_log:-/dev/null}" || status=$?
  if [ "$status" -ne 0 ]; then
    say "no contact: $(last_words)"
    [ "$status" -eq 75 ] && exit 75
    exit 1
  fi
  [ "$reporter" = "$agent/fetchers/sftp" ] && [ "$reporter" = "$fetcher" ] || deliver_heartbeat
  if [ ! -s "$envelope" ]; then
    say "nothing has been published for $BENTO_HOST yet"
    exit 0
  fi

  # 3. Is it this fleet's, this host's, and new?
  open_envelope "$envelope" || refuse "$envelope"
  from=$(running_system) && [ -x "$from/bin/switch-to-configuration" ] ||
    { say "what runs here is no NixOS system: $BENTO_RUNNING"; exit 2; }
  if [ "$(sequence_of applied.json)" = "$manifest_sequence" ] && [ "$(read_state applied.json .digest)" = "$manifest_digest" ]; then
    say "up to date with release $manifest_sequence"
    exit 0
  fi
  if is_bad "$manifest_toplevel"; then skip_bad; fi
  local left
  left=$(seconds_to_wait)
  if [ -n "$left" ]; then
    say "release $manifest_sequence failed before, and is tried again in $left s"
    exit 0
  fi
  say "release $manifest_sequence ($(jq -r '.subject | @text' "$manifest" | tr -c '[:print:]\n' '?' | head -n 1 | cut -c1-100))"

  # 4. Get it, and build it. Until here nothing of the machine was touched.
  say "fetching"
  fetch_release || { status=$?; [ "$status" -ne 75 ] || { say "$problem"; exit 75; }; finish failed "$problem"; }
  say "building"
  preflight || finish failed "$problem"
  build_release || finish failed "$problem"
  to=$built
  check_built || finish failed "$problem"
  if is_bad "$to"; then skip_bad; fi
  if [ "$to" = "$from" ] && [ "$(readlink -f "$BENTO_PROFILE")" = "$to" ]; then finish unchanged ''; fi

  # 5. Activate it, confirm it, and go back if that fails. The way back must exist, and the server be there to be lost.
  preflight || finish failed "$problem"
  keep_alive "$from" previous || finish failed "the running system could not be kept alive: $(last_words)"
  contact || { say "the server can't be reached any more; not activating"; exit 75; }
  activate_and_confirm
  [ "$outcome" = activated ] || finish "$outcome" "$reason"

  # 6. Only now is it what boots.
  commit || finish failed "$problem"
  finish success "$reason"
}

# finish OUTCOME REASON: the attempt's one end. What is remembered comes before the report, and the report before the intent
# is forgotten: cut off anywhere, the next run does the rest, and reports under the same name.
finish() {
  case $1 in
    success | unchanged)
      remember_applied "$to" || true
      rm -f "$BENTO_STATE/gcroots/current"
      mv -T "$BENTO_STATE/gcroots/next" "$BENTO_STATE/gcroots/current" 2> /dev/null || true
      ;;
    rolled-back) remember_bad "$to" || true ;;
    failed | inconclusive) remember_failure || true ;;
  esac
  local reason=${2:-}
  say "$1${reason:+: $reason}"
  spool_report "$1" "$reason" || say "the report could not be written: $(no_space_or "$BENTO_STATE" 'the disk refused it')"
  rm -f "$BENTO_STATE/intent.json"
  [ -z "$guard" ] || rm -rf "$guard"
  deliver_reports
  deliver_heartbeat
  case $1 in success | unchanged) exit 0 ;; *) exit 1 ;; esac
}

# refuse ENVELOPE: reported once for each envelope, since it will be there at the next poll as well.
refuse() {
  local hash
  hash=$(sha256sum < "$1" | cut -d' ' -f1)
  if [ "$(read_state refused.json .envelope)" = "$hash" ]; then
    say "refused as before: $problem"
    exit 1
  fi
  jq -n --arg envelope "$hash" '{ envelope: $envelope }' | write_state refused.json || true
  manifest_sequence='' manifest_digest='' manifest_commit='' manifest_toplevel=''
  finish refused "$problem"
}

skip_bad() {
  say "release $manifest_sequence cut this machine off before, and is not tried again"
  exit 0
}

# resolve_interrupted: an intent on disk means that an attempt was cut off: killed, or out of power.
resolve_interrupted() {
  local phase
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
  if [ "$(read_state intent.json .bootId)" != "$(boot_id)" ]; then guard=; fi
  # Confirmed, and still running: the rest is done now. The guard must not undo it meanwhile.
  if [ "$phase" = committing ] && [ "$(running_system)" = "$to" ] && { [ -z "$guard" ] || disarm_guard || [ -e "$guard/disarmed" ]; }; then
    commit || finish failed "$problem"
    finish success 'the upgrade was cut off, and completed at the next run'
  fi
  if [ -z "$guard" ] && [ "$(running_system)" != "$to" ]; then
    finish inconclusive 'the machine was restarted during the upgrade'
  fi
  if [ "$(running_system)" != "$from" ]; then
    go_back
  else
    [ -z "$guard" ] || disarm_guard || wait_for_guard
  fi
  finish inconclusive 'the upgrade was cut off before it was confirmed; the system before it runs again'
}
