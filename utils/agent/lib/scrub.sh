# shellcheck shell=bash
# What leaves this machine has none of its secrets in it, whatever a unit or an activation script has printed.

# scrub: standard input without the values in BENTO_SECRETS.d: whole, or a line of one that has several; what is shorter than
# 8 bytes would take away harmless text as well. The values go through awk's files, and not through its arguments.
scrub() {
  local files=("${BENTO_SECRETS:-/nowhere}.d"/*/*)
  if [ ! -e "${files[0]}" ]; then
    cat
    return
  fi
  LC_ALL=C awk '
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
          clean = clean substr($0, 1, at - 1) "[secret]"
          $0 = substr($0, at + length(values[i]))
        }
        $0 = clean $0
      }
      print
    }' "${files[@]}"
}
