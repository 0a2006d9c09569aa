# shellcheck shell=bash
# From an envelope, which anybody may have made, to a manifest that this host's fleet signed for it.

max_envelope=16384

# is_vouched: whether releases are made on this machine, of a branch whose commits the agent's own git fetcher has verified.
# That is this machine's setting: no envelope, and no other fetcher, can say it of itself.
is_vouched() { [ "$fetcher" = "$agent/fetchers/git" ] && [ -n "${BENTO_GIT_BRANCH:-}" ]; }

# has_files: whether there is a release directory to get. A host that is delivered its system alone has no tree in it, and
# without secrets there is nothing to get at all.
has_files() { [ -n "$manifest_archive" ] || is_vouched; }

# open_envelope FILE: verifies it and sets manifest_*; $manifest is the manifest's file. Fails with $problem.
open_envelope() {
  local payload=$BENTO_RUN/payload signature=$BENTO_RUN/signature signers=$BENTO_RUN/allowed_signers text seen
  manifest=$BENTO_RUN/manifest.json
  [ "$(stat -c %s "$1")" -le "$max_envelope" ] || { problem="it is larger than $max_envelope bytes"; return 1; }
  if ! text=$(jq -er '(.payload | strings), (.signature | strings)' "$1" 2> /dev/null) ||
    ! base64 -d <<< "${text%%$'\n'*}" 2> /dev/null > "$payload"; then
    problem="what the server gave is no envelope"
    return 1
  fi
  printf '%s\n' "${text#*$'\n'}" > "$signature"
  printf '%s\n' "$allowed_signers" > "$signers"
  is_vouched || ssh-keygen -Y verify -q -f "$signers" -I bento -n bento-release -s "$signature" < "$payload" > /dev/null 2>&1 ||
    { problem="it is not signed by one of this fleet's signers"; return 1; }
  # Only now is what it says looked at; and it is still checked, since signed and well-formed are two things.
  read_manifest "$payload" || { problem="its manifest is not one that this agent understands"; return 1; }
  mv "$payload" "$manifest"
  [ "$manifest_host" = "$BENTO_HOST" ] || { problem="it is the release of another host, $manifest_host"; return 1; }
  seen=$(newest_seen)
  [ "$manifest_sequence" -ge "$seen" ] ||
    { problem="it is older ($manifest_sequence) than a release seen before ($seen)"; return 1; }
}

# read_manifest FILE: sets manifest_*, and fails unless it is schema version 1, as src/release/manifest.ts has it.
# None of what it sets has a line end in it: `\z` is the very end, where `$` would pass over one.
read_manifest() {
  local lines
  lines=$(jq -ers '
    def hex(n): type == "string" and test("^[0-9a-f]{\(n)}\\z");
    def archive_name: type == "string" and test("^[0-9a-f]{64}\\.nar\\.gz\\z");
    def store_path: type == "string" and test("^(/[^/\\s]+)+/[0-9a-df-np-sv-z]{32}-[0-9a-zA-Z+._?=-]+\\z");
    def whole: type == "number" and . > 0 and . < 9007199254740992 and . == floor;
    def is_manifest:
      (.version == 1)
      and (.host | type == "string" and test("^[a-z0-9][a-z0-9-]{0,62}\\z"))
      and (.sequence | whole)
      and (.commit | hex(40))
      and (.subject | type == "string")
      and (.digest | type == "string" and test("^sha256-[A-Za-z0-9+/]{43}=\\z"))
      and (.kind == "flake" or .kind == "channel")
      and (.attr | type == "string" and test("^[^\u0000-\u001f]+\\z"))
      and (.kind == "flake" or (.attr | (startswith("/") or test("(^|/)\\.\\.(/|\\z)")) | not))
      and (.toplevel == null or (.toplevel | store_path))
      and (.archive == null or (.archive | (.name | archive_name) and (.sha256 | hex(64)) and (.size | whole)));
    if length == 1 and (.[0] | is_manifest) then .[0] else error("no manifest") end
    | .host, .sequence, .digest, .commit, .kind, .attr, .archive.name // "", .toplevel // "",
      (.subject | gsub("[\u0000-\u001f\u007f-\u009f]"; "?") | .[:100])
  ' "$1" 2> /dev/null) || return 1
  {
    read -r manifest_host
    read -r manifest_sequence
    read -r manifest_digest
    read -r manifest_commit
    read -r manifest_kind
    IFS= read -r manifest_attr
    read -r manifest_archive
    read -r manifest_toplevel
    IFS= read -r manifest_subject
  } <<< "$lines"
}
