# shellcheck shell=bash
# How the demo talks, and how it makes sure that each step came out as told. Sourced by scripts/demo, with $world and $hosts set.
# shellcheck disable=SC2154 # they are the caller's

if [ -t 1 ] && [ -z "${NO_COLOR:-}" ]; then
  bold=$'\e[1m' green=$'\e[32m' red=$'\e[31m' plain=$'\e[0m'
else
  bold='' green='' red='' plain=''
fi
steps=0

title() { printf '\n%s%s%s\n' "$bold" "$1" "$plain"; }

step() {
  steps=$((steps + 1))
  printf '\n%s── %d. %s%s\n' "$bold" "$steps" "$1" "$plain"
}

say() { printf '%s\n' "$1"; }

# show COMMAND…: prints a command as one would type it, runs it, and keeps what it printed for `expect_output`.
show() {
  printf '\n%s$ %s%s\n' "$bold" "$(typed "$@")" "$plain"
  status=0
  output=$world/output
  "$@" > "$output" 2>&1 || status=$?
  sed 's/^/  /' "$output"
}

# The demo's helper functions, spelled as what they stand for.
typed() {
  case $1 in
    agent) echo "[$2] bento-agent ${*:3}" ;;
    sftp_as) echo "[$2] sftp: ${*:3}" ;;
    *) echo "$*" ;;
  esac
}

expect_status() {
  local expected=$1
  shift
  show "$@"
  expect "exit status $expected" test "$status" -eq "$expected"
}

expect_refused() {
  show "$@"
  expect "refused" test "$status" -ne 0
}

# expect WHAT COMMAND…: COMMAND must succeed; WHAT says so, or ends the demo.
expect() {
  local what=$1
  shift
  if "$@"; then
    printf '  %s✓ %s%s\n' "$green" "$what" "$plain"
  else
    printf '  %s✗ %s%s\n' "$red" "$what" "$plain"
    printf '\n%sThe demo failed at step %d.%s\n' "$red" "$steps" "$plain"
    exit 1
  fi
}

# expect_output WHAT REGEX: the last command printed it.
expect_output() { expect "$1" grep -qE -- "$2" "$output"; }

# expect_hosts WORD COUNT: the last table has COUNT hosts in the state WORD.
expect_hosts() {
  local count
  count=$(grep -cE "^[[:space:]]*[^[:space:]]*[[:space:]]*($(IFS='|'; echo "${hosts[*]}"))[[:space:]]+.*\\b${1//-/[- ]}\\b" "$output") || true
  expect "$2 × $1" test "$count" -eq "$2"
}

explain_kept() {
  cat << EOF

Kept, for looking around: $world
  fleet/            the repository; its commands need: export NIX_REMOTE=local BENTO_SSH_KEY_FILE=$world/keys/publisher …
  server/           the chroots, as sshd (pid $(cat "$world/sshd/sshd.pid")) serves them
  machines/HOST/    each machine: etc/, run/current-system, boot/default, state/
  enter             source it in a shell to have all of that set up, with the functions bento, agent HOST VERB, leave_world
EOF
}
