# shellcheck shell=bash
# What this host says of itself. Reports wait in $BENTO_STATE/spool until they are delivered (lib/deliver.sh), and are named by when
# their attempt began, so that one delivered twice is still one.

# Bytes of a log that are kept, before compression; its end is what matters.
max_log=1000000

# spool_report OUTCOME REASON: writes the report of the attempt that $started, $from, $to and manifest_* describe. That of one
# that is ended again stays as it was.
spool_report() {
  local name report
  name=$(printf '%013d-%s' "$(date -u -d "$started" +%s%3N)" "${manifest_sequence:-0}")
  report=$BENTO_STATE/spool/$name.json
  if [ -z "$ended" ] || ! { is_told "spool/$name.json" "$1" || is_told last.json "$1"; }; then
    write_report "$name" "$1" "$2" || return 1
  fi
  [ -e "$report" ] || return 0
  # After it: where it counts that something was told, it was.
  write_state last.json < "$report" || true
  remember_in_history "$report" "${report%.json}.log.gz"
}

# is_told FILE OUTCOME: whether the file is the report of this attempt. After a restart it may end once more, as something else.
is_told() { [ "$(read_state "$1" .started)" = "$started" ] && [ "$(read_state "$1" .outcome)" = "$2" ]; }

# write_report NAME OUTCOME REASON: into the spool, with its log.
write_report() {
  local finished reason
  reason=$(scrub <<< "$3")
  finished=$(utc %Y-%m-%dT%H:%M:%S.000Z)
  jq -n --arg host "$BENTO_HOST" --arg sequence "${manifest_sequence:-}" --arg digest "${manifest_digest:-}" \
    --arg commit "${manifest_commit:-}" --arg outcome "$2" --arg reason "$reason" --arg from "${from:-}" --arg to "${to:-}" \
    --arg expected "${manifest_toplevel:-}" --arg started "$started" --arg finished "$finished" \
    --arg bootId "$(boot_id)" --arg agent "$agent_version" '
      def text: if . == "" then null else .[:1000] end;
      { version: 1, host: $host, sequence: (if $sequence == "" then null else ($sequence | tonumber) end),
        digest: ($digest | text), commit: ($commit | text), outcome: $outcome, reason: ($reason | text), from: ($from | text), to: ($to | text),
        expected: ($expected | text), started: $started, finished: $finished, bootId: $bootId, agent: $agent }' \
    2> /dev/null > "$BENTO_STATE/.report.new" || return 1
  if [ -n "$attempt_log" ]; then
    # A report without its log is still one.
    # Scrubbed before it is cut, since half of a secret would not be found.
    if scrub 2> /dev/null < "$attempt_log" | tail -c "$max_log" | gzip -c 2> /dev/null > "$BENTO_STATE/.log.new"; then
      sync "$BENTO_STATE/.log.new" 2> /dev/null || true
      mv -T "$BENTO_STATE/.log.new" "$BENTO_STATE/spool/$1.log.gz"
    fi
  fi
  # On disk before it has its name, as in write_state: what is in the spool is delivered as it is.
  sync "$BENTO_STATE/.report.new" &&
    mv -T "$BENTO_STATE/.report.new" "$BENTO_STATE/spool/$1.json" && sync "$BENTO_STATE/spool"
}

# poll_interval: the seconds between two polls at most, by BENTO_INTERVAL; nothing where that can't be said. It is worked out once
# for each start of the machine.
poll_interval() {
  local expression seconds file=$BENTO_RUN/interval
  [ -n "$BENTO_INTERVAL" ] || return 0
  if { read -r expression && read -r seconds; } 2> /dev/null < "$file" && [ "$expression" = "$BENTO_INTERVAL" ]; then
    echo "$seconds"
    return
  fi
  seconds=$(
    TZ=UTC systemd-analyze calendar --iterations=20 -- "$BENTO_INTERVAL" 2> /dev/null |
      sed -n 's/^.*: [A-Z][a-z][a-z] \([0-9-]* [0-9:.]*\) UTC$/\1/p' |
      while read -r time; do date -u -d "$time" +%s; done |
      awk 'NR > 1 && $1 - last > most { most = $1 - last } { last = $1 } END { if (most > 0) print most }'
  ) || seconds=
  [[ $seconds =~ ^[0-9]{1,9}$ ]] || seconds=
  printf '%s\n%s\n' "$BENTO_INTERVAL" "$seconds" 2> /dev/null > "$file" || true
  echo "$seconds"
}

# write_heartbeat: what this host is right now.
write_heartbeat() {
  local reboot=false
  heartbeat=$BENTO_RUN/heartbeat.json
  if needs_reboot || is_staged; then reboot=true; fi
  jq -n --arg host "$BENTO_HOST" --arg agent "$agent_version" --arg running "$(running_system || true)" \
    --arg booted "$(readlink -f "$BENTO_BOOTED" || true)" --arg profile "$(booting_system)" \
    --argjson sequence "$(sequence_of applied.json)" --arg bootId "$(boot_id)" \
    --argjson reboot "$reboot" --arg interval "$(poll_interval)" --argjson suspended "$(suspension_json)" --arg time "$(utc %Y-%m-%dT%H:%M:%S.000Z)" '
      def text: if . == "" then null else . end;
      { version: 1, host: $host, time: $time, agent: $agent, running: ($running | text), booted: ($booted | text),
        profile: ($profile | text), sequence: (if $sequence == 0 then null else $sequence end), suspended: ($suspended != null),
        reboot: $reboot, bootId: $bootId }
      + (if $interval == "" then { } else { interval: ($interval | tonumber) } end)
      + ($suspended | if . == null then { } else { suspendedUntil: .until, suspendedReason: .reason } end)' > "$heartbeat"
}
