# shellcheck shell=bash
# Emergency mode: where systemd goes when a file system that a machine is to have can't be mounted, while the machine runs just as at
# its start. It ends all else, the network and every way in included, and waits for somebody at the console. The agent and its guard
# are left (see upgrade.nix, and arm_guard). Used by ../guard as well.

is_emergency() { [ -d /run/systemd/system ] && systemctl is-active --quiet emergency.target < /dev/null; }

# leave_emergency SYSTEM: starts everything again, with what SYSTEM has in /etc; switching to it is not enough, since nothing that it
# could restart is running, and newer NixOS asks systemd over D-Bus, which isn't either.
leave_emergency() {
  is_emergency || return 0
  (umask 022 && exec timeout --kill-after=10 120 "$1/activate" "$1")
  systemctl daemon-reload
  # What isn't up by then goes on starting.
  timeout 120 systemctl start default.target
}
