# shellcheck shell=bash
# Getting the release that a manifest describes, into $BENTO_STATE/release.

# fetch_release: fails with $problem; with status 75 when the server could not be reached.
fetch_release() {
  local fresh=$BENTO_STATE/release.new status=0 said=$BENTO_RUN/fetcher.err
  remove_tree "$fresh"
  if has_files; then
    apart "$fetcher" fetch "$manifest" "$fresh" > "$said" 2>&1 || status=$?
  else
    mkdir "$fresh" 2> "$said" || status=$?
  fi
  [ -z "$attempt_log" ] || cat "$said" 2> /dev/null >> "$attempt_log" || true
  if [ "$status" -ne 0 ]; then
    problem=$(no_space_or "$BENTO_STATE" "it could not be fetched: $(last_words "$said")")
    remove_tree "$fresh"
    [ "$status" -eq 75 ] && return 75
    return 1
  fi
  if ! is_release "$fresh"; then
    problem="what was fetched is not what the manifest says"
    remove_tree "$fresh"
    return 1
  fi
  remove_tree "$BENTO_STATE/release"
  mv -T "$fresh" "$BENTO_STATE/release" || { problem="$BENTO_STATE/release could not be replaced"; return 1; }
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
