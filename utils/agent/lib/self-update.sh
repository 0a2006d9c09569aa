# shellcheck shell=bash
# Newer inputs for a flake of which nothing new is published: what this machine does by itself between two releases, where
# it is told to. The lock file that results is kept until the next release, which has its own.
#
#   self-update.json   { sequence, checked, failed }: of which release, when it was last tried (seconds since 1970), and
#                      the hash of the lock file that failed then
#   self-update.lock   the lock file of what runs
#   self-update.new/   where the release with newer inputs is put together; there until its attempt has come to its end

# self_update: called when this machine is up to date with the release that manifest_* describe.
self_update() {
  [ -n "$BENTO_SELF_UPDATE" ] && [ "$manifest_kind" = flake ] && [ -d "$BENTO_STATE/release/tree" ] || return 0
  self_update_is_due || return 0
  # What somebody has activated by hand stays.
  [ "$from" = "$(read_state applied.json .toplevel)" ] || return 0
  local work=$BENTO_STATE/self-update.new before lock
  remember_self_update ''
  remove_tree "$work"
  if ! lock_newer "$work"; then
    say "newer inputs could not be had: $(nix_error)"
    remove_tree "$work"
    return
  fi
  before=$(sha256sum < "$work/lock.before")
  lock=$(sha256sum < "$work/tree/flake.lock")
  if [ "$lock" = "$before" ] || [ "$lock" = "$failed_lock" ]; then
    remove_tree "$work"
    return
  fi

  say 'newer inputs: building'
  updating=$work
  # Nobody has built it before.
  manifest_toplevel=
  preflight || finish failed "$problem"
  build_release "$work" || finish failed "$problem"
  to=$built
  if [ "$to" = "$from" ]; then
    keep_lock
    return
  fi
  if is_bad "$to"; then
    remove_tree "$work"
    return
  fi
  activate_release
}

# self_update_is_due: an interval after the release was taken, or after the last try. Sets $failed_lock.
self_update_is_due() {
  local now checked
  now=$(date +%s)
  checked=$(read_state self-update.json .checked)
  failed_lock=$(read_state self-update.json .failed)
  if [ "$(sequence_of self-update.json)" != "$manifest_sequence" ]; then
    failed_lock=
    rm -f "$BENTO_STATE/self-update.lock"
    remember_self_update ''
    return 1
  fi
  # A clock that was put back would make it wait for ever.
  [[ $checked =~ ^[0-9]{1,12}$ ]] && [ "$checked" -le "$now" ] || return 0
  [ $((now - checked)) -ge "$BENTO_SELF_UPDATE_INTERVAL" ]
}

# remember_self_update FAILED
remember_self_update() {
  jq -n --argjson sequence "$manifest_sequence" --argjson checked "$(date +%s)" --arg failed "$1" \
    '{ sequence: $sequence, checked: $checked, failed: $failed }' | write_state self-update.json || true
}

# lock_newer DIR: makes DIR/tree, the release's tree with a lock file of what its inputs are now; DIR/lock.before is the
# one that was there.
lock_newer() {
  local release=$BENTO_STATE/release kept=$BENTO_STATE/self-update.lock input inputs=() options=()
  is_release "$release" && [ -f "$release/tree/flake.lock" ] || return 1
  mkdir "$1" && cp -R "$release/tree" "$1/tree" && chmod -R u+w "$1/tree" || return 1
  # One that a power cut has damaged would be in the way until the next release.
  if jq -e .nodes "$kept" > /dev/null 2>&1; then cp "$kept" "$1/tree/flake.lock"; fi
  cp "$1/tree/flake.lock" "$1/lock.before"
  if [ "$BENTO_SELF_UPDATE" = all ]; then
    mapfile -t inputs < <(jq -r '.root as $root | .nodes[$root].inputs // {} | keys[]' "$1/lock.before")
  else
    read -ra inputs <<< "$BENTO_SELF_UPDATE"
  fi
  for input in "${inputs[@]}"; do options+=(--update-input "$input"); done
  mark_log
  logged watched "$BENTO_BUILD_SILENCE" nix_progress -- nix "${nix_flags[@]}" flake lock "${options[@]}" "path:$1/tree"
}

# keep_lock: the lock file of what runs now.
keep_lock() {
  local lock=$updating/tree/flake.lock
  # An update that was cut off may have come as far as this before.
  if [ -s "$lock" ] && sync "$lock"; then mv -T "$lock" "$BENTO_STATE/self-update.lock" || true; fi
  remove_tree "$updating"
}

# finish_self_update OUTCOME: what is remembered of it, whatever became of it.
finish_self_update() {
  case $1 in
    success) keep_lock ;;
    inconclusive) remove_tree "$updating" ;;
    *)
      # Unless one that was cut off has come as far as this before.
      [ ! -e "$updating" ] || remember_self_update "$(sha256sum 2> /dev/null < "$updating/tree/flake.lock" || true)"
      remove_tree "$updating"
      ;;
  esac
}
