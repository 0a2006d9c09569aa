# shellcheck shell=bash
# One readable line for each step, for the journal, and in the attempt's log, which goes to the server with its report.

attempt_log=

say() {
  printf '%s\n' "$1" >&2
  # The log is on a disk that may be full; the journal has the line all the same.
  [ -z "$attempt_log" ] || printf '%s %s\n' "$(date -u +%H:%M:%S)" "$1" 2> /dev/null >> "$attempt_log" || true
}

# logged COMMAND…: runs it with all of its output in the attempt's log only.
logged() { apart "$@" >> "${attempt_log:-/dev/null}" 2>&1; }

# The end of a log, or of the attempt's: foreign text made printable, without empty lines.
printable() {
  { tail -c 20000 "${1:-$attempt_log}" 2> /dev/null || true; } | sed 's/\x1b\[[0-9;]*m//g' | tr -c '[:print:]\n' '?' |
    sed 's/^[[:space:]]*//; /^$/d' | cut -c1-300
}

# last_words [FILE]: the last line, for a report's reason.
last_words() { printable "${1:-}" | grep . | tail -n 1 || echo 'nothing was said'; }

# nix_error: what Nix said was wrong. Its first line with a text is the cause; what follows is what that was the cause of.
nix_error() { printable | grep -E '^error: .' | sed -n 1p || last_words "$attempt_log"; }
