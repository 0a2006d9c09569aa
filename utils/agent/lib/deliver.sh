# shellcheck shell=bash
# How reports get to the server. All that waits goes in one session, and that is the end of it; unless one has failed before: what a
# line broke over is then handed over in small pieces, each of which leaves the spool as soon as it is there: first what an
# administrator needs, the newest report and the heartbeat, then the reports before it, and logs last.
#
# $BENTO_STATE/undelivered says that there was trouble, and is there until nothing waits any more: the name of the log that was tried
# last, and how often that was in vain.

max_reports=50
reports_at_once=25
# Bytes of logs that share a session.
logs_at_once=65536
# A log that could not be delivered so often is cut to its end, of so many bytes; and after as many tries more it stays here.
log_tries=3
log_end=20000

# deliver: the heartbeat, and all that waits, as far as it can be delivered now.
deliver() {
  local latest=()
  if [ -e "$BENTO_STATE/undelivered" ]; then
    if deliver_reports; then deliver_logs; fi
    return 0
  fi
  look_at_spool
  write_heartbeat || return 0
  copy_latest
  hand_over "$BENTO_POLL_TIMEOUT" "${reports[@]}" "${latest[@]}" "$heartbeat" "${logs[@]}" || return 0
  are_delivered "${reports[@]}" "${logs[@]}"
}

# deliver_reports: the heartbeat and the reports without their logs, within the time of one poll, so that nothing waits for long. Fails
# where that didn't work. `latest.json` is the newest report once more: a reader that wants only that needs one name.
deliver_reports() {
  local latest=() newest=() others=() batch at deadline
  deadline=$(($(awake_seconds) + BENTO_POLL_TIMEOUT))
  look_at_spool
  write_heartbeat || return 0
  copy_latest
  if [ "${#reports[@]}" -gt 0 ]; then
    newest=("${reports[-1]}")
    others=("${reports[@]:0:${#reports[@]}-1}")
  fi
  hand_over "$BENTO_POLL_TIMEOUT" "${newest[@]}" "${latest[@]}" "$heartbeat" || return 1
  # Readers go by when a report came, since hosts' clocks may be wrong. So those before it come in their order, and it comes again after
  # each of them.
  for ((at = 0; at < ${#others[@]}; at += reports_at_once)); do
    batch=("${others[@]:at:reports_at_once}")
    hand_over $((deadline - $(awake_seconds))) "${batch[@]}" "${newest[@]}" || return 1
    are_delivered "${batch[@]}"
  done
  are_delivered "${newest[@]}"
}

# deliver_logs: newest first, within the time of one poll; for the end of an attempt, when nothing waits for it. Small ones share a
# session, unless it was tried in vain before.
deliver_logs() {
  local batch tried tries left deadline
  deadline=$(($(awake_seconds) + BENTO_POLL_TIMEOUT))
  look_at_spool
  while [ "${#logs[@]}" -gt 0 ]; do
    left=$((deadline - $(awake_seconds)))
    # With little time left it would seem to be the line.
    [ "$left" -ge $((BENTO_POLL_TIMEOUT / 2)) ] || return 0
    tried='' tries=0
    { read -r tried tries < "$BENTO_STATE/undelivered"; } 2> /dev/null || true
    [ "$tried" = "${logs[0]##*/}" ] && [[ $tries =~ ^[0-9]{1,3}$ ]] || tries=0
    batch=("${logs[0]}")
    [ "$tries" -gt 0 ] || first_logs
    if ! hand_over "$left" "${batch[@]}"; then
      note_tries "${logs[0]}" $((tries + 1))
      return 0
    fi
    are_delivered "${batch[@]}"
    logs=("${logs[@]:${#batch[@]}}")
  done
}

# first_logs: sets batch to the first of logs that may share a session; the first one is alone when it is large.
first_logs() {
  local log size=0
  batch=()
  for log in "${logs[@]:0:reports_at_once}"; do
    size=$((size + $(stat -c %s "$log" 2> /dev/null || echo 0)))
    [ "${#batch[@]}" -eq 0 ] || [ "$size" -le "$logs_at_once" ] || return 0
    batch+=("$log")
  done
}

# note_tries LOG TRIES: so often it was in vain.
note_tries() {
  echo "${1##*/} $2" | write_state undelivered || true
  if [ "$2" -ge $((2 * log_tries)) ]; then
    say "that log is too much for the line, and stays on this machine"
    rm -f "$1"
  elif [ "$2" -eq "$log_tries" ]; then
    cut_log "$1"
  fi
}

# look_at_spool: sets reports, oldest first, and logs, newest first. A week without a server must not fill the disk.
look_at_spool() {
  local name names file
  reports=() logs=()
  mapfile -t names < <(
    for file in "$BENTO_STATE/spool/"*; do
      case $file in *.json | *.log.gz) file=${file##*/} && echo "${file%%.*}" ;; esac
    done | sort -u
  )
  while [ "${#names[@]}" -gt "$max_reports" ]; do
    rm -f "$BENTO_STATE/spool/${names[0]}".{json,log.gz}
    names=("${names[@]:1}")
  done
  for name in "${names[@]}"; do
    file=$BENTO_STATE/spool/$name
    [ ! -e "$file.json" ] || reports+=("$file.json")
    [ ! -e "$file.log.gz" ] || logs=("$file.log.gz" "${logs[@]}")
  done
}

# copy_latest: sets latest.
copy_latest() {
  [ "${#reports[@]}" -eq 0 ] || ! cp "${reports[-1]}" "$BENTO_RUN/latest.json" || latest=("$BENTO_RUN/latest.json")
}

# hand_over SECONDS FILE…: one session of the reporter's, which also takes old reports away where there are new ones. Fails where it
# did. Where there is nowhere to deliver to, and never will be, nothing waits any more.
hand_over() {
  local seconds=$1 status=0 said=$BENTO_RUN/reporter.err known=() old=()
  shift
  [ "$seconds" -gt 0 ] || return 1
  if [ "${#reports[@]}" -gt 0 ] && [ -e "$BENTO_STATE/delivered" ]; then
    mapfile -t known < "$BENTO_STATE/delivered"
    [ "${#known[@]}" -le "$BENTO_KEEP_REPORTS" ] || old=("${known[@]:0:${#known[@]}-BENTO_KEEP_REPORTS}")
  fi
  BENTO_OLD_REPORTS=${old[*]} apart timeout --kill-after=5 "$seconds" "$reporter" report "$@" > "$said" 2>&1 || status=$?
  case $status in
    0)
      [ "${#old[@]}" -eq 0 ] || printf '%s\n' "${known[@]:${#old[@]}}" | write_state delivered || true
      return 0
      ;;
    69)
      rm -f "${reports[@]}" "${logs[@]}" "$BENTO_STATE/undelivered"
      reports=() logs=()
      return 0
      ;;
  esac
  if [ "${#reports[@]}" -gt 0 ] || [ "${#logs[@]}" -gt 0 ]; then
    [ -e "$BENTO_STATE/undelivered" ] || echo '- 0' | write_state undelivered || true
    say "the $(kind_of "$@") could not be delivered now, and is kept: $(last_words "$said")"
  fi
  return 1
}

# kind_of FILE…: what is handed over, in a word.
kind_of() { case $1 in *.log.gz) echo log ;; *) echo report ;; esac; }

