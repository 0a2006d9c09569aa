# shellcheck shell=bash
# What the agent remembers, as small JSON files in BENTO_STATE:
#
#   seen.json      { sequence }: the newest release ever verified; an older one is never taken
#   applied.json   { sequence, digest, commit, toplevel, before }: the newest release that this machine runs, and the same
#                  of the one whose system was another
#   bad.json       [ { sequence, digest, toplevel, why } ]: releases that cut the machine off, or that somebody has undone,
#                  never tried again
#   retry.json     { sequence, failures, cutOff, bootId, until, started }: when a failed release may be tried again, in uptime
#                  seconds; cutOff of the failures were an agent that was killed before the confirmation
#   refused.json   { envelope }: the hash of the last envelope that was refused, so that it is reported once
#   building       the boot in which the store is written to, see lib/store.sh
#   intent.json    what is being activated, from what; there only while that is going on
#   ending.json    how an attempt has ended, while that is being remembered and reported; see finish in lib/attempt.sh
#   trial.json, last-resort.json   see lib/reboot.sh
#   boot-once.json see lib/boot-once.sh
#   undo.json      see lib/undo.sh
#   suspended.json see lib/suspend.sh
#   self-update.*  see lib/self-update.sh
#   last.json      the report of the last attempt
#   history/       see lib/history.sh
#   release/       the release that runs, and release.next the one that was fetched last; see lib/release.sh
#   secrets/       see lib/secrets.sh
#   undelivered    see lib/deliver.sh
#   delivered      the names of the reports that are on the server, one a line, oldest first
#
# Each is written to a temporary name, synced and renamed. One that can't be read counts as absent.

# write_state NAME: standard input becomes the file.
write_state() {
  local file=$BENTO_STATE/$1 temporary=$BENTO_STATE/.$1.new
  {
    cat > "$temporary" && [ -s "$temporary" ] && sync "$temporary" && mv -T "$temporary" "$file" && sync "$BENTO_STATE"
  } 2> /dev/null && return
  rm -f "$temporary"
  say "could not write $file: $(no_space_or "$BENTO_STATE" 'the disk refused it')"
  return 1
}

# read_state NAME JQ-FILTER: prints what the filter gives, or nothing.
read_state() {
  local file=$BENTO_STATE/$1 value
  [ -e "$file" ] || return 0
  if read_plainly "$file" "$2"; then return; fi
  if [ -f "$file" ] && [ -s "$file" ] && value=$(jq -r "($2) // empty" "$file" 2> /dev/null); then
    [ -z "$value" ] || printf '%s\n' "$value"
  else
    set_aside "$1"
  fi
}

set_aside() {
  say "$BENTO_STATE/$1 is damaged, and is taken as absent"
  rm -rf "${BENTO_STATE:?}/$1"
}

# read_plainly FILE JQ-FILTER: the same for most of what is asked, `.name` of an object that jq has written, without another
# jq: a poll asks ten times, and on a phone each takes a tenth of a second. Fails where that isn't enough.
read_plainly() {
  local text value
  [[ $2 =~ ^\.[A-Za-z]+$ ]] || return 1
  { text=$(< "$1"); } 2> /dev/null
  # Whole, and nothing in it that stands for something else.
  [[ $text == '{'$'\n'* && $text == *$'\n}' && $text != *\\* ]] || return 1
  [[ $text =~ $'\n  "'"${2#.}"'": '([^$'\n']*) ]] || return 0
  value=${BASH_REMATCH[1]%,}
  case $value in
    '"'*'"') value=${value:1:${#value}-2} ;;
    null | false) value= ;;
    true | [0-9]* | -[0-9]*) ;;
    *) return 1 ;;
  esac
  [ -z "$value" ] || printf '%s\n' "$value"
}

