# shellcheck shell=bash
# Getting the release that a manifest describes, into BENTO_STATE/release.next, and keeping it as BENTO_STATE/release when it is
# what runs.

# fetch_release: fails with $problem; with status 75 when the server could not be reached.
fetch_release() {
  local fresh=$BENTO_STATE/release.new status=0 said=$BENTO_RUN/fetcher.err patience=("$BENTO_FETCH_SILENCE" fetched)
  is_own_fetcher || patience=("$BENTO_FETCH_TIMEOUT" unknown_progress)
  remove_tree "$fresh"
  if has_files; then
    apart watched "${patience[@]}" -- "$fetcher" fetch "$manifest" "$fresh" > "$said" 2>&1 || status=$?
  else
    mkdir "$fresh" 2> "$said" || status=$?
  fi
  [ -z "$attempt_log" ] || cat "$said" 2> /dev/null >> "$attempt_log" || true
  if [ "$status" -ne 0 ]; then
    problem=$(last_words "$said")
    [ "$status" -ne 124 ] || problem=$(stalled "${patience[0]}")
    problem=$(no_space_or "$BENTO_STATE" "it could not be fetched: $problem")
    remove_tree "$fresh"
    [ "$status" -eq 75 ] && return 75
    return 1
  fi
  if ! is_release "$fresh"; then
    problem="what was fetched is not what the manifest says"
    remove_tree "$fresh"
    return 1
  fi
  remove_tree "$BENTO_STATE/release.next"
  mv -T "$fresh" "$BENTO_STATE/release.next" || { problem="$BENTO_STATE/release.next could not be replaced"; return 1; }
}

# stalled SECONDS: why watched has ended a fetch.
stalled() {
  if is_own_fetcher; then echo "nothing more has come for $1 s"; else echo "it was not done within $1 s"; fi
}

# is_own_fetcher: whether it is one of those beside the agent, of which is known what a fetch leaves on the disk meanwhile.
is_own_fetcher() { [[ $fetcher == "$agent/fetchers/"* ]]; }

# keep_release: what manifest_* describe runs. Where its files aren't there, those of the release before go all the same.
keep_release() {
  if [ -d "$BENTO_STATE/release.next" ] && is_release "$BENTO_STATE/release.next"; then
    remove_tree "$BENTO_STATE/release"
    mv -T "$BENTO_STATE/release.next" "$BENTO_STATE/release"
  else
    is_release "$BENTO_STATE/release" || remove_tree "$BENTO_STATE/release"
  fi
}

# is_release DIR: whether it is what the manifest's digest stands for: a NAR hash, the sha256 of what nix-store --dump
# prints.
is_release() {
  local expected actual
  [ -d "$1" ] || return 1
  expected=$(base64 -d <<< "${manifest_digest#sha256-}" | od -An -v -tx1 | tr -d ' \n')
  actual=$(nix-store --dump "$1" | sha256sum | cut -d' ' -f1)
  [ "$actual" = "$expected" ]
}

# What comes out of an archive has no write permission anywhere.
remove_tree() {
  [ -e "$1" ] || [ -L "$1" ] || return 0
  chmod -R u+w "$1" || true
  rm -rf "$1"
}
