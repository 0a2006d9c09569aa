# shellcheck shell=bash
# Which commit comes after which. $taken is what was handed over last: its commit, and the manifest made of it.

taken=$BENTO_STATE/branch.json

# taken_value FILTER: of what was handed over last; empty where nothing was.
taken_value() { jq -r "$1 // \"\"" "$taken" 2> /dev/null || true; }

# require_descent COMMIT: ends with status 65 unless it is, or comes after, what was handed over last. A branch that was
# rewound or forced is not followed: who can write to the remote could bring back an old commit with its old signature.
require_descent() {
  local before
  before=$(taken_value .commit)
  [ -z "$before" ] || git merge-base --is-ancestor "$before" "$1" 2> /dev/null ||
    fail 65 "$branch of $shown was rewound or forced: its commit $1 does not come after $before, which this machine had. \
Push a commit on top of that; or, if it was meant so, remove $taken on this machine"
}

# next_sequence COMMIT: the moment it was committed, in milliseconds, as for releases that a runner makes; and more than
# any before.
next_sequence() {
  local now before
  now=$(($(git log -1 --format=%ct "$1") * 1000))
  # A date after 2100 is no date, and would be in the way of all that comes later.
  [ "$now" -lt 4102444800000 ] || now=1
  for before in "$(taken_value .manifest.sequence)" "$(seen_sequence seen)" "$(seen_sequence applied)"; do
    [ "$now" -gt "${before:-0}" ] || now=$((before + 1))
  done
  echo "$now"
}

seen_sequence() { jq -r '.sequence // 0' "$BENTO_STATE/$1.json" 2> /dev/null || true; }
