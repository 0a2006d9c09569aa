# shellcheck shell=bash
# Getting the release that a manifest describes, into $BENTO_STATE/release.

# fetch_release: fails with $problem; with status 75 when the server could not be reached.
fetch_release() {
  local fresh=$BENTO_STATE/release.new status=0
  remove_tree "$fresh"
  logged "$fetcher" fetch "$manifest" "$fresh" || status=$?
  if [ "$status" -ne 0 ]; then
    problem=$(no_space_or "$BENTO_STATE" "it could not be fetched: $(last_words)")
    remove_tree "$fresh"
    [ "$status" -eq 75 ] && return 75
    return 1
  fi
  local expected actual
  expected=$(base64 -d <<< "${manifest_digest#sha256-}" | od -An -v -tx1 | tr -d ' \n')
  # A NAR hash is the sha256 of what this prints.
  actual=$(nix-store --dump "$fresh" | sha256sum | cut -d' ' -f1)
  if [ "$actual" != "$expected" ] || [ ! -d "$fresh/tree" ]; then
    problem="what was fetched is not what the manifest says (digest sha256:$actual)"
    remove_tree "$fresh"
    return 1
  fi
  remove_tree "$BENTO_STATE/release"
  mv -T "$fresh" "$BENTO_STATE/release"
}

# What comes out of an archive has no write permission anywhere.
remove_tree() {
  [ -e "$1" ] || return 0
  chmod -R u+w "$1"
  rm -rf "$1"
}
