# shellcheck shell=bash
# A host's release directory, made of a commit that says what the host's tree is made of: byte for byte what the runner
# would have shipped (src/tree/stage.ts). Nothing of the repository is run, and no filter or attribute of it counts.

# tree_of COMMIT PREFIX FILE: the host's entry in the fleet.json of the fleet in PREFIX goes to FILE.
tree_of() {
  local file=${2:+$2/}fleet.json
  git cat-file blob "$1:$file" > "$scratch/fleet.json" 2> /dev/null ||
    fail 65 "there is no $file in the commit: run 'bento render', and commit what it writes"
  jq -e --arg host "$BENTO_HOST" '
    if .version == 1 and (.trees | type == "object") then .trees[$host] // false else error("no trees") end
  ' "$scratch/fleet.json" > "$3" 2> /dev/null ||
    fail 65 "$file has no tree for $BENTO_HOST: enter it in fleet.yaml, which must have 'git', and run 'bento render'"
  jq -e '
    (.path | type == "string") and (.include == null or (.include | type == "array" and all(type == "string")))
    and (.kind == "flake" or .kind == "channel") and (.attr | type == "string")
    and (.nixpkgs == null or (.nixpkgs | (.url | type == "string") and (.hash | type == "string")))
  ' "$3" > /dev/null 2>&1 || fail 65 "$file is not what 'bento render' writes"
}

# link_texts: of blobs, as `git cat-file --batch` gives them: a line for each, as layout.jq takes it.
link_texts() {
  local blob type size text end
  while read -r blob type size; do
    # Longer than any file system takes, or with a zero byte in it, which reading skips.
    if ! { [ "$type" = blob ] && [ "$size" -lt 4096 ] && IFS= read -r -N "$size" text && IFS= read -r -N 1 end &&
      [ "$end" = $'\n' ]; }; then
      fail 65 "the symlink whose blob is $blob has a text that no file system takes"
    fi
    text=${text//'%'/%25}
    printf '%s %s\n' "$blob" "${text//$'\n'/%0A}"
  done
}

# not_made: ends for what is none of the commit's faults. Should the repository be damaged, the next poll gets it anew.
not_made() {
  rm -f "$repository/info/attributes"
  fail 1 "the release could not be made: $(tail -n 1 "$scratch/err")"
}

# stage_commit COMMIT PREFIX TREE DIR: makes DIR the release directory; TREE is what tree_of gave.
stage_commit() {
  local status=0 index=$scratch/stage.index directory=$4 kind
  # A file's name may have anything in it but a zero byte.
  git ls-tree -r -l -z --full-tree "$1" 2> "$scratch/err" | sed -z 's/%/%25/g; s/\n/%0A/g' | tr '\0' '\n' > "$scratch/listing" ||
    not_made
  awk '$1 == "120000" { print $3 }' "$scratch/listing" | sort -u | git cat-file --batch > "$scratch/blobs" 2> "$scratch/err" ||
    not_made
  link_texts < "$scratch/blobs" > "$scratch/links"
  jq -rnR --arg host "$BENTO_HOST" --arg prefix "$2" --argjson tree "$(cat "$3")" --rawfile links "$scratch/links" \
    -f "${BASH_SOURCE%/*}/layout.jq" < "$scratch/listing" > "$scratch/layout" 2> "$scratch/err" || status=$?
  [ "$status" -eq 0 ] || fail $((status == 65 ? 65 : 1)) "$(tail -n 1 "$scratch/err")"
  mkdir -p "$directory/tree"
  rm -f "$index"
  if ! {
    tr '\n' '\0' < "$scratch/layout" | sed -z 's/%0A/\n/g; s/%25/%/g' |
      GIT_INDEX_FILE=$index git update-index -z --index-info &&
      (cd "$directory" && GIT_INDEX_FILE=$index GIT_WORK_TREE=$directory git -c core.bare=false checkout-index --all --quiet)
  } > /dev/null 2> "$scratch/err"; then
    not_made
  fi
  jq -ce '.nixpkgs // empty' "$3" > "$scratch/pin" && mv "$scratch/pin" "$directory/nixpkgs.json"
  kind=channel
  if [ -e "$directory/tree/flake.nix" ]; then kind=flake; fi
  [ "$(jq -r .kind "$3")" = "$kind" ] ||
    fail 65 "fleet.json says that $BENTO_HOST is another kind of host than its files: run 'bento render', and commit it"
}
