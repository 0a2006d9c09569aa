# shellcheck shell=bash
# Finds the programs that scripts/demo and scripts/test need, and installs what is missing where that can be done.
# Sourced; `$root` is the project's directory.

# need PROGRAM PACKAGE: notes Debian's PACKAGE as missing when PROGRAM isn't there. sbin is where sshd and useradd live.
missing=()
need() {
  PATH="$PATH:/usr/sbin:/sbin" command -v "$1" > /dev/null || missing+=("$2")
}

# Installs what `need` noted, with apt; elsewhere says what to install, and exits with 3.
install_missing() {
  [ "${#missing[@]}" -eq 0 ] && return
  if ! command -v apt-get > /dev/null; then
    echo "missing here: ${missing[*]} (these are Debian's package names); please install them and run this again" >&2
    exit 3
  fi
  if [ "$(id -u)" -ne 0 ]; then
    echo "missing here: ${missing[*]}; run: sudo apt-get install ${missing[*]}" >&2
    exit 3
  fi
  echo "Installing with apt-get, as they are missing here: ${missing[*]}"
  local log
  log=$(mktemp)
  if ! quietly_install "${missing[@]}" > "$log" 2>&1; then
    cat "$log" >&2
    rm -f "$log"
    echo "apt-get could not install: ${missing[*]}" >&2
    exit 3
  fi
  rm -f "$log"
}

# Debian starts a server that it installs, and an ssh server nobody asked for would be a nasty surprise: so it is kept from
# starting, now (policy-rc.d) and at the next boot.
quietly_install() {
  local policy=/usr/sbin/policy-rc.d made_policy='' had_sshd='' had_nginx=''
  command -v /usr/sbin/sshd > /dev/null && had_sshd=yes
  command -v /usr/sbin/nginx > /dev/null && had_nginx=yes
  if [ ! -e "$policy" ]; then
    printf '#!/bin/sh\nexit 101\n' > "$policy"
    chmod 755 "$policy"
    made_policy=yes
  fi
  local status=0
  { apt-get update && DEBIAN_FRONTEND=noninteractive apt-get install -y --no-install-recommends "$@"; } || status=$?
  if [ -z "$had_sshd" ] && [ -e /usr/sbin/sshd ] && command -v systemctl > /dev/null; then
    systemctl disable ssh.service ssh.socket || true
  fi
  if [ -z "$had_nginx" ] && [ -e /usr/sbin/nginx ] && command -v systemctl > /dev/null; then
    systemctl disable nginx.service || true
  fi
  [ -z "$made_policy" ] || rm -f "$policy"
  return "$status"
}

# node_major PROGRAM: prints the major version, or 0.
node_major() {
  local version
  version=$("$1" --version 2> /dev/null) || version=v0
  version=${version#v}
  echo "${version%%.*}"
}

# Installs the project's npm packages when they aren't there as package-lock.json says. Among them is a Node 24.
install_packages() {
  if [ node_modules/.package-lock.json -nt package-lock.json ]; then return; fi
  need npm npm
  need node nodejs
  install_missing
  echo "Installing the project's npm packages into node_modules/"
  local as=()
  # What root leaves in a user's checkout the user can't remove.
  if [ "$(id -u)" -eq 0 ] && [ -n "${SUDO_USER:-}" ] && command -v runuser > /dev/null; then as=(runuser -u "$SUDO_USER" --); fi
  # To an old Node npm doesn't give the native parts of packages that ask for a newer one, and says nothing of it.
  local path=$PATH newer=''
  if [ "$(node_major node)" -lt 20 ]; then
    newer=$(mktemp -d)
    [ "${#as[@]}" -eq 0 ] || chown "$SUDO_USER" "$newer"
    printf '{ "private": true, "allowScripts": { "node": true } }\n' > "$newer/package.json"
    "${as[@]}" npm install --prefix "$newer" --no-audit --no-fund --loglevel=error \
      "node@$(sed -n 's/^ *"node": "\([0-9][0-9.]*\)".*/\1/p' package.json | head -n 1)"
    path=$newer/node_modules/.bin:$PATH
  fi
  # package.json's allowScripts says the same to newer ones of npm. An older one, where there is a compiler, would build ssh2's native
  # parts for the Node that it runs on itself, and the other one that is installed here crashes with them.
  "${as[@]}" env PATH="$path" npm ci --ignore-scripts --no-audit --no-fund --loglevel=error
  "${as[@]}" env PATH="$path" npm rebuild --no-audit --no-fund --loglevel=error node > /dev/null
  [ -z "$newer" ] || rm -rf "$newer"
  touch node_modules/.package-lock.json
}
