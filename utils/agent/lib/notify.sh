# shellcheck shell=bash
# Telling the people at the machine that an upgrade has changed it, or has gone wrong. It comes last, when everything is
# done and remembered; it has a deadline, and whatever becomes of it, nobody minds.
#
# BENTO_NOTIFY_SEND is notify-send, for the graphical sessions of whoever is logged in; BENTO_NOTIFY_COMMAND is an
# executable of the administrator's.

# notify OUTCOME REASON
notify() {
  local needed=0
  [ -n "$BENTO_NOTIFY_SEND$BENTO_NOTIFY_COMMAND" ] || return 0
  case $1 in success | auto-updated | failed | rolled-back | inconclusive) ;; *) return 0 ;; esac
  if needs_reboot || is_staged; then needed=1; fi
  if [ -n "$BENTO_NOTIFY_COMMAND" ]; then notify_command "$1" "$2" "$needed" || true; fi
  if [ -n "$BENTO_NOTIFY_SEND" ]; then notify_desktops "$1" "$2" "$needed" || true; fi
}

notify_command() {
  BENTO_OUTCOME=$1 BENTO_REASON=$2 BENTO_REBOOT_NEEDED=$3 BENTO_SEQUENCE=$manifest_sequence \
    BENTO_COMMIT=$manifest_commit BENTO_SUBJECT=${manifest_subject:-} BENTO_FROM=$from BENTO_TO=$to \
    logged timeout --kill-after=5 30 "$BENTO_NOTIFY_COMMAND" < "$BENTO_STATE/last.json" ||
    say "$BENTO_NOTIFY_COMMAND failed: $(last_words)"
}

# notify_desktops: one notification for each user with a graphical session, by the user's own bus, as that user.
notify_desktops() {
  local summary body=$2 urgency=normal user group place
  case $1 in
    success | auto-updated) summary='This machine was upgraded' body=${manifest_subject:-}${2:+ ($2)} ;;
    failed) summary='An upgrade of this machine failed' urgency=critical ;;
    rolled-back) summary='An upgrade of this machine was undone' urgency=critical ;;
    inconclusive) summary='An upgrade of this machine was undone, and is tried again' ;;
  esac
  if [ "$3" = 1 ]; then
    body="${body:+$body
}A restart is needed."
  fi
  # Desktops take the text for markup, and it is foreign.
  body=$(jq -nr --arg body "$body" '$body | gsub("[\u0000-\u0009\u000b-\u001f\u007f-\u009f]"; "?") | .[:400]
    | gsub("&"; "&amp;") | gsub("<"; "&lt;") | gsub(">"; "&gt;")')
  graphical_users | while read -r user; do
    place=$(loginctl show-user "$user" --property RuntimePath --value 2> /dev/null) || continue
    group=$(id -g "$user" 2> /dev/null) || continue
    [ -S "$place/bus" ] || continue
    logged timeout --kill-after=1 5 setpriv --reuid "$user" --regid "$group" --clear-groups --inh-caps=-all \
      env -i "DBUS_SESSION_BUS_ADDRESS=unix:path=$place/bus" "XDG_RUNTIME_DIR=$place" HOME=/ \
      "$BENTO_NOTIFY_SEND" --app-name=Bento --icon=system-software-update --urgency="$urgency" -- "$summary" "$body" \
      < /dev/null || true
  done
}

# graphical_users: the numbers of those who are logged in to a graphical session on this machine. The listing is for
# people; of it only the sessions' names count.
graphical_users() {
  local session _
  loginctl list-sessions --no-legend 2> /dev/null | while read -r session _; do
    [[ $session =~ ^[A-Za-z0-9]+$ ]] || continue
    loginctl show-session "$session" --property User --property Type --property Class --property State 2> /dev/null |
      awk -F= '{ is[$1] = $2 }
        END { if (is["Type"] ~ /^(x11|wayland|mir)$/ && is["Class"] ~ /^user/ && is["State"] ~ /^(active|online)$/ &&
              is["User"] ~ /^[0-9]+$/) print is["User"] }'
  done | sort -u
}
