# shellcheck shell=bash
# The page on http://localhost:51337: an HTTP server for one request, which systemd starts for each connection to the
# loopback addresses. It runs as nobody in particular, and can do what the socket (lib/serve.sh) lets it do.
#
#   GET /          the page
#   GET /status    what `status --json` prints
#   POST /upgrade  the output of an upgrade as it comes; the last line is `exit N`
#
# A browser is at the other end, and it may be showing anybody's page at the same time. So a request must name this
# address as its host (or a foreign name was made to point here), must not come from another origin, and one that does
# something must carry a header that only a page of the same origin can send.

# Bytes of all lines of a request together, how many there are, and how long it all may take.
max_head=16384
max_lines=100
max_seconds=10

BENTO_PAGE_PORT=${BENTO_PAGE_PORT:-51337}

# page: answers the one request on standard input.
page() {
  local LC_ALL=C method target version host='' origin='' site='' asked='' length='' head=0 lines=0 line name value
  read_line
  read -r method target version <<< "$line"
  [[ $version =~ ^HTTP/1\.[01]$ ]] || refuse_page 400 'this is no request'
  while read_line && [ -n "$line" ]; do
    lines=$((lines + 1))
    [ "$lines" -le "$max_lines" ] || refuse_page 431 'too many headers'
    [[ $line =~ ^([A-Za-z0-9-]+):[[:blank:]]*(.*[^[:blank:]]|)[[:blank:]]*$ ]] || refuse_page 400 'a header is none'
    name=${BASH_REMATCH[1],,} value=${BASH_REMATCH[2]}
    case $name in
      host) once "$host"; host=$value ;;
      origin) once "$origin"; origin=$value ;;
      sec-fetch-site) once "$site"; site=$value ;;
      x-bento) once "$asked"; asked=$value ;;
      content-length) once "$length"; length=$value ;;
      transfer-encoding) refuse_page 400 'a request has no body here' ;;
    esac
  done
  case $host in
    "localhost:$BENTO_PAGE_PORT" | "127.0.0.1:$BENTO_PAGE_PORT" | "[::1]:$BENTO_PAGE_PORT") ;;
    *) refuse_page 421 'this is not the host that was asked for' ;;
  esac
  [ -z "$origin" ] || [ "$origin" = "http://$host" ] || refuse_page 403 'another origin has no business here'
  case $site in '' | same-origin | none) ;; *) refuse_page 403 'another site has no business here' ;; esac
  case $length in '' | 0) ;; *) refuse_page 413 'a request has no body here' ;; esac

  case "$method $target" in
    'GET /') page_itself ;;
    'GET /status')
      local status
      status=$(request_agent 'status --json') || refuse_page 503 'the agent gives no answer'
      respond 200 'application/json; charset=utf-8'
      printf '%s\n' "$status"
      ;;
    'POST /upgrade')
      [ "$asked" = upgrade ] || refuse_page 403 'the page asks otherwise'
      respond 200 'text/plain; charset=utf-8'
      local status=0
      (request_agent upgrade 2>&1) || status=$?
      echo "exit $status"
      ;;
    *' /' | *' /status' | *' /upgrade') refuse_page 405 'this can only be read, or started' ;;
    *) refuse_page 404 'there is nothing here' ;;
  esac
}

# read_line: sets $line, without its end.
read_line() {
  local left=$((max_head - head))
  if [ "$SECONDS" -ge "$max_seconds" ] || ! IFS= read -r -t "$((max_seconds - SECONDS))" -n "$left" line; then
    refuse_page 408 'the request did not come in time'
  fi
  head=$((head + ${#line} + 1))
  [ "$head" -lt "$max_head" ] || refuse_page 431 'the request is too long'
  line=${line%$'\r'}
  [[ $line != *[[:cntrl:]]* ]] || refuse_page 400 'this is no request'
}

once() { [ -z "$1" ] || refuse_page 400 'a header is there twice'; }

page_itself() {
  local nonce html
  nonce=$(head -c 18 /dev/urandom | base64)
  html=$(cat "$agent/page/index.html")
  respond 200 'text/html; charset=utf-8' "default-src 'none'; style-src 'nonce-$nonce'; script-src 'nonce-$nonce';\
 connect-src 'self'; img-src data:; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
  printf '%s\n' "${html//NONCE/$nonce}"
}

# respond STATUS TYPE [POLICY]: what comes before a body, which ends with the connection.
respond() {
  printf '%s\r\n' "HTTP/1.1 $1 Bento" "Content-Type: $2" 'Connection: close' 'Cache-Control: no-store' \
    'X-Content-Type-Options: nosniff' 'X-Frame-Options: DENY' 'Referrer-Policy: no-referrer' \
    'Cross-Origin-Resource-Policy: same-origin' 'Cross-Origin-Opener-Policy: same-origin' \
    "Content-Security-Policy: ${3:-default-src 'none'; frame-ancestors 'none'}" ''
}

# refuse_page STATUS WHY: that is all that the other end learns.
refuse_page() {
  echo "refused ($1): $2" >&2
  respond "$1" 'text/plain; charset=utf-8'
  printf '%s\n' "$2"
  exit 0
}
