# shellcheck shell=bash
# Going back by hand: the system before the newest release is activated, confirmed and made the boot default just as a
# release is, and cut off anywhere it comes to an end as one does. What is different is what it means: it ends well as
# `rolled-back`, and the release that ran until then is never tried again.
#
# Where this machine was started with an older system, chosen at the boot menu, that one is gone back to: it becomes what boots.
#
# undo.json, { started, reason, undone }, says so of the intent that has the same beginning, and which system is undone. It is written
# before that, and goes after it.

# rollback [--to SYSTEM] [--reason TEXT] [--offline] [-y]
rollback() {
  local target='' why='' yes='' undone
  while [ $# -gt 0 ]; do
    case $1 in
      -y) yes=1 ;;
      --offline) offline=1 ;;
      --to | --reason)
        [ $# -ge 2 ] || usage "what is the value of $1?"
        if [ "$1" = --to ]; then target=$2; else why=$2; fi
        shift
        ;;
      *) usage "rollback has no '$1'" ;;
    esac
    shift
  done
  [ -n "$yes" ] || [ -t 0 ] || usage "where nobody can be asked, rollback needs -y"

  begin_attempt
  if [ -n "$(read_state intent.json .phase)" ] || [ -e "$BENTO_STATE/ending.json" ]; then
    say "what was cut off before comes to its end first; after that, try again"
    resolve_interrupted
    updating=
  fi
  from=$(running_system)
  is_system "$from" || { say "what runs here is no NixOS system: $BENTO_RUNNING"; exit 2; }
  if [ -n "$target" ]; then
    to=$(readlink -e "$target") || usage "$target is not on this machine (any more); 'bento rollback' releases what it is made of once more"
    is_system "$to" || usage "$target is no NixOS system"
  elif is_staged; then
    say "release $(sequence_of trial.json) waits for a restart, and does not run yet; --to can name what to go back to"
    exit 1
  elif is_started_apart; then
    to=$from
  else
    to=$(system_before) || { say "no system from before this one is known; --to can name one"; exit 1; }
  fi
  undone=$from
  if [ "$to" = "$from" ]; then
    undone=$(booting_system)
    [ "$undone" != "$to" ] || { say "$to runs already"; exit 1; }
  fi
  local differs
  differs=$(inhibitors "$from" "$to")
  if [ -n "$differs" ]; then
    say "$to has another $differs, and can't be activated while this machine runs: choose it when the machine starts"
    exit 1
  fi
  what_brought "$undone"
  say "going back from $undone"
  say "to $to"
  [ -n "$yes" ] || is_wanted || { say "nothing was done"; exit 1; }

  if ! has_room || ! preflight; then
    say "not going back: ${problem:-no space is left on the disk of $BENTO_STATE}"
    exit 1
  fi
  if ! keep_alive "$from" previous || ! keep_alive "$to" next; then
    say "not going back: the two systems could not be kept alive: $(last_words)"
    exit 1
  fi
  contact "$BENTO_POLL_TIMEOUT" || { say "not going back: $problem; --offline does without it"; exit 75; }
  jq -n --arg started "$started" --arg undone "$undone" --arg by "$(whoever)" --arg reason "$why" '
    { started: $started, undone: $undone, reason: ("by hand, by " + $by + (if $reason == "" then "" else ": " + $reason end)
      | gsub("[\u0000-\u001f\u007f-\u009f]"; " ") | .[:300]) }' | write_state undo.json || exit 1
  read_undo
  prepare_secrets "$to" '' || finish failed "$problem"
  activate_and_confirm
  [ "$outcome" = activated ] || finish "$outcome" "$reason"
  commit || finish failed "$problem"
  finish success "$reason"
}

is_system() { [ -x "$1/bin/switch-to-configuration" ]; }

# system_before: prints what ran before the newest release that changed anything.
system_before() {
  local root=$BENTO_STATE/gcroots/before path
  # An agent of before this file has kept it as the one that ran before the last activation.
  [ -L "$root" ] || root=$BENTO_STATE/gcroots/previous
  path=$(readlink -e "$root") && [ "$path" != "$from" ] && is_system "$path" && echo "$path"
}

# what_brought SYSTEM: sets manifest_* to the release that brought the system, as far as that is known.
what_brought() {
  local file=applied.json
  manifest_sequence=0
  if [ "$(read_state applied.json .toplevel)" != "$1" ]; then
    file=last.json
    [ "$(read_state last.json .to)" = "$1" ] || return 0
  fi
  manifest_sequence=$(sequence_of "$file")
  manifest_digest=$(read_state "$file" .digest)
  manifest_commit=$(read_state "$file" .commit)
  manifest_toplevel=$(read_state "$file" .expected)
}

is_wanted() {
  local answer=
  read -r -t 300 -p 'Go back? [y/N] ' answer || true
  [[ $answer =~ ^[yY] ]]
}

# read_undo: sets $undo to what is said of the attempt that is going on, when it is one to go back by hand.
read_undo() {
  undo=
  if [ "$(read_state undo.json .started)" = "$started" ]; then undo=$(read_state undo.json .reason); fi
}

# conclude_undo: what `finish` is to remember and to report when $undo is set. Changes $outcome and $reason.
conclude_undo() {
  if [ "$outcome" = success ]; then
    local updating='' undone
    # An agent of before has noted no other than what ran.
    undone=$(read_state undo.json .undone | grep . || echo "$from")
    forget_applied "$to" || true
    # Of the system that runs again the files aren't known.
    [ "$(read_state applied.json .digest)" = "$manifest_digest" ] || remove_tree "$BENTO_STATE/release"
    # What it goes back to may be the same release, without newer inputs; see lib/self-update.sh.
    if [ "$(read_state applied.json .digest)" = "$manifest_digest" ]; then updating=1; fi
    if [ "$manifest_sequence" -gt 0 ]; then remember_bad "$undone" 'was undone by hand' || true; fi
    # What ran before that, nobody knows.
    keep_alive "$to" before || true
    outcome=rolled-back reason=$undo${reason:+; $reason}
  else
    # Whatever release it is that runs on, it has done nothing wrong.
    manifest_sequence='' manifest_digest='' manifest_commit='' manifest_toplevel=''
    outcome=failed reason="going back to $to failed ($undo): $reason"
  fi
}

# forget_applied SYSTEM: the release before is the one that this machine runs, where that is the SYSTEM that it went back to. Done
# twice, it comes to the same.
forget_applied() {
  if [ "$(read_state applied.json .toplevel)" = "$1" ]; then
    return
  elif [ "$(read_state applied.json .before.toplevel)" = "$1" ]; then
    read_state applied.json .before | write_state applied.json
  else
    rm -f "$BENTO_STATE/applied.json"
  fi
}