# write_attempt NAME JQ-OBJECT: the attempt that is going on, from $from to $to, and what the object adds to that.
write_attempt() {
  jq -n --arg from "$from" --arg to "$to" --arg bootId "$(boot_id)" --arg started "$started" \
    --arg sequence "${manifest_sequence:-0}" --arg digest "$manifest_digest" --arg commit "$manifest_commit" \
    --arg expected "$manifest_toplevel" --arg updating "$updating" \
    "{ from: \$from, to: \$to, bootId: \$bootId, started: \$started, sequence: (\$sequence | tonumber), digest: \$digest,
       commit: \$commit, expected: \$expected, updating: (\$updating != \"\") } + ($2)" |
    write_state "$1"
}

# has_attempt NAME: whether the file is there, and is what write_attempt has written. What has ended may have come to no system.
has_attempt() {
  [ -e "$BENTO_STATE/$1" ] || return 1
  jq -es 'length == 1 and (.[0] | type == "object" and (.sequence | type == "number")
      and (.from, (if .outcome and .to == "" then .from else .to end) | type == "string" and test("^/[^\u0000-\u001f]+$"))
      and (.started | type == "string" and test("^[0-9]{4}-[0-9]{2}-[0-9]{2}T[0-9:.]+Z$"))
      and ([.bootId, .digest, .commit, .expected] | all(type == "string")))' "$BENTO_STATE/$1" > /dev/null 2>&1 && return
  set_aside "$1"
  return 1
}

# read_attempt NAME: what write_attempt has written, as if that attempt were going on.
read_attempt() {
  from=$(read_state "$1" .from)
  to=$(read_state "$1" .to)
  started=$(read_state "$1" .started)
  manifest_sequence=$(sequence_of "$1")
  manifest_digest=$(read_state "$1" .digest)
  manifest_commit=$(read_state "$1" .commit)
  manifest_toplevel=$(read_state "$1" .expected)
  updating=
  [ "$(read_state "$1" .updating)" != true ] || updating=$BENTO_STATE/self-update.new
}

# no_space_or PATH TEXT [WHERE]: says that the disk, or WHERE, is full when it is, and TEXT otherwise.
no_space_or() {
  local free
  free=$(free_kib "$1")
  if [ -n "$free" ] && [ "$free" -lt 64 ]; then echo "no space is left ${3:-on the disk}"; else echo "$2"; fi
}

# KiB that are free where PATH is.
free_kib() {
  local blocks size
  if read -r blocks size < <(stat --file-system --format='%a %S' "$1" 2> /dev/null); then
    echo $((blocks * size / 1024))
  fi
}

sequence_of() {
  local sequence
  sequence=$(read_state "$1" .sequence)
  [[ $sequence =~ ^[0-9]{1,16}$ ]] || sequence=0
  echo "$sequence"
}

# The newest release ever taken for real. Where one file was lost, the other still knows.
newest_seen() {
  local seen applied
  seen=$(sequence_of seen.json)
  applied=$(sequence_of applied.json)
  echo "$((seen > applied ? seen : applied))"
}

remember_seen() {
  [ "$manifest_sequence" -gt "$(sequence_of seen.json)" ] || return 0
  jq -n --argjson sequence "$manifest_sequence" '{ sequence: $sequence }' | write_state seen.json
}

# is_bad TOPLEVEL: whether the release, or the system, is remembered as one that cut the machine off.
is_bad() { [ -n "$(of_bad "$1" .)" ]; }

# of_bad TOPLEVEL JQ-FILTER: what the filter gives of how the release, or the system, is remembered. The same files with
# another system expected of them are another release; where no files are delivered, all have the same.
of_bad() { read_state bad.json "arrays | map(objects | select($(same_as "$1"))) | .[0] // empty | $2"; }

# same_as TOPLEVEL: the condition, for jq, by which an entry of bad.json is of that release or system.
same_as() {
  local same=".digest == \"$manifest_digest\" and (.expected // \"$manifest_toplevel\") == \"$manifest_toplevel\""
  echo "($same) or (.toplevel == \"$1\" and .toplevel != \"\")"
}

