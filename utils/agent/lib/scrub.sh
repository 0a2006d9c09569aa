# shellcheck shell=bash
# What is shown, or leaves this machine, has none of its secrets in it, whatever a unit or an activation script has printed.

# scrub [KEEPING]: standard input without the values in BENTO_SECRETS.d: whole, or a line of one that has several; what is
# shorter than 8 bytes would take away harmless text as well. With KEEPING, no line gets another length. The values go through
# awk's files, and not through its arguments.
scrub() {
  local files=("${BENTO_SECRETS:-/nowhere}.d"/*/*)
  if [ ! -e "${files[0]}" ]; then
    cat
    return
  fi
  LC_ALL=C awk -v keeping="${1:-}" '
    function instead(value) { return keeping ? sprintf("%-" length(value) "s", "[secret]") : "[secret]" }
    BEGIN {
      for (i = 1; i < ARGC; i++) {
        while ((getline line < ARGV[i]) > 0) {
          gsub(/^[ \t\r]+|[ \t\r]+$/, "", line)
          if (length(line) >= 8 && !(line in known)) {
            known[line]
            # The longest first: one may be a part of another.
            for (at = ++count; at > 1 && length(values[at - 1]) < length(line); at--) values[at] = values[at - 1]
            values[at] = line
          }
        }
        close(ARGV[i])
        ARGV[i] = ""
      }
    }
    {
      for (i = 1; i <= count; i++) {
        clean = ""
        while ((at = index($0, values[i])) > 0) {
          clean = clean substr($0, 1, at - 1) instead(values[i])
          $0 = substr($0, at + length(values[i]))
        }
        $0 = clean $0
      }
      print
    }' "${files[@]}"
}

# scrub_as_it_comes: the same, line by line, of what others still write to; secrets may be new to this machine by then, and be
# gone again by the end. Nothing here is printed but by this shell itself.
scrub_as_it_comes() {
  local LC_ALL=C line file value values=() known='' files lines at
  while IFS= read -r line || [ -n "$line" ]; do
    files=("${BENTO_SECRETS:-/nowhere}.d"/*/*)
    if [ "${files[*]}" != "$known" ]; then
      known=${files[*]}
      for file in "${files[@]}"; do
        mapfile -t lines 2> /dev/null < "$file" || continue
        for value in "${lines[@]}"; do
          value=${value#"${value%%[! $'\t\r']*}"} value=${value%"${value##*[! $'\t\r']}"}
          [ "${#value}" -ge 8 ] || continue
          # The longest first: one may be a part of another.
          at=0
          while [ "$at" -lt "${#values[@]}" ] && [ "${#values[at]}" -ge "${#value}" ]; do at=$((at + 1)); done
          values=("${values[@]:0:at}" "$value" "${values[@]:at}")
        done
      done
    fi
    for value in "${values[@]}"; do line=${line//"$value"/[secret]}; done
    printf '%s\n' "$line"
  done
}

# scrub_log: the log of the attempt that is over, as it is on disk; in place, since somebody may follow it.
scrub_log() {
  [ -n "$attempt_log" ] || return 0
  if scrub keeping < "$attempt_log" > "$attempt_log.clean" && ! cmp -s "$attempt_log" "$attempt_log.clean"; then
    if ! { cat "$attempt_log.clean" 1<> "$attempt_log" && truncate -r "$attempt_log.clean" "$attempt_log"; }; then
      : > "$attempt_log"
    fi
  fi
  rm -f "$attempt_log.clean"
  said_mark=$(log_size)
}
