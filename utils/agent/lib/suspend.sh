# shellcheck shell=bash
# Somebody at the machine keeps upgrades away for a while: suspended.json is { since, until, reason, by }, with times in
# seconds since 1970, and until null for as long as nobody says otherwise.
#
# That the file is there is what counts: when it can't be read, or when the clock makes no sense of it, nobody can have
# meant that the suspension be over.

# suspend_options [--for DURATION] [--reason TEXT]: sets $suspend_for and $suspend_why.
suspend_options() {
  suspend_for='' suspend_why=''
  while [ $# -gt 0 ]; do
    [ $# -ge 2 ] || usage "what is the value of $1?"
    case $1 in
      --for)
        suspend_for=$2
        seconds_of "$2" > /dev/null || usage "a duration is a number with m, h, d or w, such as 3d, of five years at most, and not '$2'"
        ;;
      --reason) suspend_why=$2 ;;
      *) usage "suspend has no '$1'" ;;
    esac
    shift 2
  done
}

suspend() {
  local seconds=null
  suspend_options "$@"
  [ -z "$suspend_for" ] || seconds=$(seconds_of "$suspend_for")
  jq -n --argjson since "$(date +%s)" --argjson seconds "$seconds" --arg reason "$suspend_why" --arg by "$(whoever)" '
    def text: gsub("[\u0000-\u001f\u007f-\u009f]"; " ") | .[:200] | if . == "" then null else . end;
    { since: $since, until: (if $seconds == null then null else $since + $seconds end), reason: ($reason | text),
      by: ($by | text) }' | write_state suspended.json || exit 1
  say "$(suspension); 'bento-agent resume' ends it"
  if [ -n "$(running_agent)" ]; then say "the upgrade that is running now goes on"; fi
}

resume() {
  if [ -e "$BENTO_STATE/suspended.json" ]; then
    rm -f "$BENTO_STATE/suspended.json" || exit 1
    say "upgrades go on with the next poll"
  else
    say "upgrades were not suspended"
  fi
}

# is_suspended: also ends a suspension whose time is over. A clock that is before its beginning, or ten years after it,
# is wrong, and not a reason to.
is_suspended() {
  local file=$BENTO_STATE/suspended.json now over
  [ -e "$file" ] || return 1
  now=$(date +%s)
  over=$(jq -r --argjson now "$now" \
    '.until != null and $now >= .until and $now >= .since and $now - .since < 3650 * 86400' \
    "$file" 2> /dev/null) || over=
  [ "$over" = true ] || return 0
  rm -f "$file"
  return 1
}

# suspension: what it is, in a line.
suspension() {
  jq -r '"upgrades are suspended"
    + (if .until then " until " + (.until | todate) else "" end)
    + (if .by then " by " + .by else "" end)
    + (if .reason then ": " + .reason else "" end)' "$BENTO_STATE/suspended.json" 2> /dev/null ||
    echo 'upgrades are suspended'
}

# suspension_json: the same for programs; null when there is none.
suspension_json() {
  is_suspended || { echo null; return; }
  jq -c 'def time: if . == null then null else todate end;
    { since: (.since | time), until: (.until | time), reason, by }' "$BENTO_STATE/suspended.json" 2> /dev/null |
    grep . || echo '{ "since": null, "until": null, "reason": null, "by": null }'
}

# whoever: who asks for it.
whoever() { echo "${BENTO_PEER:-${SUDO_USER:-${LOGNAME:-root}}}"; }

# seconds_of DURATION: five years at most, which is less than what a clock may be off.
seconds_of() {
  local unit
  [[ $1 =~ ^([0-9]{1,6})([smhdw])$ ]] || return 1
  case ${BASH_REMATCH[2]} in s) unit=1 ;; m) unit=60 ;; h) unit=3600 ;; d) unit=86400 ;; *) unit=604800 ;; esac
  local seconds=$((10#${BASH_REMATCH[1]} * unit))
  [ "$seconds" -gt 0 ] && [ "$seconds" -le $((1826 * 86400)) ] || return 1
  echo "$seconds"
}
