# shellcheck shell=bash
# What became of the last attempts, for the person at the machine: $BENTO_STATE/history/N.json is an attempt's report, on
# one line and with the commit's subject, and N.log.gz its log. They are numbered, since clocks go back.

max_history=20
max_history_kib=10240

# remember_in_history REPORT LOG: both are files, and the log may not be there. An attempt that is reported once more, since
# the agent was killed after the first time, has one entry.
remember_in_history() {
  local directory=$BENTO_STATE/history last number
  mkdir -p "$directory" || return 0
  last=$(numbers_in_history | tail -n 1)
  number=$((${last:-0} + 1))
  if [ -n "$last" ] && [ "$(read_state "history/$last.json" .started)" = "$started" ]; then number=$last; fi
  jq -c --arg subject "${manifest_subject:-}" '. + { subject: (if $subject == "" then null else $subject end) }' "$1" \
    2> /dev/null > "$directory/.new" || { rm -f "$directory/.new"; return 0; }
  if [ -e "$2" ]; then ln -f "$2" "$directory/$number.log.gz" || true; fi
  mv -T "$directory/.new" "$directory/$number.json" || true
  trim_history
}

# numbers_in_history: oldest first.
numbers_in_history() {
  local file
  for file in "$BENTO_STATE/history/"*.json; do
    file=${file##*/} file=${file%.json}
    if [[ $file =~ ^[1-9][0-9]{0,8}$ ]]; then echo "$file"; fi
  done | sort -n
}

trim_history() {
  local number numbers
  mapfile -t numbers < <(numbers_in_history)
  for number in "${numbers[@]:0:$((${#numbers[@]} > max_history ? ${#numbers[@]} - max_history : 0))}"; do
    rm -f "$BENTO_STATE/history/$number".*
  done
  # Logs are what is large.
  for number in "${numbers[@]}"; do
    [ "$(du -sk "$BENTO_STATE/history" | cut -f1)" -gt "$max_history_kib" ] || break
    rm -f "$BENTO_STATE/history/$number.log.gz"
  done
}

# history_json: one entry a line, newest first. One that can't be read is left out.
history_json() {
  local number
  numbers_in_history | sort -rn | while read -r number; do
    jq -c --argjson number "$number" '{ number: $number } + .' "$BENTO_STATE/history/$number.json" 2> /dev/null || true
  done
}

show_history() {
  if [ "${1:-}" = --json ]; then
    history_json | jq -s '{ version: 1, attempts: . }'
    return
  fi
  [ $# -eq 0 ] || usage "history has no '$1'"
  history_json | jq -rs '
    def moment: sub("\\.[0-9]+Z$"; "Z") | fromdate;
    def duration: if . >= 3600 then "\(. / 3600 | floor) h" elif . >= 60 then "\(. / 60 | floor) min" else "\(.) s" end;
    def line: gsub("[\u0000-\u001f\u007f-\u009f]"; " ");
    if length == 0 then "no attempt yet" else .[]
      | (try ((.finished | moment) - (.started | moment) | [0, .] | max | floor | duration) catch "?") as $took
      | "\(.number)  \(.finished)  \(.outcome)  release \(.sequence // "unknown")"
        + (if .commit then " (\(.commit[:12])\(if .subject then " " + .subject else "" end))" else "" end)
        + ", took \($took)" + (if .reason then ": \(.reason)" else "" end) | line
    end'
}

# show_log [-f] [N | --last]: of the attempt number N, or of the last one. -f stays with the one that is running.
show_log() {
  local follow='' number='' pid
  while [ $# -gt 0 ]; do
    case $1 in
      -f) follow=1 ;;
      --last) number= ;;
      *) [[ $1 =~ ^[1-9][0-9]{0,8}$ ]] || usage "log has no '$1'"; number=$1 ;;
    esac
    shift
  done
  if [ -n "$number" ]; then
    [ -e "$BENTO_STATE/history/$number.log.gz" ] || { say "there is no log of an attempt number $number"; exit 1; }
    gzip -dc "$BENTO_STATE/history/$number.log.gz"
    return
  fi
  pid=$(running_agent)
  if [ -n "$follow" ] && [ -n "$pid" ]; then
    follow_log "$pid"
  elif [ -n "$pid" ] && [ -e "$BENTO_STATE/attempt.log" ]; then
    scrub < "$BENTO_STATE/attempt.log"
  else
    # attempt.log may be that of a poll with nothing new.
    number=$(numbers_in_history | tail -n 1)
    if [ ! -e "$BENTO_STATE/history/${number:-0}.log.gz" ]; then say "no attempt yet"; exit 1; fi
    gzip -dc "$BENTO_STATE/history/$number.log.gz"
  fi
}

# follow_log PID: the log of the attempt that the agent PID makes, as it grows, until that agent is gone. The next one may have begun
# with its own by then, which tail would say.
follow_log() { apart tail -s 0.2 -n +1 -f --pid "$1" "$BENTO_STATE/attempt.log" 2> /dev/null | scrub_as_it_comes; }

# running_agent: prints the pid of the agent that makes an attempt now. It has written that down after it emptied the log.
running_agent() {
  local pid
  read -r pid _ 2> /dev/null < "$BENTO_RUN/attempt" || return 0
  if grep -qzF bento-agent "/proc/$pid/cmdline" 2> /dev/null; then echo "$pid"; fi
}