# forget_bad TOPLEVEL: it was confirmed after all.
forget_bad() {
  is_bad "$1" || return 0
  read_state bad.json "arrays | map(objects | select(($(same_as "$1")) | not))" | write_state bad.json
}

# remember_bad TOPLEVEL [WHY]. Of a self-update the system alone is bad, and not the release.
remember_bad() {
  local digest=$manifest_digest
  [ -z "$updating" ] || digest=
  { read_state bad.json 'arrays | map(objects)' | grep . || echo '[]'; } |
    jq --argjson sequence "$manifest_sequence" --arg digest "$digest" --arg expected "$manifest_toplevel" --arg toplevel "$1" \
      --arg why "${2:-}" '
      ([{ sequence: $sequence, digest: $digest, expected: $expected, toplevel: $toplevel } +
        if $why == "" then { } else { why: $why } end] + .) |
        unique_by([.digest, .expected, .toplevel]) |
        sort_by(-.sequence) | .[:50]' |
    write_state bad.json
}

# remember_applied TOPLEVEL
remember_applied() {
  local before
  before=$(read_state applied.json tojson)
  jq -n --argjson sequence "$manifest_sequence" --arg digest "$manifest_digest" --arg toplevel "$1" \
    --arg expected "$manifest_toplevel" --arg commit "$manifest_commit" --argjson before "${before:-null}" '
      { sequence: $sequence, digest: $digest, commit: $commit, expected: $expected, toplevel: $toplevel,
        before: ($before | if .toplevel? == $toplevel then .before? else . end | if . then del(.before?) else null end) }' |
    write_state applied.json || return 1
  rm -f "$BENTO_STATE/retry.json"
}

# Twice as long after each failure, six hours at most, and up to a quarter more, so that a fleet doesn't come back at
# once. The same attempt counts once.
remember_failure() {
  local failures=0 cut wait exponent
  [ "$(read_state retry.json .started)" != "$started" ] || return 0
  if [ "$(sequence_of retry.json)" = "$manifest_sequence" ]; then failures=$(read_state retry.json .failures); fi
  [[ $failures =~ ^[0-9]{1,4}$ ]] || failures=0
  cut=$(times_cut_off)
  exponent=$((failures < 10 ? failures : 10))
  wait=$((BENTO_BACKOFF << exponent))
  [ "$wait" -le 21600 ] || wait=21600
  wait=$((wait + RANDOM % (wait / 4 + 1)))
  jq -n --argjson sequence "$manifest_sequence" --argjson failures $((failures + 1)) --argjson cut "$cut" --arg bootId "$(boot_id)" \
    --argjson until $(($(uptime_seconds) + wait)) --arg started "$started" \
    '{ sequence: $sequence, failures: $failures, cutOff: $cut, bootId: $bootId, until: $until, started: $started }' | write_state retry.json
}

# times_cut_off: how often the release has ended with its agent killed, this time included where $cut_off says so.
times_cut_off() {
  local times=0
  if [ "$(sequence_of retry.json)" = "$manifest_sequence" ]; then times=$(read_state retry.json .cutOff); fi
  [[ $times =~ ^[0-9]{1,4}$ ]] || times=0
  echo $((times + ${cut_off:-0}))
}

# Prints the seconds that a failed release still has to wait, or nothing.
seconds_to_wait() {
  [ "$(sequence_of retry.json)" = "$manifest_sequence" ] || return 0
  # After a restart the reason may be gone.
  [ "$(read_state retry.json .bootId)" = "$(boot_id)" ] || return 0
  local until
  until=$(read_state retry.json .until)
  [[ $until =~ ^[0-9]{1,12}$ ]] || return 0
  local left=$((until - $(uptime_seconds)))
  if [ "$left" -gt 0 ]; then echo "$left"; fi
}
