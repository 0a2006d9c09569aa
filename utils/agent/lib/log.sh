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

# last_words [REGEX [FILE]]: the last line, of the attempt's log unless told otherwise, that says something (or matches), for
# a report's reason. It is foreign text: one line, printable, and short.
last_words() {
  { tail -c 20000 "${2:-$attempt_log}" 2> /dev/null || true; } | sed 's/\x1b\[[0-9;]*m//g' | tr -c '[:print:]\n' '?' |
    { grep -E "${1:-.}" || echo 'nothing was said'; } | tail -n 1 | sed 's/^[[:space:]]*//' | cut -c1-300
}
