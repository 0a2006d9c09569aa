# shellcheck shell=bash
# A kernel that panics, or doesn't find its disk, is beyond any program on the machine, but not beyond a boot loader: systemd-boot starts
# what is on trial (see lib/reboot.sh) once, and at any start after that the system before, until the agent says that it may stay. So
# whatever starts the machine again, the kernel itself with panic=, a watchdog, or somebody with the power button, brings it back.
#
# boot-once.json, { bootId }, in BENTO_STATE says that the boot loader was told so, and in which boot. It is there before that is done, and
# goes after it was undone.

# boot_once: what bento-boot-once.service does when the machine is about to stop, since until then somebody may make another system what
# boots. Whatever it doesn't find leaves the restart as it is without it.
boot_once() {
  local entries entry=() again=false
  # A switch stops units as well.
  [ "$(systemctl is-system-running 2> /dev/null)" = stopping ] && has_attempt trial.json || return 0
  read_attempt trial.json
  [ "$(booting_system)" = "$to" ] && [ "$from" != "$to" ] || return 0
  [ ! -e "$BENTO_STATE/boot-once.json" ] || again=true
  # Where something else boots by default than what was made to, somebody has told the boot loader themselves.
  entries=$(bootctl --json=short list 2> /dev/null) || return 0
  mapfile -t entry < <(jq -r --arg to "init=$to/init" --arg from "init=$from/init" --argjson again "$again" '
    def boots($init): map(select(.options // "" | split(" ") | index($init)));
    (boots($to) | sort_by(.isDefault == true) | last) as $new | (boots($from) | last) as $old
    | select($new.id and $old.id and ($again or $new.isDefault)) | $new.id, $old.id' 2> /dev/null <<< "$entries")
  [ "${#entry[@]}" -eq 2 ] || return 0
  jq -n --arg bootId "$(boot_id)" '{ bootId: $bootId }' | write_state boot-once.json || return 0
  if bootctl set-oneshot "${entry[0]}" && bootctl set-default "${entry[1]}"; then
    say "release $manifest_sequence boots once: should it not come up, the next start is into $from"
  else
    end_boot_once
  fi
}

# end_boot_once: what was made to boot does so from here on.
end_boot_once() {
  [ -e "$BENTO_STATE/boot-once.json" ] || return 0
  if logged bootctl set-oneshot '' && logged bootctl set-default ''; then
    rm -f "$BENTO_STATE/boot-once.json"
  else
    say "the boot loader could not be told what boots from here on: $(last_words); bootctl set-default '' does it"
  fi
}
