# shellcheck shell=bash
# Asking the server, through the fetcher, which says what this host's release is.

# Set where somebody at the machine does without it.
offline=

# poll_server FILE SECONDS [fetching]: the envelope goes to FILE. Fails with $problem, and with status 75 when it is worth trying
# later; with 65 when the fetcher itself refuses what there is. `fetching`: it may get the release along with that, which takes as
# long as it takes, and SECONDS are those in which nothing comes.
poll_server() {
  local status=0 said=$BENTO_RUN/fetcher.err within=(timeout --kill-after=5 "$2")
  [ -z "${3:-}" ] || within=(watched "$2" fetched --)
  apart "${within[@]}" "$fetcher" poll > "$1" 2> "$said" || status=$?
  [ -z "$attempt_log" ] || [ ! -s "$said" ] || cat "$said" 2> /dev/null >> "$attempt_log" || true
  case $status in
    0) return ;;
    # It was reached, and what is there is not to be taken.
    65) problem=$(last_words "$said") ;;
    124 | 137) problem="no contact: no answer within $2 s" status=75 ;;
    *) problem="no contact: $(last_words "$said")" ;;
  esac
  return "$status"
}

# contact SECONDS: authenticated contact with the server, which is what an administrator's next release will need.
# Fails with $problem.
contact() { [ -n "$offline" ] || BENTO_PROBE=1 poll_server /dev/null "$1"; }

# contact_returns: tries for the recovery time.
contact_returns() {
  local deadline=$(($(awake_seconds) + BENTO_RECOVERY_TIMEOUT)) now
  while :; do
    now=$(awake_seconds)
    [ "$now" -lt "$deadline" ] || return 1
    if contact $((deadline - now)); then return; fi
    sleep 1
  done
}

# own_places: for what changes nothing, and is to be in no attempt's way. They are gone with this program.
own_places() {
  mkdir -p "$BENTO_RUN" || bad_settings "$BENTO_RUN can't be written to; the agent runs as root"
  BENTO_RUN=$(mktemp -d "$BENTO_RUN/contact.XXXXXX")
  BENTO_STATE=$BENTO_RUN/state
  trap 'rm -rf "$BENTO_RUN"' EXIT
  mkdir "$BENTO_STATE"
}

# show_contact: whether the server lets this machine in, in one word on stdout; but for `known`, a line on stderr says more.
show_contact() {
  local status=0 word
  own_places
  contact "$BENTO_POLL_TIMEOUT" || status=$?
  case $status in
    0) word=known ;;
    75) word=unreachable ;;
    76) word=wrong-host-key status=1 ;;
    77) word=unknown status=1 ;;
    *) word=failed status=1 ;;
  esac
  echo "$word"
  [ "$word" = known ] || say "${problem#no contact: }"
  exit "$status"
}
