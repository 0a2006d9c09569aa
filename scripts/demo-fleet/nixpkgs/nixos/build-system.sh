# shellcheck shell=sh disable=SC2154 # its variables are the attributes of the derivation
# Builds a system: what NixOS's toplevel has, as far as a tool that deploys it looks at it.
set -eu
PATH=/run/current-system/sw/bin:/usr/bin:/bin
mkdir -p "$out/bin" "$out/sw/bin" "$out/etc"
echo "$stateVersion" > "$out/nixos-version"
echo "$system" > "$out/system"
ln -s "$kernel" "$out/kernel"
ln -s "$initrd" "$out/initrd"
ln -s "$kernelModules" "$out/kernel-modules"
printf '%s' "$kernelParams" > "$out/kernel-params"

for package in $packages; do
  for program in "$package"/bin/*; do ln -s "$program" "$out/sw/bin/"; done
done

# The two lists go side by side: the nth text is the nth name's.
# shellcheck disable=SC2086
set -- $etcTexts
for name in $etcNames; do
  case $name in */*) mkdir -p "$out/etc/${name%/*}" ;; esac
  ln -s "$1" "$out/etc/$name"
  shift
done

printf '%s\n' "$switchInhibitors" > "$out/switch-inhibitors"
printf '#!/bin/sh\n%s' "$initScript" > "$out/init"
printf '%s' "$bootScript" > "$out/install-bootloader"

for program in activate bin/switch-to-configuration; do
  cat > "$out/$program" << EOF
#!/bin/sh
# Acts on the machine in \$MACHINE: etc/, run/current-system, boot/default.
set -eu
out='$out'
: "\${MACHINE:?the directory of the machine to switch}"
EOF
done

cat >> "$out/activate" << 'EOF'
mkdir -p "$MACHINE/run" "$MACHINE/etc"
(cd "$out/etc" && find . -type l) | while IFS= read -r file; do
  mkdir -p "$MACHINE/etc/$(dirname "$file")"
  cp "$out/etc/$file" "$MACHINE/etc/$file.new" && mv "$MACHINE/etc/$file.new" "$MACHINE/etc/$file"
done
ln -sfn "$out" "$MACHINE/run/current-system.new"
mv -T "$MACHINE/run/current-system.new" "$MACHINE/run/current-system"
EOF
printf '%s' "$activationScript" >> "$out/activate"

cat >> "$out/bin/switch-to-configuration" << 'EOF'
check() {
  running=$MACHINE/run/current-system/switch-inhibitors
  # One name at most, so that a system either has it or has none.
  if [ -e "$running" ] && ! cmp -s "$running" "$out/switch-inhibitors" && ! grep -qx '{}' "$running" "$out/switch-inhibitors"; then
    echo "There are changes to critical components of the system: use boot, and restart" >&2
    exit 1
  fi
}
install_bootloader() {
  mkdir -p "$MACHINE/boot"
  . "$out/install-bootloader"
  ln -sfn "$out" "$MACHINE/boot/default.new"
  mv -T "$MACHINE/boot/default.new" "$MACHINE/boot/default"
}
case "${1:-}" in
  test) check; "$out/activate" ;;
  boot) install_bootloader ;;
  switch) check; install_bootloader; "$out/activate" ;;
  dry-activate) ;;
  *) echo "usage: switch-to-configuration switch|boot|test|dry-activate" >&2; exit 1 ;;
esac
EOF
chmod +x "$out/init" "$out/activate" "$out/bin/switch-to-configuration"
