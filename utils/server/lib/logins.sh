# shellcheck shell=bash
# The fleet's logins on this machine. Sourced by provision, whose `die`, `here` and `directory` it uses, and `logins`, the
# fleet's, and `keys`, by login.

# Logins' numbers, of old and new ones: a chroot that is found again must fit the login that is made again.
declare -A ids there recorded
read_ids() {
  local login id
  while read -r login; do recorded[$login]=1; done < "$directory/logins"
  while read -r login id; do ids[$login]=$id; done < <(cat "$directory/ids" 2> /dev/null || true)
  # Those that are there, whoever made them.
  while IFS=: read -r login _ id _; do
    # useradd made those of earlier versions, with whatever number was free.
    if [ -n "${recorded[$login]-}" ] && [ -z "${ids[$login]-}" ]; then ids[$login]=$id; fi
    there[$login]=1
    [ "${ids[$login]-}" = "$id" ] ||
      die "there is a login '$login' on this machine already, which is not Bento's; see server.loginPrefix"
  done < <(getent passwd "${logins[@]}" || true)
}

# Gives each login without a number one that no login and no group has, and that fits into a container's 65536. A
# directory service may not list all of its own, so it is also asked for those numbers.
number_logins() {
  local login id new=() candidates taken
  for login in "${logins[@]}"; do [ -n "${ids[$login]-}" ] || new+=("$login"); done
  [ "${#new[@]}" -gt 0 ] || return 0
  local -A used=()
  taken=$(printf '%s\n' "${ids[@]}"; { getent passwd; getent group; } | cut -d: -f3)
  while [ -n "$taken" ]; do
    for id in $taken; do used[$id]=1; done
    candidates=()
    for ((id = 30000; ${#candidates[@]} < ${#new[@]}; id++)); do
      [ "$id" -lt 60000 ] || die "there are no numbers left for new logins"
      [ -n "${used[$id]-}" ] || candidates+=("$id")
    done
    taken=$({ getent passwd "${candidates[@]}" || true; getent group "${candidates[@]}" || true; } | cut -d: -f3)
  done
  for id in "${!new[@]}"; do ids[${new[id]}]=${candidates[id]}; done
}

# Makes the logins that aren't there, and writes down first that they are Bento's.
make_logins() {
  local login
  number_logins
  for login in "${!ids[@]}"; do printf '%s %s\n' "$login" "${ids[$login]}"; done | sort | put "$directory/ids"
  printf '%s\n' "${logins[@]}" "${!recorded[@]}" | sort -u | put "$directory/logins"
  for login in "${logins[@]}"; do
    [ -n "${there[$login]-}" ] || printf '%s %s\n' "$login" "${ids[$login]}"
  done | "$here/lib/accounts" add || die "the logins could not be made"
}

# Who left the fleet loses the login, and whatever session it has. Its number stays its own, since its chroot does: the group
# keeps it from everybody else.
remove_old_logins() {
  local login old=()
  for login in "${!recorded[@]}"; do
    [ -n "${keys[$login]-}" ] || old+=("$login")
  done
  [ "${#old[@]}" -gt 0 ] || return 0
  for login in "${old[@]}"; do rm -f "$directory/authorized_keys/$login"; done
  printf '%s\n' "${old[@]}" | "$here/lib/accounts" retire || die "logins of hosts that left could not be removed"
  printf '%s\n' "${logins[@]}" | sort | put "$directory/logins"
  printf 'removed the login %s; its chroot is left as it is\n' "${old[@]}"
}

# Keys are written aside, and those that are new or different moved into place together.
write_keys() {
  local login line changed=()
  local -A now=()
  rm -rf "$directory/.keys"
  mkdir -p "$directory/authorized_keys" "$directory/.keys"
  # Of all files at once; a program for each would take most of the time.
  while IFS=: read -r login line; do
    now[$login]+="${now[$login]+$'\n'}$line"
  done < <(cd "$directory/authorized_keys" && grep -r '' . | cut -c3-)
  for login in "${logins[@]}"; do
    [ "${now[$login]-}" != "${keys[$login]}" ] || continue
    printf '%s\n' "${keys[$login]}" > "$directory/.keys/$login"
    changed+=("$directory/.keys/$login")
  done
  [ "${#changed[@]}" -eq 0 ] || printf '%s\0' "${changed[@]}" | xargs -0 mv -t "$directory/authorized_keys"
  rm -rf "$directory/.keys"
}
