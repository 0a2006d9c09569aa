# shellcheck shell=bash
# Puts another Nix first in PATH: of a directory with bin/nix, or of the root of another Debian, whose programs need its own libraries.
# Sourced.

# use_nix PLACE DIR: DIR is an empty directory for what has to be written.
use_nix() {
  local place=$1 dir=$2 loader libraries program
  if [ -x "$place/bin/nix" ] && [ ! -e "$place/etc/debian_version" ]; then
    export PATH="$place/bin:$PATH"
    return
  fi
  if [ -f "$place" ] && [ -x "$place" ]; then
    export PATH="${place%/*}:$PATH"
    return
  fi
  if [ ! -x "$place/usr/bin/nix" ]; then
    echo "there is neither bin/nix nor usr/bin/nix in $place" >&2
    exit 2
  fi
  loader=$(find "$place"/lib64/ "$place"/lib/ "$place"/usr/lib/ -maxdepth 2 -name 'ld-linux-*.so.*' -print -quit 2> /dev/null)
  libraries=$(find "$place"/usr/lib "$place"/lib -maxdepth 1 -type d -name '*-linux-gnu*' -printf '%p:')
  for program in "$place"/usr/bin/nix*; do
    cat > "$dir/${program##*/}" << EOF
#!/bin/sh
exec $loader --library-path $libraries --argv0 ${program##*/} $place/usr/bin/nix "\$@"
EOF
    chmod +x "$dir/${program##*/}"
  done
  # Nix starts itself, and would take the machine's.
  export NIX_BIN_DIR=$dir PATH="$dir:$PATH"
}
