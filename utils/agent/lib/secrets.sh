# shellcheck shell=bash
# Secrets: $system/etc/bento-secrets.json declares what a system needs, a release brings the ciphertexts, and the plain texts
# are in memory only: BENTO_SECRETS is a link to a directory in BENTO_SECRETS.d, which is changed before a system is activated
# and put back with it. A system that boots gets its own again, from BENTO_STATE/secrets/NAME-OF-THE-SYSTEM.

secret_declarations() { echo "$1/etc/bento-secrets.json"; }

# ciphertexts_of SYSTEM: the directory where its ciphertexts are kept; with .next those that are not confirmed yet.
ciphertexts_of() { echo "$BENTO_STATE/secrets/${1##*/}"; }

# released_secrets: where the ciphertexts of the release are; of a self-update it is the one that runs.
released_secrets() {
  if [ -n "$updating" ]; then echo "$BENTO_STATE/release/secrets"; else echo "$BENTO_STATE/release.next/secrets"; fi
}

# prepare_secrets SYSTEM SOURCE: decrypts what SYSTEM declares from the directory SOURCE, or from what is kept of SYSTEM where
# that is empty. Sets $secrets, the directory of the plain texts, empty where there are none. Fails with $problem.
prepare_secrets() {
  local system=$1 source=${2:-$(ciphertexts_of "$1")} kept
  kept=$(ciphertexts_of "$1").next
  secrets=
  [ -e "$(secret_declarations "$system")" ] || return 0
  rm -rf "$kept"
  if ! decrypt_secrets "$system" "$source" || ! keep_ciphertexts "$source" "$kept"; then
    rm -rf "$kept"
    [ -z "$secrets" ] || rm -rf "$secrets"
    secrets=
    return 1
  fi
}

# keep_ciphertexts SOURCE KEPT: copies those of $secrets, which are on disk then. Fails with $problem.
keep_ciphertexts() {
  local file
  problem="its secrets could not be kept in $BENTO_STATE"
  mkdir -p "$2" || return 1
  for file in "$secrets"/*; do
    if ! cp "$1/${file##*/}.age" "$2/" || ! sync "$2/${file##*/}.age"; then
      problem=$(no_space_or "$BENTO_STATE" "$problem")
      return 1
    fi
  done
  sync "$2"
}

# list_secrets SYSTEM: what it declares, a secret a line: name, owner, group, mode, with tabs between.
list_secrets() {
  jq -er 'to_entries[] | [.key, .value.owner, .value.group, .value.mode] | join("\t")' "$(secret_declarations "$1")"
}

# decrypt_secrets SYSTEM SOURCE [WHATEVER]: the half of it that makes $secrets. With WHATEVER one that fails is said, and the
# others are decrypted all the same.
decrypt_secrets() {
  local system=$1 source=$2 whatever=${3:-} age list name owner group mode
  problem=
  # The agent that runs may be older than the first secret.
  age=$(command -v age || command -v "$system/sw/bin/age") || { problem='age, which decrypts its secrets, is missing'; return 1; }
  list=$(list_secrets "$system") ||
    { problem='its declaration of secrets is not what services.bento.secrets makes'; return 1; }
  if ! mkdir -p "$BENTO_SECRETS.d" || ! chmod 0711 "$BENTO_SECRETS.d" ||
    ! secrets=$(mktemp -d "$BENTO_SECRETS.d/${manifest_sequence:-0}.XXXXXX"); then
    problem=$(no_space_or "$(dirname "$BENTO_SECRETS")" "nothing can be written to $BENTO_SECRETS.d" "in $(dirname "$BENTO_SECRETS")")
    return 1
  fi
  case $(stat --file-system --format=%T "$secrets") in
    tmpfs | ramfs) ;;
    *) problem="$BENTO_SECRETS.d is not in memory, so no secret is written there"; return 1 ;;
  esac
  while IFS=$'\t' read -r name owner group mode; do
    if decrypt_secret; then continue; fi
    rm -f "$secrets/$name"
    [ -n "$whatever" ] || return 1
    say "$problem"
  done <<< "$list"
  chmod 0711 "$secrets"
}

# decrypt_secret: the one that $name, $owner, $group and $mode describe. Fails with $problem.
decrypt_secret() {
  local ciphertext=$source/$name.age said=$BENTO_RUN/age.err
  if ! [[ $name =~ ^[a-z0-9][a-z0-9._-]*$ && $mode =~ ^0?[0-7]{3}$ ]]; then
    problem="its declaration of secrets has a name or mode that can't be one: '$name'"
    return 1
  fi
  if [ ! -f "$ciphertext" ] || [ -L "$ciphertext" ]; then
    if [ "$source" = "$(ciphertexts_of "$system")" ]; then
      problem="the secret $name of $system is not on this machine any more: $ciphertext is missing"
    else
      problem="the secret $name is declared, and the release has no secrets/$BENTO_HOST/$name.age: bento secret set $BENTO_HOST $name"
    fi
    return 1
  fi
  : 2> /dev/null > "$said" || said=/dev/null
  if ! "$age" --decrypt --identity "$BENTO_KEY" --output "$secrets/$name" "$ciphertext" 2> "$said" < /dev/null 9>&-; then
    problem="the secret $name can't be decrypted with this host's key: $(printable < "$said" | head -n 1)"
    problem=$(no_space_or "$secrets" "$problem" "where secrets are decrypted, $BENTO_SECRETS.d")
    return 1
  fi
  # Who owns it may be somebody whom the activation makes; until then it is root's alone.
  if ! chmod "$mode" "$secrets/$name" ||
    ! { chown "$owner:$group" "$secrets/$name" 2> /dev/null || chmod 0400 "$secrets/$name"; }; then
    problem="the secret $name could not be given its mode"
    return 1
  fi
}

