# shellcheck shell=bash
# One readable line for each step, for the journal, and in the attempt's log, which goes to the server with its report.

attempt_log=''
log_mark=0
# Where in the log the agent itself has spoken last.
said_mark=0

say() {
  # There may be nobody any more who reads it.
  { printf '%s\n' "$1" >&3; } 3>&2 2> /dev/null || true
  # The log is on a disk that may be full; the journal has the line all the same.
  [ -n "$attempt_log" ] || return 0
  printf '%s %s\n' "$(utc %H:%M:%S)" "$1" 2> /dev/null >> "$attempt_log" || true
  said_mark=$(log_size)
}

log_size() { stat -c %s "$attempt_log" 2> /dev/null || echo 0; }

# logged COMMAND…: runs it with all of its output in the attempt's log only.
logged() { apart "$@" >> "${attempt_log:-/dev/null}" 2>&1; }

# printable: a log, which is foreign text, without secrets and what isn't printable, and without empty lines.
printable() {
  scrub | sed 's/\x1b\[[0-9;]*m//g' | tr -c '[:print:]\n' '?' | sed 's/^[[:space:]]*//; /^$/d' | cut -c1-300
}

# last_words [FILE]: the last line, for a report's reason; without FILE, of what others have written into the attempt's log since
# the agent itself spoke.
last_words() {
  local from=1
  [ $# -gt 0 ] || from=$((said_mark + 1))
  tail -c "+$from" "${1:-$attempt_log}" 2> /dev/null | tail -c 20000 | printable | grep . | tail -n 1 || echo 'nothing was said'
}

# mark_log: from here on is what nix_error looks at.
mark_log() { log_mark=$(log_size); }

# nix_error: what Nix said was wrong, in one line. Its first line with a text is the cause; what follows is what that was the cause
# of. What a newer Nix can't build it names alone, and says below it why; so does each of what two hashes there were, and NixOS of
# which assertions have failed.
nix_error() {
  tail -c "+$((log_mark + 1))" "$attempt_log" 2> /dev/null | tail -c 20000 | printable |
    awk '
      !said && /^(error: .|Failed assertions:)/ { said = $0; listed = /^Failed/; next }
      said && !over && (/^(Reason|Required system|Required features|specified|got): / || listed && /^- /) {
        $1 = $1
        said = said " " $0
        next
      }
      said { over = 1 }
      END { if (said) print said }
    ' | grep . || last_words "$attempt_log"
}
