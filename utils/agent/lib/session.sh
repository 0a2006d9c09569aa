# shellcheck shell=bash
# What somebody starts at a terminal, or over ssh, is theirs to look at, and doesn't end with that: half an activation is what would
# be left.

# own_session VERB ARGUMENT…: from here on it makes no difference whether anybody reads what is said, or is there at all. At a
# terminal a session of its own makes the attempt, and this program ends as that one does: it isn't enough to ignore a signal, since
# Nix waits for those of a terminal also where they are ignored.
own_session() {
  local child status
  # A unit of systemd's has it like this as well.
  trap '' HUP PIPE
  if [ -n "${BENTO_SESSION:-}" ] || ! { [ -t 0 ] || [ -t 1 ] || [ -t 2 ]; }; then return 0; fi
  # Its input is what it asks with, if it asks.
  BENTO_SESSION=1 setsid "$BASH" "$agent/bento-agent" "$@" <&0 &
  child=$!
  trap 'end_session "$child"' INT TERM
  while :; do
    status=0
    wait "$child" || status=$?
    kill -0 "$child" 2> /dev/null || exit "$status"
  done
}

# end_session LEADER: somebody has interrupted it.
end_session() {
  [ ! -e "$BENTO_STATE/intent.json" ] ||
    say "interrupted: what isn't confirmed yet is undone by the guard in some minutes, or by the next attempt"
  kill -TERM -- "-$1" 2> /dev/null || kill -TERM "$1" 2> /dev/null || true
}