# are_delivered FILE…: they are on the server, under their names.
are_delivered() {
  local file name known=() new=()
  [ $# -gt 0 ] || return 0
  [ ! -e "$BENTO_STATE/delivered" ] || mapfile -t known < "$BENTO_STATE/delivered"
  for file in "$@"; do
    [ -e "$file" ] || continue
    name=${file##*/} name=${name%%.*}
    [[ " ${known[*]} ${new[*]} " == *" $name "* ]] || new+=("$name")
  done
  [ "${#new[@]}" -eq 0 ] || printf '%s\n' "${known[@]}" "${new[@]}" | write_state delivered || true
  rm -f "$@"
  has_undelivered || rm -f "$BENTO_STATE/undelivered"
}

# has_undelivered: whether reports wait, or logs of reports that are on the server already.
has_undelivered() { compgen -G "$BENTO_STATE/spool/*.json" > /dev/null || compgen -G "$BENTO_STATE/spool/*.log.gz" > /dev/null; }

has_undelivered_reports() { compgen -G "$BENTO_STATE/spool/*.json" > /dev/null; }

# cut_log LOG: its end is what matters. The whole of it stays in this machine's history.
cut_log() {
  if {
    echo '… the rest of this log is on the machine alone: it was too much for the line'
    gzip -dc "$1" 2> /dev/null | tail -c "$log_end"
  } | gzip -c > "$BENTO_STATE/.log.new" && sync "$BENTO_STATE/.log.new"; then mv -T "$BENTO_STATE/.log.new" "$1"; fi
}
