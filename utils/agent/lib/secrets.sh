# shellcheck shell=bash
# Secrets: $system/etc/bento-secrets.json declares what a system needs, a release brings the ciphertexts, and the plain texts
# are in memory only: BENTO_SECRETS is a link to a directory in BENTO_SECRETS.d, which is changed before a system is activated
# and put back with it. A system that boots gets its own again, from BENTO_STATE/secrets/NAME-OF-THE-SYSTEM.

secret_declarations() { echo "$1/etc/bento-secrets.json"; }

# ciphertexts_of SYSTEM: the directory where its ciphertexts are kept; with .next those that are not confirmed yet.
ciphertexts_of() { echo "$BENTO_STATE/secrets/${1##*/}"; }

# released_secrets: where the ciphertexts of the release are.
released_secrets() { echo "$BENTO_STATE/release/secrets"; }

# prepare_secrets SYSTEM SOURCE: decrypts what SYSTEM declares from the directory SOURCE, or from what is kept of SYSTEM where
# that is empty. Sets $secrets, the directory of the plain texts, empty where there are none. Fails with $problem.
prepare_secrets() {
  local system=$1 source=${2:-$(ciphertexts_of "$1")} kept
  kept=$(ciphertexts_of "$1").next
  secrets=
  [ -e "$(secret_declarations "$system")" ] || return 0
  rm -rf "$kept"
  if ! mkdir -p "$kept" || ! decrypt_secrets "$system" "$source" "$kept" || ! sync "$kept"/* "$kept"; then
    problem=${problem:-$(no_space_or "$BENTO_STATE" "its secrets could not be written")}
    rm -rf "$kept"
    [ -z "$secrets" ] || rm -rf "$secrets"
    secrets=
    return 1
  fi
}

# decrypt_secrets SYSTEM SOURCE KEPT: the half of it that makes $secrets, and copies the ciphertexts to KEPT.
decrypt_secrets() {
  local system=$1 source=$2 kept=$3 age list name owner group mode ciphertext said=$BENTO_RUN/age.err
  problem=
  # The agent that runs may be older than the first secret.
  age=$(command -v age || command -v "$system/sw/bin/age") || { problem='age, which decrypts its secrets, is missing'; return 1; }
  list=$(jq -er 'to_entries[] | [.key, .value.owner, .value.group, .value.mode] | join("\t")' "$(secret_declarations "$system")") ||
    { problem='its declaration of secrets is not what services.bento.secrets makes'; return 1; }
  mkdir -p "$BENTO_SECRETS.d" && chmod 0711 "$BENTO_SECRETS.d" &&
    secrets=$(mktemp -d "$BENTO_SECRETS.d/${manifest_sequence:-0}.XXXXXX") || return 1
  case $(stat --file-system --format=%T "$secrets") in
    tmpfs | ramfs) ;;
    *) problem="$BENTO_SECRETS.d is not in memory, so no secret is written there"; return 1 ;;
  esac
  while IFS=$'\t' read -r name owner group mode; do
    if ! [[ $name =~ ^[a-z0-9][a-z0-9._-]*$ && $mode =~ ^0?[0-7]{3}$ ]]; then
      problem="its declaration of secrets has a name or mode that can't be one: '$name'"
      return 1
    fi
    ciphertext=$source/$name.age
    if [ ! -f "$ciphertext" ] || [ -L "$ciphertext" ]; then
      problem="the secret $name is declared, and the release has no secrets/$BENTO_HOST/$name.age: bento secret set $BENTO_HOST $name"
      return 1
    fi
    if ! "$age" --decrypt --identity "$BENTO_KEY" --output "$secrets/$name" "$ciphertext" 2> "$said" < /dev/null 9>&-; then
      problem="the secret $name can't be decrypted with this host's key: $(printable < "$said" | head -n 1)"
      return 1
    fi
    cp "$ciphertext" "$kept/$name.age" || return 1
    # Who owns it may be somebody whom the activation makes; until then it is root's alone.
    chmod "$mode" "$secrets/$name" || return 1
    chown "$owner:$group" "$secrets/$name" 2> /dev/null || chmod 0400 "$secrets/$name" || return 1
  done <<< "$list"
  chmod 0711 "$secrets"
}

# own_secrets SYSTEM: once more, when its users are there.
own_secrets() {
  local list name owner group mode
  [ -n "$secrets" ] || return 0
  list=$(jq -r 'to_entries[] | [.key, .value.owner, .value.group, .value.mode] | join("\t")' "$(secret_declarations "$1")") || return 1
  while IFS=$'\t' read -r name owner group mode; do
    if ! chown "$owner:$group" "$secrets/$name" 2> /dev/null || ! chmod "$mode" "$secrets/$name"; then
      problem="the secret $name is for $owner:$group, which this machine doesn't have"
      return 1
    fi
  done <<< "$list"
}

# secrets_in_use: the directory that BENTO_SECRETS leads to, or nothing.
secrets_in_use() { readlink "$BENTO_SECRETS" || true; }

# use_secrets DIRECTORY: changes what BENTO_SECRETS leads to at once; nothing when that is empty.
use_secrets() {
  if [ -z "$1" ]; then
    rm -f "$BENTO_SECRETS"
  else
    ln -sfn "$1" "$BENTO_SECRETS.new" && mv -T "$BENTO_SECRETS.new" "$BENTO_SECRETS"
  fi
}

# restore_secrets: those that were in use when the guard was armed.
restore_secrets() {
  local before
  [ -e "$guard/secrets" ] || return 0
  read -r before < "$guard/secrets" || before=
  use_secrets "$before" || say 'the secrets from before could not be put back'
}

# have_secrets_changed SYSTEM SOURCE: whether a release that is the same system has other ciphertexts.
have_secrets_changed() {
  local name
  [ -e "$(secret_declarations "$1")" ] || return 1
  while read -r name; do
    cmp -s "$2/$name.age" "$(ciphertexts_of "$1")/$name.age" || return 0
  done < <(jq -r 'keys[]' "$(secret_declarations "$1")")
  return 1
}

# restart_users_of_secrets SYSTEM BEFORE NOW: the units that named a secret which is another one in the directory NOW than in
# the directory BEFORE.
restart_users_of_secrets() {
  local name unit
  if [ -z "$2" ] || [ -z "$3" ] || [ ! -e "$(secret_declarations "$1")" ]; then return 0; fi
  while IFS=$'\t' read -r name unit; do
    if [ ! -e "$2/$name" ] || cmp -s "$2/$name" "$3/$name"; then continue; fi
    logged systemctl try-restart -- "$unit" || say "$unit could not be restarted for its secret $name"
  done < <(jq -r 'to_entries[] | .key as $name | .value.restartUnits[] | [$name, .] | join("\t")' "$(secret_declarations "$1")")
}

# keep_secrets SYSTEM: it is confirmed, and so are its ciphertexts. Those of systems that are gone go.
keep_secrets() {
  local kept dir
  kept=$(ciphertexts_of "$1")
  if [ -d "$kept.next" ]; then
    rm -rf "$kept" && mv -T "$kept.next" "$kept" && sync "$BENTO_STATE/secrets" || return 1
  fi
  for dir in "$BENTO_STATE"/secrets/*/; do
    dir=${dir%/}
    [ -e "$(nix_store_dir)/${dir##*/}" ] || rm -rf "$dir"
  done
}

# complete_kept SYSTEM: power may have been lost between the two halves of keep_secrets.
complete_kept() {
  local kept
  kept=$(ciphertexts_of "$1")
  if [ ! -d "$kept" ] && [ -d "$kept.next" ]; then mv -T "$kept.next" "$kept"; fi
}

# drop_unused_secrets: plain texts that nothing leads to.
drop_unused_secrets() {
  local dir
  for dir in "$BENTO_SECRETS.d"/*/; do
    [ "${dir%/}" = "$(secrets_in_use)" ] || rm -rf "${dir%/}"
  done
}

# boot_secrets: those of the system that has booted, unless they are there.
boot_secrets() {
  local system
  [ ! -e "$BENTO_SECRETS" ] || return 0
  system=$(running_system)
  [ -e "$(secret_declarations "$system")" ] || return 0
  complete_kept "$system"
  if ! prepare_secrets "$system" '' || ! use_secrets "$secrets" || ! own_secrets "$system"; then
    say "${problem:-$BENTO_SECRETS could not be made}"
    return 1
  fi
  rm -rf "$(ciphertexts_of "$system").next"
}
