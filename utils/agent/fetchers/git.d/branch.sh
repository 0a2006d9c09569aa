# shellcheck shell=bash
# A plain branch, which nobody publishes releases from: its commit is verified, and the release made of it here.

# The fleet's directory in the repository; empty is its top.
prefix=${BENTO_GIT_DIRECTORY:-}
prefix=${prefix#./}
prefix=${prefix%/}
[ "$prefix" != . ] || prefix=

# branch_settings: stands for all that decides what a commit means to this machine.
branch_settings() {
  { printf '%s\n' "$BENTO_HOST" "$ref" "$prefix" "${BENTO_GIT_ALLOW_UNSIGNED:-}" && commit_signers; } |
    sha256sum | cut -d' ' -f1
}

# poll_branch COMMIT: prints the envelope of what the branch, which is at COMMIT, has for this host.
poll_branch() {
  local settings
  settings=$(branch_settings)
  if [ "$(taken_value .commit)" != "$1" ] || [ "$(taken_value .settings)" != "$settings" ] ||
    ! git cat-file -e "$1^{tree}" 2> /dev/null; then
    get_branch || { make_repository && get_branch; } || fail 1 "$ref of $shown could not be fetched: $(last_line)"
    tip=$(git rev-parse --verify 'refs/incoming^{commit}')
    [ "${BENTO_GIT_ALLOW_UNSIGNED:-}" = 1 ] || require_signature "$tip"
    require_descent "$tip"
    take "$tip" "$settings"
  fi
  jq -c '{ payload: (.manifest | tojson | @base64), signature: "" }' "$taken"
}

# get_branch: the branch becomes refs/incoming, with its history back to the commit that was taken last, if there is one.
get_branch() {
  if [ -z "$(taken_value .commit)" ]; then get refs/incoming --depth=1; else get refs/incoming; fi
}

# take COMMIT SETTINGS: makes a manifest of it, and remembers that. What doesn't change this host's release is no release.
take() {
  local dir=$BENTO_STATE/branch.new digest
  rm -rf "$dir"
  remove+=("$dir" "$taken.new")
  tree_of "$1" "$prefix" "$scratch/tree.json"
  stage_commit "$1" "$prefix" "$scratch/tree.json" "$dir"
  digest=$(nix-store --dump "$dir" | sha256sum | cut -d' ' -f1 | sed 's/../\\x&/g')
  # shellcheck disable=SC2059 # It is nothing but \xHH.
  digest=sha256-$(printf "$digest" | base64)
  rm -rf "$dir"
  jq -n --slurpfile taken <(cat "$taken" 2> /dev/null || true) --slurpfile tree "$scratch/tree.json" \
    --arg host "$BENTO_HOST" --arg commit "$1" --arg settings "$2" --arg digest "$digest" \
    --arg subject "$(git log -1 --format=%s "$1")" --arg issued "$(git log -1 --format=%ct "$1")" \
    --argjson sequence "$(next_sequence "$1")" '
    { version: 1, $host, $sequence, issued: ($issued | tonumber | todate), $commit, subject: $subject[:200], $digest,
      archive: null, kind: $tree[0].kind, attr: $tree[0].attr, toplevel: null, history: [] } as $new
    | def same: { host, digest, kind, attr };
    { $settings, $commit, manifest: ($taken[0].manifest | if . != null and same == ($new | same) then . else $new end) }
  ' > "$taken.new"
  sync "$taken.new"
  # What is taken must be there for fetch; and the history before it is not needed any more.
  git update-ref refs/release "$1"
  mv -T "$taken.new" "$taken"
  echo "$1" > "$repository/shallow.new"
  sync "$repository/shallow.new"
  mv -T "$repository/shallow.new" "$repository/shallow"
  { git update-ref -d refs/incoming && git repack -a -d -q && git prune --expire=now; } > /dev/null 2>&1 || true
}

# fetch_branch DIR: makes DIR the release directory of what was taken.
fetch_branch() {
  tree_of refs/release "$prefix" "$scratch/tree.json"
  stage_commit refs/release "$prefix" "$scratch/tree.json" "$1"
}
