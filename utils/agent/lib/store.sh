# shellcheck shell=bash
# What a power cut does to a store: Nix's database is on disk before the files are of which it says that they are there, and Nix
# takes them for whole ever after. So it is noted, in `building`, in which boot the store was written to; and what came from one
# that has ended meanwhile is looked at before it is activated.

# note_building: the store is written to from here on. Fails with $problem.
note_building() {
  # An older note stays until what it stands for has been looked at.
  [ ! -e "$BENTO_STATE/building" ] || return 0
  boot_id | write_state building && return
  problem="the state could not be written: $(no_space_or "$BENTO_STATE" 'the disk refused it')"
  return 1
}

# was_cut_off: whether another boot than this one ended while the store was written to.
was_cut_off() { [ -e "$BENTO_STATE/building" ] && [ "$(cat "$BENTO_STATE/building" 2> /dev/null)" != "$(boot_id)" ]; }

# settle_store: all of it is on its disk. Fails with $problem.
settle_store() {
  make_durable "$(nix_store_dir)" || return 1
  rm -f "$BENTO_STATE/building"
}

# remove_damaged SYSTEM: what it has beyond the running system, which was on disk before it was committed, is looked at; what isn't as
# it was written goes, with all that needs it, to be fetched or built anew, and $removed says so. Fails with $problem. It isn't
# repaired in place: that takes away what is there before it asks for another, and also what was whole, which the running
# system may need. What is in use Nix doesn't remove.
remove_damaged() {
  local path paths damaged=() gone
  removed=
  mapfile -t paths < <(comm -23 <(nix-store --query --requisites "$1" 2> /dev/null | sort) \
    <(nix-store --query --requisites "$(running_system)" 2> /dev/null | sort))
  [ "${#paths[@]}" -gt 0 ] || return 0
  if logged nix-store --verify-path "${paths[@]}"; then return 0; fi
  for path in "${paths[@]}"; do
    logged nix-store --verify-path "$path" && continue
    say "$path is damaged, and is taken out of the store"
    damaged+=("$path")
  done
  [ "${#damaged[@]}" -gt 0 ] || return 0
  rm -f "$BENTO_STATE/gcroots/next"
  mapfile -t gone < <(nix-store --query --referrers-closure "${damaged[@]}")
  if logged nix-store --delete "${gone[@]}"; then
    removed=yes
    return
  fi
  problem="${damaged[0]} was damaged when the power was lost, and is in use: nix-store --repair-path ${damaged[0]}"
  return 1
}
