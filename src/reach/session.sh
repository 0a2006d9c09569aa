# shellcheck shell=sh disable=SC2154 # nonce, host and verb come from what is put before this
# What is run on a host to upgrade it (verb=upgrade), to hear how an upgrade goes on (verb=follow), or how it is (verb=status). It
# ends each part of what it prints with a line that begins with $nonce.
bento=$(command -v bento-agent) || { echo "$nonce missing"; exit 0; }
if [ "$(id -u)" = 0 ]; then
  root=yes
  agent() { "$bento" "$@"; }
elif sudo -n "$bento" version > /dev/null 2>&1; then
  root=yes
  agent() { sudo -n "$bento" "$@"; }
  echo "$nonce sudo"
else
  # Members of a group may, through the agent's socket.
  root=
  agent() { "$bento" "$@"; }
fi

status=$(agent status --json < /dev/null) || { echo "$nonce forbidden"; exit 0; }
printf '%s\n%s before\n' "$status" "$nonce"
# In JSON no text has a quote of its own in it that isn't escaped.
case $status in *"\"host\": \"$host\""*) ;; *) exit 0 ;; esac

case $verb in
  upgrade)
    case $status in *'"suspended": null'*) ;; *) exit 0 ;; esac
    # As the timer makes it, so that it goes on whatever becomes of this connection.
    if [ -n "$root" ]; then
      echo upgrade | agent serve
    else
      agent upgrade < /dev/null 2>&1
      echo "exit $?"
    fi
    ;;
  follow)
    case $status in
      *'"upgrading": true'*) agent log -f < /dev/null 2>&1 ;;
      *) agent log < /dev/null 2>&1 ;;
    esac
    ;;
esac
printf '%s log\n' "$nonce"
agent status --json < /dev/null
printf '%s after\n' "$nonce"
