# shellcheck shell=bash
# The system that the manifest names, from a binary cache: nothing is evaluated here, and nothing built.

# realise_toplevel ROOT: into the store, with ROOT as its garbage collector root. Fails with $problem.
realise_toplevel() {
  local status=0 patience slow=
  # What is here already needs nobody.
  if ! nix-store --check-validity "$manifest_toplevel" 2> /dev/null; then
    use_caches
    while :; do
      is_offered || { problem=$slow$problem; return 1; }
      mark_log
      status=0
      mapfile -t patience < <(nix_patience)
      # No job and no builder: were there a derivation of it here, it still would not be built.
      logged watched "${patience[@]}" -- nix-store --realise "$manifest_toplevel" "${cache_options[@]}" \
        --option fallback false --max-jobs 0 --option builders '' --add-root "$1" --indirect || status=$?
      # Another cache may have it, too. What has come stays.
      is_too_slow "$status" || break
      leave_out_slow "$(too_slow)"
      slow='its download was too slow, and what has come of it stays; now '
    done
  else
    logged nix-store --realise "$manifest_toplevel" --add-root "$1" --indirect || status=$?
  fi
  case $status in
    0) [ -x "$1/bin/switch-to-configuration" ] || { problem="$manifest_toplevel is no NixOS system"; return 1; } ;;
    124)
      problem="its download was ended: for $BENTO_BUILD_SILENCE s nothing came of it; what has come stays"
      return 1
      ;;
    *) distrusted || problem=$(no_space_or "$(nix_store_dir)" "it could not be fetched from $(told "${caches[@]}"): $(nix_error)"); return 1 ;;
  esac
}

# is_offered: whether the caches have all of it, as far as they say, before any of it is downloaded. Fails with $problem.
is_offered() {
  local said=$BENTO_RUN/offered status=0 missing limit=$((40 * BENTO_CACHE_DEADLINE))
  problem="no cache has $manifest_toplevel"
  if [ "${#caches[@]}" -eq 0 ]; then
    problem+="${left_out:+: none answers ($left_out)}"
    [ -n "$left_out" ] || problem+=': this machine has none'
    return 1
  fi
  mark_log
  # Some hundreds of small answers, many at a time.
  apart timeout --kill-after=10 "$limit" nix-store --realise --dry-run "$manifest_toplevel" "${cache_options[@]}" \
    > "$said" 2>&1 || status=$?
  [ -z "$attempt_log" ] || cat "$said" 2> /dev/null >> "$attempt_log" || true
  if [ "$status" -eq 124 ] || [ "$status" -eq 137 ]; then
    problem="what the caches have could not be found out within $limit s"
    leave_out_fleet "it was too slow"
    return 1
  elif [ "$status" -ne 0 ]; then
    problem="what the caches have could not be found out: $(nix_error)"
    return 1
  fi
  missing=$(printable < "$said" | sed -n "/^don't know how to build/,\${ /^\//p; }")
  [ -n "$missing" ] || return 0
  if grep -qxF -- "$manifest_toplevel" <<< "$missing"; then
    problem+=" yet (asked: $(told "${caches[@]}")${left_out:+; not asked: $left_out})"
  else
    problem="the caches have only a part of $manifest_toplevel: ${missing%%$'\n'*} is missing"
    [ "$missing" = "${missing%%$'\n'*}" ] || problem+=", and $(($(wc -l <<< "$missing") - 1)) more"
  fi
  return 1
}

# distrusted: whether it failed for want of a signature that this machine trusts, which no waiting mends. Sets $problem.
distrusted() {
  local line stored cache keys
  line=$(logged_since "$log_mark" | printable |
    grep -m 1 -E "not signed by any of the keys in 'trusted-public-keys'|lacks a (valid )?signature") || return 1
  stored=$(grep -oE -m 1 "'/[^']*'" <<< "$line" | sed -n "1s/'//gp")
  cache=$(sed -n "s/.* from '\([^']*\)'.*/\1/p" <<< "$line")
  keys=$(signers_of "${cache:-${caches[0]}}" "$stored")
  cache=${cache:+$(told "$cache")}
  problem="${cache:-a cache} has ${stored:-it}, but "
  if [ -n "$keys" ]; then problem+="signed with another key ($keys)"; else problem+='unsigned'; fi
  problem+=" than this machine trusts: correct its key under substituters in fleet.yaml, or push it signed"
  [ -n "$keys" ] || problem=${problem/unsigned than this machine trusts/not signed}
}

# signers_of CACHE STORE_PATH: the names of the keys that the cache says have signed it.
signers_of() {
  local base=${1%%\?*}
  {
    case $1 in
      http://* | https://*)
        command -v curl > /dev/null || return 0
        curl -q --silent --max-time "$BENTO_CACHE_DEADLINE" --max-filesize 65536 "${base%/}/$(narinfo_of "$2")" |
          sed -n 's/^Sig: \([^:]*\):.*/\1/p'
        ;;
      # To others Nix alone has the login.
      *)
        timeout --kill-after=5 "$BENTO_CACHE_DEADLINE" nix "${nix_flags[@]}" path-info --sigs --store "$1" "$2" |
          grep -oE '[^[:space:]:]+:[A-Za-z0-9+/]{86}==' | sed 's/:.*//'
        ;;
    esac
  } 2> /dev/null | printable | head -n 5 | paste -sd, - || true
}
