# shellcheck shell=bash
# From the release to a system in the store: $built, kept alive by $BENTO_STATE/gcroots/next.

nix_flags=(--extra-experimental-features 'nix-command flakes')

# build_release DIR: of the release in DIR. Fails with $problem.
build_release() {
  local status=0 cut_off='' paths
  bound_log
  if was_cut_off; then
    cut_off=yes
    say "an earlier attempt was cut off while the store was written to: looking at what is new in it"
    look_at_store || return 1
  fi
  note_building || return 1
  realise_or_build "$1" || status=$?
  if [ -n "$cut_off" ] && [ "$status" -ne 0 ] && forget_inputs; then
    say "$problem; once more, without what Nix remembers of inputs, which may be damaged too"
    status=0
    realise_or_build "$1" || status=$?
  fi
  # Of a system that was made just now, parts may have been there.
  if [ -n "$cut_off" ] && [ "$status" -eq 0 ]; then
    mapfile -t paths < <(beyond_running "$built")
    remove_damaged "${paths[@]}" || status=$?
    [ -z "$removed" ] || realise_or_build "$1" || status=$?
  fi
  close_forward
  if [ "$status" -ne 0 ]; then
    if was_cut_off; then
      problem+="; an earlier attempt was cut off while the store was written to, and what Nix needs may be damaged:"
      problem+=' nix-store --verify --check-contents looks at all of it'
    else
      # What it has written before it failed is no worse for that: the next boot has nothing to look at. The reason stays this one.
      (settle_store) || true
    fi
    return "$status"
  fi
  settle_store
}

# forget_inputs: what Nix keeps of flakes' inputs and of caches, of which a power cut leaves less than of the store. It is
# fetched anew. Fails where there is nothing.
forget_inputs() {
  local caches=${XDG_CACHE_HOME:-$HOME/.cache}/nix
  [ -e "$caches" ] && rm -rf "$caches"
}

realise_or_build() {
  local root=$BENTO_STATE/gcroots/next tree=$1/tree
  rm -f "$root"
  built='' cache_options=()
  mark_log
  if [ ! -d "$tree" ] && [ "$BENTO_BUILD" = source ]; then
    problem="it comes without files to build it from, and this machine takes no built systems (services.bento.build)"
    return 1
  fi
  if [ -n "$manifest_toplevel" ] && [ "$BENTO_BUILD" != source ]; then
    if realise_toplevel "$root"; then
      built=$manifest_toplevel
      return
    fi
    # It was put there in spite of a failure, such as of a system that is none.
    rm -f "$root"
  elif [ "$BENTO_BUILD" = prebuilt ]; then
    problem="the release doesn't say which system it is, as those of 'bento deploy --no-eval' don't"
  fi
  if [ "$BENTO_BUILD" = prebuilt ] || [ ! -d "$tree" ]; then
    problem+="; it is not built here"
    return 1
  fi
  [ "${#cache_options[@]}" -gt 0 ] || use_caches
  [ -z "$manifest_toplevel" ] || [ "$BENTO_BUILD" = source ] || [ "${#caches[@]}" -eq 0 ] || say "building it here: $problem"

  while :; do
    build_from_source "$1" "$root" && return
    # Each time with fewer of the fleet's caches; without them, nothing is too slow.
    is_too_slow "$build_status" || break
    leave_out_slow "$(too_slow)"
  done
  # What is wrong with a cache is no fault of the release's. Once, so that a build that fails isn't repeated for each.
  if is_cache_to_blame && leave_out_troubled; then build_from_source "$1" "$root" && return; fi
  return 1
}

