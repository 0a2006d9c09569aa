# shellcheck shell=bash
# sshd's configuration for the fleet. Sourced by provision, whose `die`, `directory`, `root`, `port`, `listen`,
# `publisher`, `logins`, `login_of` (by host) and `cache` it uses.

# Hosts behind one address share its penalties (sshd since 9.8): by default ten that were turned away, as those of a new
# fleet are until the server knows them, would lock the others out for minutes.
penalties='PerSourcePenalties authfail:1 noauth:0 grace-exceeded:1'

sshd_config() {
  local host start=$((${#logins[@]} > 200 ? ${#logins[@]} : 200))
  cat << END
# Made by Bento's provision from fleet.json; changes are overwritten.
Port $port
${listen:+ListenAddress $listen}
HostKey $directory/host_key
PidFile $directory/sshd.pid
AuthorizedKeysFile $directory/authorized_keys/%u
AllowUsers ${logins[*]}
AuthenticationMethods publickey
PasswordAuthentication no
KbdInteractiveAuthentication no
PermitRootLogin no
UsePAM no
# Hosts of a fleet like to poll at the same time: by default sshd drops a third of more than ten who are logging in.
MaxStartups $start:30:$((start * 5))
$(sshd -T -h "$directory/host_key" -f /dev/null -o "${penalties/ /=}" > /dev/null 2>&1 && echo "$penalties")
LoginGraceTime 30
ClientAliveInterval 15
ClientAliveCountMax 4
DisableForwarding yes
PermitTTY no
PermitTunnel no
PermitUserEnvironment no
PermitUserRC no
PrintMotd no
Subsystem sftp internal-sftp
ForceCommand internal-sftp -u 0027
ChrootDirectory $root
END
  [ -z "$cache" ] || [ "${#login_of[@]}" -eq 0 ] || forward_cache
  for host in "${!login_of[@]}"; do
    printf 'Match User %s\n  ChrootDirectory %s/%s\n' "${login_of[$host]}" "$root" "$host"
  done | sort_blocks
}

# Hosts, and not the publisher, are connected to the fleet's cache and to nothing else, and nobody to them.
forward_cache() {
  local sorted
  sorted=$(printf '%s\n' "${login_of[@]}" | sort | paste -sd,)
  cat << END
Match User $sorted
  DisableForwarding no
  AllowTcpForwarding local
  PermitOpen $cache
  PermitListen none
  GatewayPorts no
  AllowStreamLocalForwarding no
  AllowAgentForwarding no
  X11Forwarding no
  PermitTunnel no
END
}

# By login, so that the same fleet always gives the same file.
sort_blocks() { paste - - | sort | tr '\t' '\n'; }

# Puts the configuration in place once sshd has nothing against it, and tells the sshd that runs with it. Sessions stay.
write_sshd_config() {
  local problem dir
  sshd_config > "$directory/.sshd_config"
  if ! problem=$(sshd -t -f "$directory/.sshd_config" 2>&1); then
    # Of the system's own service, and made when that starts.
    dir=$(sed -n 's/^Missing privilege separation directory: \([^\r]*\).*/\1/p' <<< "$problem")
    [ -z "$dir" ] || mkdir -p "$dir"
    problem=$(sshd -t -f "$directory/.sshd_config" 2>&1) || die "sshd would not start with it: $problem"
  fi
  if cmp -s "$directory/.sshd_config" "$directory/sshd_config"; then
    rm "$directory/.sshd_config"
    return
  fi
  mv "$directory/.sshd_config" "$directory/sshd_config"
  reload_sshd
}

reload_sshd() {
  local pid
  pid=$(cat "$directory/sshd.pid" 2> /dev/null) || return 0
  # The number may be another process's by now.
  tr '\0' ' ' 2> /dev/null < "/proc/$pid/cmdline" | grep -qF -- "-f $directory/sshd_config" || return 0
  kill -HUP "$pid"
}
