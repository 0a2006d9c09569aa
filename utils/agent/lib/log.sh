# shellcheck shell=bash
# One readable line for each step, for the journal, and in the attempt's log, which goes to the server with its report.

attempt_log=''
log_mark=0
# Where in the log the agent itself has spoken last.
said_mark=0

# Bytes of it on this machine, more than anybody reads. What is built, activated or checked may say something over and over, and would
# fill the disk.
most_logged=67108864

# bound_log: looks after that from here on, until the agent ends. Once is enough.
bound_log() {
  [ -z "${log_keeper:-}" ] && [ -n "$attempt_log" ] || return 0
  local self=$BASHPID
  # Not by `apart`, whose shell would keep the lock for itself.
  (exec 9>&- && keep_log_bounded "$self") < /dev/null > /dev/null 2>&1 &
  log_keeper=$!
  disown "$log_keeper"
  trap 'kill "$log_keeper" 2> /dev/null || true' EXIT
}

# keep_log_bounded PARENT: what is written to the log goes to its end, wherever that is; so what was said last stays in its order.
keep_log_bounded() {
  exec {never}<> <(:)
  while is_child_of "$1"; do
    read -r -t 1 -u "$never" _ || true
    if [ "$(log_size)" -gt "$most_logged" ]; then
      : > "$attempt_log"
      echo "… what was here before was more than $((most_logged / 1048576)) MiB" >> "$attempt_log"
    fi
  done
}

# logged_since BYTES: what has come into it since it had so many; all of it where it was cut meanwhile.
logged_since() {
  local size
  size=$(log_size)
  tail -c "+$(($1 <= size ? $1 + 1 : 1))" "$attempt_log" 2> /dev/null
}

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
  { if [ $# -gt 0 ]; then tail -c 20000 "$1" 2> /dev/null; else logged_since "$said_mark"; fi; } |
    tail -c 20000 | printable | grep . | tail -n 1 || echo 'nothing was said'
}

# mark_log: from here on is what nix_error looks at.
mark_log() { log_mark=$(log_size); }

# nix_error: what Nix said was wrong, in one line. Its first line with a text is the cause; what follows is what that was the cause
# of. What a newer Nix can't build it names alone, and says below it why; so does each of what two hashes there were, and NixOS of
# which assertions have failed.
nix_error() {
  logged_since "$log_mark" | tail -c 20000 | printable |
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
