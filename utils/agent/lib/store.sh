# shellcheck shell=bash
# What a power cut does to a store: Nix's database is on disk before the files are of which it says that they are there, and Nix
# takes them for whole ever after. So it is noted, in `building`, in which boot and from when on the store was written to; and what
# came from a boot that has ended meanwhile is looked at before anything is built from it, or activated.

# note_building: the store is written to from here on. Fails with $problem.
note_building() {
  # An older note stays until what it stands for has been looked at.
  [ ! -e "$BENTO_STATE/building" ] || return 0
  { boot_id && date +%s; } | write_state building && return
  problem="the state could not be written: $(no_space_or "$BENTO_STATE" 'the disk refused it')"
  return 1
}

# was_cut_off: whether another boot than this one ended while the store was written to.
was_cut_off() {
  local boot=
  [ -e "$BENTO_STATE/building" ] || return 1
  read -r boot 2> /dev/null < "$BENTO_STATE/building" || true
  [ "$boot" != "$(boot_id)" ]
}

# settle_store: all of it is on its disk. Fails with $problem.
settle_store() {
  make_durable "$(nix_store_dir)" || return 1
  rm -f "$BENTO_STATE/building"
}

# look_at_store: what was written to it before the power was lost: systems, but also derivations, sources and tools, since what is
# built from a damaged one has a valid name and a wrong content. Where Nix doesn't say what is new, it is the release's system alone,
# and the note stays. Fails with $problem.
look_at_store() {
  local new paths
  new=$(new_paths) || new=
  mapfile -t paths < <(
    [ -z "$new" ] || echo "$new"
    [ -z "$manifest_toplevel" ] || beyond_running "$manifest_toplevel"
  )
  remove_damaged "${paths[@]}" || return 1
  [ -z "$new" ] || rm -f "$BENTO_STATE/building"
}

# new_paths: prints those that Nix has written down since the note was made. Fails where that isn't known.
new_paths() {
  local since now
  since=$(sed -n 2p "$BENTO_STATE/building" 2> /dev/null)
  [[ $since =~ ^[0-9]{1,12}$ ]] || return 1
  now=$(date +%s)
  # One of the two clocks was wrong; of a day nothing is missed.
  [ "$since" -le "$now" ] || since=$((now - 86400))
  # In this format, or in that of a Nix which has only one.
  { infos --json-format 1 || infos; } | jq -r --argjson since "$since" '
    if type == "array" then .[] else to_entries[] | { path: .key } + .value end | select(.registrationTime >= $since).path'
}

infos() { apart nix "${nix_flags[@]}" path-info --all --json "$@" 2> /dev/null; }

# beyond_running SYSTEM: prints what it has beyond the running system, which was on disk before it was committed.
beyond_running() {
  comm -23 <(nix-store --query --requisites "$1" 2> /dev/null | sort) \
    <(nix-store --query --requisites "$(running_system)" 2> /dev/null | sort)
}

# remove_damaged PATH…: those which aren't as they were written go, with all that needs them, to be fetched or built anew, and
# $removed says so. Fails with $problem. They aren't repaired in place: that takes away what is there before it asks for another, and
# also what was whole, which the running system may need. What is in use Nix doesn't remove.
remove_damaged() {
  local path gone used=
  removed=
  [ $# -gt 0 ] || return 0
  if printf '%s\n' "$@" | logged xargs nix-store --verify-path; then return 0; fi
  rm -f "$BENTO_STATE/gcroots/next"
  for path in "$@"; do
    if logged nix-store --verify-path "$path" || ! nix-store --check-validity "$path" 2> /dev/null; then continue; fi
    say "$path is damaged, and is taken out of the store"
    mapfile -t gone < <(nix-store --query --referrers-closure "$path")
    # What a system was made from isn't in use because of that.
    if logged nix-store --delete --option keep-derivations false --option keep-outputs false "${gone[@]}"; then
      removed=yes
    else
      used=${used:-$path}
    fi
  done
  [ -n "$used" ] || return 0
  problem="$used was damaged when the power was lost, and is in use: nix-store --repair-path $used"
  return 1
}
