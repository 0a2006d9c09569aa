# shellcheck shell=bash
# From an envelope, which anybody may have made, to a manifest that this host's fleet signed for it.

max_envelope=16384

# open_envelope FILE: verifies it and sets manifest_*; $manifest is the manifest's file. Fails with $problem.
open_envelope() {
  manifest=$BENTO_RUN/manifest.json
  problem=
  local size payload=$BENTO_RUN/payload signature=$BENTO_RUN/signature
  size=$(stat -c %s "$1")
  [ "$size" -le "$max_envelope" ] || { problem="the envelope is larger than $max_envelope bytes"; return 1; }
  jq -ej '.payload | strings' "$1" 2> /dev/null | base64 -d > "$payload" 2> /dev/null &&
    jq -ej '.signature | strings' "$1" > "$signature" 2> /dev/null ||
    { problem="what the server gave is no envelope"; return 1; }
  jq -r '.signers[] | "bento namespaces=\"bento-release\" \(.)"' "$BENTO_CONFIG" > "$BENTO_RUN/allowed_signers"
  ssh-keygen -Y verify -q -f "$BENTO_RUN/allowed_signers" -I bento -n bento-release -s "$signature" \
    < "$payload" > /dev/null 2>&1 || { problem="it is not signed by one of this fleet's signers"; return 1; }
  # Only now is what it says looked at; and it is still checked, since signed and well-formed are two things.
  jq -e '
    def store_path: type == "string" and test("^(/[^/\\s]+)+/[0-9a-df-np-sv-z]{32}-[0-9a-zA-Z+._?=-]+$");
    (.version == 1) and (.host | type == "string")
    and (.sequence | type == "number" and . > 0 and . < 9007199254740992 and . == floor)
    and (.commit | type == "string" and test("^[0-9a-f]{40}$"))
    and (.digest | type == "string" and test("^sha256-[A-Za-z0-9+/]{43}=$"))
    and (.kind == "flake" or .kind == "channel")
    and (.attr | type == "string" and test("^[^\u0000-\u001f]+$") and (test("(^|/)\\.\\.(/|$)") | not) and (startswith("/") | not))
    and (.toplevel == null or (.toplevel | store_path))
    and (.archive == null or (.archive | (.name | test("^[0-9a-f]{64}\\.nar\\.gz$")) and (.sha256 | test("^[0-9a-f]{64}$"))
      and (.size | type == "number" and . > 0)))
  ' "$payload" > /dev/null 2>&1 || { problem="its manifest is not one that this agent understands"; return 1; }
  mv "$payload" "$manifest"
  manifest_host=$(jq -r .host "$manifest")
  manifest_sequence=$(jq -r '.sequence | tostring' "$manifest")
  manifest_digest=$(jq -r .digest "$manifest")
  manifest_commit=$(jq -r .commit "$manifest")
  manifest_kind=$(jq -r .kind "$manifest")
  manifest_attr=$(jq -r .attr "$manifest")
  manifest_toplevel=$(jq -r '.toplevel // empty' "$manifest")
  [ "$manifest_host" = "$BENTO_HOST" ] || { problem="it is the release of another host, $manifest_host"; return 1; }
  local seen
  seen=$(sequence_of seen.json)
  [ "$manifest_sequence" -ge "$seen" ] ||
    { problem="it is older ($manifest_sequence) than a release seen before ($seen)"; return 1; }
  if [ "$manifest_sequence" -gt "$seen" ]; then
    jq -n --argjson sequence "$manifest_sequence" '{ sequence: $sequence }' | write_state seen.json ||
      { problem="the state can't be written"; return 1; }
  fi
}