# own_secrets SYSTEM: once more, when its users are there. Fails with $problem, when it has done what it can.
own_secrets() {
  local list name owner group mode status=0
  [ -n "$secrets" ] || return 0
  list=$(list_secrets "$1") || return 1
  while IFS=$'\t' read -r name owner group mode; do
    # Said already where it could not be decrypted.
    [ -e "$secrets/$name" ] || continue
    if ! chown "$owner:$group" "$secrets/$name" 2> /dev/null || ! chmod "$mode" "$secrets/$name"; then
      problem="the secret $name is for $owner:$group, which this machine doesn't have"
      status=1
    fi
  done <<< "$list"
  return "$status"
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

# note_secrets SYSTEM: for whoever puts SYSTEM back, notes in the guard's directory which secrets it has, and which units of it
# have to be restarted when they have got them back: a system that is the same but for its secrets has no unit that switching
# restarts. The link is made now, since there may be no room for it then.
note_secrets() {
  local before
  before=$(secrets_in_use)
  printf '%s\n%s\n' "$before" "$BENTO_SECRETS" > "$guard/secrets" || return 1
  [ -z "$before" ] || ln -s "$before" "$guard/back" || return 1
  users_of_secrets "$1" "$secrets" "$before" > "$guard/restart"
}

# restore_secrets: those that were in use when the guard was armed. Done twice, it comes to the same. As in ../guard.
restore_secrets() {
  local before='' link=''
  { read -r before; read -r link; } 2> /dev/null < "$guard/secrets" || return 0
  [ -n "$link" ] || return 0
  if [ -z "$before" ]; then
    rm -f "$link"
  else
    [ -L "$guard/back" ] || ln -s "$before" "$guard/back"
    mv -T "$guard/back" "$link"
  fi || say 'the secrets from before could not be put back'
}

# restart_for_restored: the units that note_secrets has noted.
restart_for_restored() {
  local unit
  [ -e "$guard/restart" ] || return 0
  while read -r unit; do restart_for_secret "$unit"; done < "$guard/restart"
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

# users_of_secrets SYSTEM BEFORE NOW: the units of SYSTEM that named a secret which is another one in the directory NOW than in
# the directory BEFORE, one a line, each once.
users_of_secrets() {
  local name unit
  if [ -z "$2" ] || [ -z "$3" ] || [ ! -e "$(secret_declarations "$1")" ]; then return 0; fi
  jq -r 'to_entries[] | .key as $name | .value.restartUnits[] | [$name, .] | join("\t")' "$(secret_declarations "$1")" |
    while IFS=$'\t' read -r name unit; do
      if [ ! -e "$2/$name" ] || cmp -s "$2/$name" "$3/$name"; then continue; fi
      echo "$unit"
    done | sort -u
}

# restart_users_of_secrets SYSTEM BEFORE NOW: restarts those that run.
restart_users_of_secrets() {
  local unit
  while read -r unit; do restart_for_secret "$unit"; done < <(users_of_secrets "$@")
}

# restart_for_secret UNIT: whether the machine still does its job is for the confirmation to say. A unit that doesn't come up
# must not keep that waiting.
restart_for_secret() {
  say "restarting $1 for its secret"
  logged timeout --kill-after=5 60 systemctl try-restart -- "$1" < /dev/null || say "$1 could not be restarted for its secret"
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

# has_unkept_secrets SYSTEM: whether there are ciphertexts that it was to get.
has_unkept_secrets() { [ -d "$(ciphertexts_of "$1").next" ]; }

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

# boot_secrets: those of the system that has booted, unless they are there. One that fails takes no other with it: it may be
# the others that this machine needs to be reached.
boot_secrets() {
  local system missing=0 name _
  [ ! -e "$BENTO_SECRETS" ] || return 0
  system=$(running_system)
  [ -e "$(secret_declarations "$system")" ] || return 0
  complete_kept "$system"
  if ! decrypt_secrets "$system" "$(ciphertexts_of "$system")" whatever || ! use_secrets "$secrets"; then
    say "${problem:-$BENTO_SECRETS could not be made}"
    return 1
  fi
  own_secrets "$system" || { say "$problem"; missing=1; }
  while read -r name _; do [ -e "$secrets/$name" ] || missing=1; done < <(list_secrets "$system")
  return "$missing"
}
