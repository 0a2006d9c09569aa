# shellcheck shell=sh disable=SC2154 # nonce, host, verb and skip come from what is put before this
# What is run on a host to upgrade it (verb=upgrade), to hear how an upgrade goes on but for the first $skip lines (verb=follow), to
# wait for its end (verb=wait), or to hear how it is (verb=status). It ends each part of what it prints with a line that begins
# with $nonce. It comes over standard input itself, which nothing that is run here may read from.
bento=$(command -v bento-agent) || { echo "$nonce missing"; exit 0; }
if [ "$(id -u)" = 0 ]; then
  root=yes
  agent() { "$bento" "$@"; }
elif sudo -n "$bento" version < /dev/null > /dev/null 2>&1; then
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

# said: what the attempt that is running says, to its end; or else what the last one has said.
said() {
  case $status in
    *'"upgrading": true'*) agent log -f < /dev/null 2>&1 ;;
    *) agent log < /dev/null 2>&1 ;;
  esac
}

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
  # What was shown already doesn't come over the line again.
  follow) said | { [ "$skip" = 0 ] || sed -u "${skip}q" > /dev/null; cat; } ;;
  wait) said | tail -n 1 ;;
esac
printf '%s log\n' "$nonce"
agent status --json < /dev/null
printf '%s after\n' "$nonce"