# build_from_source DIR ROOT: sets $built, or fails with $problem.
build_from_source() {
  local tree=$1/tree root=$2
  build_status=0
  mark_log
  # Where a download fails, what it was for is built.
  local options=("${cache_options[@]}" --option fallback true) patience
  mapfile -t patience < <(nix_patience)
  if [ "$manifest_kind" = flake ]; then
    # In quotes, so that a dot is a part of the name; and a flake reference's fragment is percent-encoded.
    logged watched "${patience[@]}" -- nix "${nix_flags[@]}" build --no-write-lock-file --no-update-lock-file --print-build-logs \
      "${options[@]}" --out-link "$root" \
      "path:$tree#nixosConfigurations.\"${manifest_attr//%/%25}\".config.system.build.toplevel" || build_status=$?
  else
    if [ ! -f "$tree/$manifest_attr" ]; then
      problem="the release has no $manifest_attr"
      return 1
    fi
    local search_path=${NIX_PATH:-nixpkgs=/nix/var/nix/profiles/per-user/root/channels/nixos} pinned
    if [ -e "$1/nixpkgs.json" ]; then
      if ! pinned=$(pinned_nixpkgs "$1/nixpkgs.json"); then
        problem="the pinned nixpkgs can't be had: $(nix_error)"
        return 1
      fi
      search_path=nixpkgs=$pinned:$search_path
    fi
    NIX_PATH=$search_path logged watched "${patience[@]}" -- \
      nix-build '<nixpkgs/nixos>' -A system -I "nixos-config=$tree/$manifest_attr" "${options[@]}" --out-link "$root" || build_status=$?
  fi
  if [ "$build_status" -eq 124 ] && [ "$ended_by" = download_speed ]; then
    problem="its build was ended, as downloads for it were too slow: $(too_slow)"
    return 1
  elif [ "$build_status" -eq 124 ]; then
    problem="its build was ended: for $BENTO_BUILD_SILENCE s it has said nothing (services.bento.maxSilentTime.build) after: $(said_before_end)"
    return 1
  fi
  if [ "$build_status" -eq 137 ]; then
    problem="its build was killed, as for want of memory, after: $(said_before_end)"
    return 1
  fi
  if [ "$build_status" -ne 0 ] || [ ! -e "$root/bin/switch-to-configuration" ]; then
    problem=$(no_space_or "$(nix_store_dir)" "it does not build: $(nix_error)")
    return 1
  fi
  built=$(readlink -f "$root")
}

# said_before_end: the last line of a build that was ended, but for what Nix says of that.
said_before_end() {
  logged_since "$log_mark" | tail -c 20000 | printable | grep -v '^error: interrupted by the user' |
    tail -n 1 | grep . || echo 'nothing at all'
}

# is_cache_to_blame: whether a build failed over what it got, or didn't get, from a cache. Nix 2.8 aborts over one that it
# can't reach.
is_cache_to_blame() {
  [ "$build_status" -ne 0 ] && [ "$build_status" -ne 124 ] && [ "${#caches[@]}" -gt 0 ] || return 1
  [ "$build_status" -eq 134 ] || logged_since "$log_mark" | printable |
    grep -qE "^(error|warning): .*(unable to download|substitut|timed out|binary cache|hash mismatch importing)"
}

# pinned_nixpkgs FILE: fetches the nixpkgs that the release was checked with, unless it is there, and prints its store path. Nix
# itself gives up a download that has stalled.
pinned_nixpkgs() {
  local url hash
  url=$(jq -er '.url | strings' "$1") && hash=$(jq -er '.hash | strings' "$1") || return 1
  # shellcheck disable=SC2016 # the variables are Nix's
  apart watched "$BENTO_BUILD_SILENCE" nix_progress -- nix-instantiate --eval --json --read-write-mode \
    --argstr url "$url" --argstr hash "$hash" \
    --expr '{ url, hash }: "${builtins.fetchTarball { inherit url; sha256 = hash; }}"' 2>> "${attempt_log:-/dev/null}" |
    jq -er .
}

# check_built: the runner and the host must come to the same system from the same flake.
check_built() {
  [ -n "$manifest_toplevel" ] && [ "$built" != "$manifest_toplevel" ] || return 0
  if [ "$manifest_kind" = flake ] || [ -e "$BENTO_STATE/release.next/nixpkgs.json" ]; then
    problem="it built $built, where the fleet expects $manifest_toplevel"
    return 1
  fi
  # Channels differ from machine to machine; that is what flakes are for.
  say "built $built, not $manifest_toplevel: this host's channel is not the one it was checked with"
}

nix_store_dir() {
  if [ -n "${NIX_STORE_DIR:-}" ]; then echo "$NIX_STORE_DIR"; else echo /nix/store; fi
}

# preflight: what could go wrong half way is looked at before. Fails with $problem.
preflight() {
  local free place
  free=$(free_kib "$(nix_store_dir)")
  if [ -n "$free" ] && [ "$free" -lt "$BENTO_MIN_FREE_STORE" ]; then
    problem="too little space is left in the store: $free KiB, and $BENTO_MIN_FREE_STORE are needed"
    return 1
  fi
  for place in "${boot_places[@]}"; do
    mountpoint -q "$place" 2> /dev/null || continue
    free=$(free_kib "$place")
    if [ -n "$free" ] && [ "$free" -lt "$BENTO_MIN_FREE_BOOT" ]; then
      problem="too little space is left in $place: $free KiB, and $BENTO_MIN_FREE_BOOT are needed"
      return 1
    fi
  done
}
