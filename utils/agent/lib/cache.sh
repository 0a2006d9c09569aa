# shellcheck shell=bash
# The binary caches of one attempt: this machine's own and the fleet's, but for those that don't answer now. Nix itself
# would ask a dead cache for every path, and believes for a week that one it knows is there.

# What Nix is told, once caches are known.
cache_options=()
# The URLs in use, and of those the fleet's.
caches=() fleet_caches=()
# Which were left out and why, for a report's reason.
left_out=''

# use_caches: asks them all at once, and sets the above. A cache that is left out is said, and is no failure.
use_caches() {
  local settings urls fleet=null index why url
  caches=() left_out=''
  forward_cache
  [ "$BENTO_CACHES" = none ] || fleet=$(fleet_substituters)
  settings=$(nix_settings)
  settings_known=yes
  jq -e '.substituters.value and ."trusted-public-keys".value' <<< "$settings" > /dev/null || settings_known=
  mapfile -t urls < <(jq -r --argjson fleet "$fleet" '
    (."substituters".value // []) + [$fleet[]?.url] | reduce .[] as $url ([];
      if any(.[]; rtrimstr("/") == ($url | rtrimstr("/"))) then . else . + [$url] end) | .[]' <<< "$settings")
  mapfile -t fleet_caches < <(jq -r '.[]?.url' <<< "$fleet")
  cache_keys=$(jq -r --argjson fleet "$fleet" '
    (."trusted-public-keys".value // []) + [$fleet[]?.key] | unique | join(" ")' <<< "$settings")

  local answers=$BENTO_RUN/caches pids=()
  rm -rf "$answers"
  mkdir "$answers"
  for index in "${!urls[@]}"; do
    apart silence_of "${urls[index]}" > "$answers/$index" 2> /dev/null &
    pids+=("$!")
  done
  for index in "${!pids[@]}"; do wait "${pids[index]}" || true; done
  for index in "${!urls[@]}"; do
    url=${urls[index]}
    why=$(printable < "$answers/$index" | head -n 1)
    [ -z "$why" ] || ! is_forwarded "$url" || why=$(forward_trouble | grep . || echo "$why")
    if [ -z "$why" ]; then caches+=("$url"); else leave_out "$url" "$why"; fi
  done
  rm -rf "$answers"
  set_cache_options
}

# fleet_substituters: prints fleet.yaml's, as JSON; those that are reached through the server with the URL they have here.
fleet_substituters() {
  jq -c --arg here "$forward_here" '[.substituters[]? | if .over == null then . elif $here == "" then empty
    else .url |= $here + (ltrimstr("http://") | sub("^[^/?]*"; "")) end]' "$BENTO_CONFIG"
}

# forward_cache: opens the way to the cache that is reached through the server, where there is one.
forward_cache() {
  local target problem=
  [ "$BENTO_CACHES" != none ] && [ -z "$forward_here" ] || return 0
  target=$(jq -r '[.substituters[]? | .over | values][0] // empty' "$BENTO_CONFIG")
  [ -z "$target" ] || open_forward "$target" || leave_out "http://$target" "$problem"
}

# nix_settings: what Nix on this machine is set to, as JSON; {} where it doesn't say.
nix_settings() {
  local command
  # The first is the name since 2.20; 2.3 has no experimental features.
  for command in 'config show' show-config; do
    # shellcheck disable=SC2086 # two words
    nix "${nix_flags[@]}" $command --json 2> /dev/null | jq -ce 'objects' 2> /dev/null && return
  done
  nix show-config --json 2> /dev/null | jq -ce 'objects' 2> /dev/null || echo '{}'
}

# silence_of URL: prints why a cache is not to be asked, or nothing. Any answer of an HTTP server is one, but that it is
# broken: what it means is Nix's to find out, which may have a password for it. Other kinds of stores are Nix's alone. It is asked for
# what it will be asked for, where that is known: of a few bytes nobody sees that they come one by one.
silence_of() {
  local said status=0 base=${1%%\?*} file=nix-cache-info
  [ -z "$manifest_toplevel" ] || [ "$BENTO_BUILD" = source ] || file=$(narinfo_of "$manifest_toplevel")
  case $1 in
    http://* | https://*) ;;
    s3://*) refusal_of "$1"; return ;;
    *) return 0 ;;
  esac
  command -v curl > /dev/null || return 0
  said=$(curl -q --silent --show-error --output /dev/null --write-out '%{http_code}' --max-time "$BENTO_CACHE_DEADLINE" \
    --connect-timeout "$BENTO_CACHE_CONNECT_TIMEOUT" "${base%/}/$file" 2>&1) || status=$?
  if [ "$status" -ne 0 ]; then
    said=${said%%$'\n'*}
    echo "${said#curl: (*) }"
  elif [ "$said" -ge 500 ]; then
    echo "it answers with the status $said"
  fi
}

# refusal_of URL: the same of an s3:// bucket, for which Nix alone has the login. It is asked with a memory of its own, since Nix believes
# for a week that it is let in, and takes a 403 for a cache that has nothing. A daemon has a login of its own.
refusal_of() {
  local said status=0 memory code
  [ "${NIX_REMOTE:-}" != daemon ] || return 0
  memory=$(mktemp -d "$BENTO_RUN/memory.XXXXXX") || return 0
  said=$(XDG_CACHE_HOME=$memory timeout --kill-after=5 "$BENTO_CACHE_DEADLINE" nix "${nix_flags[@]}" store ping --store "$1" \
    --option connect-timeout "$BENTO_CACHE_CONNECT_TIMEOUT" --option download-attempts 1 2>&1 > /dev/null) || status=$?
  rm -rf "$memory"
  # Nix 2.3 has another name for it, and who knows the next one's.
  if [ "$status" -eq 0 ] || [[ $said == *'not a recognised command'* ]]; then return 0; fi
  if [ "$status" -eq 124 ] || [ "$status" -eq 137 ]; then
    echo "it has not answered within $BENTO_CACHE_DEADLINE s"
    return
  fi
  # What the server itself says of it is in its answer, which Nix prints below.
  code=$(sed -n 's/.*<Code>\([A-Za-z]*\)<.*/\1/p' <<< "$said" | tail -n 1)
  said=$(grep '^ *error: .' <<< "$said" | tail -n 1 || echo "${said##*$'\n'}")
  echo "${said#*error: }${code:+ ($code)}"
}

# narinfo_of STORE_PATH: the file in which a cache says of it that it is there.
narinfo_of() {
  local name=${1##*/}
  echo "${name:0:32}.narinfo"
}

# leave_out URL WHY: for the rest of this attempt.
leave_out() {
  local url kept=()
  say "the cache $(told "$1") is left out of this attempt: $2"
  left_out+="${left_out:+; }$(told "$1"): $2"
  for url in "${caches[@]}"; do [ "$url" = "$1" ] || kept+=("$url"); done
  caches=("${kept[@]}")
}

# fleet_caches_in_use: prints those of the fleet's that are still asked, one a line.
fleet_caches_in_use() {
  local url own
  for url in "${caches[@]}"; do
    for own in "${fleet_caches[@]}"; do
      if [ "${url%/}" = "${own%/}" ]; then echo "$url"; break; fi
    done
  done
}

# leave_out_fleet WHY: leaves out the fleet's caches, where Nix has waited for what they have as long as it may. Something comes now and
# then, so Nix itself would wait for ever, and again in the build that is made instead.
leave_out_fleet() {
  local url used
  mapfile -t used < <(fleet_caches_in_use)
  for url in "${used[@]}"; do leave_out "$url" "$1"; done
  set_cache_options
}

# nix_patience: prints what `watched` is told of a run of Nix's, one a line. How fast something comes is looked at where the fleet's
# caches are asked: without them, nothing else would be left to do.
nix_patience() {
  printf '%s\n' "$BENTO_BUILD_SILENCE" nix_progress
  [ "$BENTO_CACHE_SPEED" -eq 0 ] || [ -z "$(fleet_caches_in_use)" ] || printf '%s\n' "$BENTO_CACHE_SPEED_TIME" download_speed
}

# is_too_slow STATUS: whether Nix, which has ended with it, was ended since a download was.
is_too_slow() { [ "$1" -eq 124 ] && [ "$ended_by" = download_speed ]; }

too_slow() {
  echo "less than $BENTO_CACHE_SPEED bytes a second came for $BENTO_CACHE_SPEED_TIME s (services.bento.caches.minimumSpeed)"
}

# leave_out_slow WHY: leaves out those of the fleet's caches from which something was coming when Nix was ended; where that isn't known,
# all of them.
leave_out_slow() {
  local url base slow used found=
  slow=$(coming_from)
  mapfile -t used < <(fleet_caches_in_use)
  for url in "${used[@]}"; do
    base=${url%%\?*}
    grep -qxF -- "${base%/}" <<< "$slow" || continue
    leave_out "$url" "$1"
    found=yes
  done
  [ -n "$found" ] || leave_out_fleet "$1"
  set_cache_options
}

# coming_from: prints the caches from which paths were coming, since `mark_log`, that are not here now, as far as Nix has said so.
coming_from() {
  local stored url
  while IFS=$'\t' read -r stored url; do
    nix-store --check-validity "$stored" 2> /dev/null || echo "${url%/}"
    # No more than these at the same time.
  done < <(logged_since "$log_mark" |
    sed -n "s/^copying path '\(\/[^']*\)' from '\([^'?]*\).*/\1\t\2/p" | tail -n 32)
}

# set_cache_options: what Nix is told of $caches. The lists are whole, since Nix 2.3 can't add to one of keys.
# fleet.yaml's caches are told apart from the machine's by nothing: each path's signature is what counts.
set_cache_options() {
  local extra=
  # Where Nix doesn't say what this machine has, that stays as it is.
  [ -n "$settings_known" ] || extra=extra-
  cache_options=(
    --option "${extra}substituters" "${caches[*]}" --option "${extra}trusted-public-keys" "$cache_keys"
    --option connect-timeout "$BENTO_CACHE_CONNECT_TIMEOUT" --option download-attempts 2
    --option stalled-download-timeout "$BENTO_CACHE_DEADLINE"
    # A cache that was asked before the system was pushed, or signed, has it now; Nix would remember for a month.
    --option narinfo-cache-negative-ttl 0 --option narinfo-cache-positive-ttl 60
  )
}

# leave_out_troubled: leaves out the caches that Nix, since `mark_log`, could not get something from. Fails where there
# is none.
leave_out_troubled() {
  local url found=1 said
  said=$(logged_since "$log_mark" | printable |
    grep -E 'unable to|timed out|does not exist in binary cache|is not a valid|hash mismatch' || true)
  for url in "${caches[@]}"; do
    if [[ $said == *"${url%/}"* ]]; then
      leave_out "$url" "$(grep -F -m 1 -- "${url%/}" <<< "$said" | sed 's/^warning: //; s/^error: //')"
      found=0
    fi
  done
  # A NAR that was cut off, and an abort, name nobody.
  if [ "$found" -ne 0 ] && [ "${#fleet_caches[@]}" -gt 0 ]; then
    for url in "${fleet_caches[@]}"; do
      [[ " ${caches[*]} " == *" $url "* ]] || continue
      leave_out "$url" "something that Nix took from a cache was damaged: $(nix_error)"
      found=0
    done
  fi
  set_cache_options
  return "$found"
}
