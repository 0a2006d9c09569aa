# shellcheck shell=bash
# Whose commit it is.

# commit_signers: the public keys whose commits this machine takes, a line each.
commit_signers() {
  if [ -n "${BENTO_GIT_COMMIT_SIGNERS:-}" ]; then
    printf '%s\n' "$BENTO_GIT_COMMIT_SIGNERS" | grep . || true
  else
    jq -r '.signers[]' "$BENTO_CONFIG"
  fi
}

# require_signature COMMIT: ends with status 65 unless a commit signer has signed it, by ssh. Nothing of the repository or
# of this machine's git says who may; and no other program is asked than ssh-keygen, whatever kind of signature it is.
require_signature() {
  local allowed=$scratch/allowed_signers
  commit_signers | sed 's/^/bento namespaces="git" /' > "$allowed"
  if ! git cat-file commit "$1" | awk '/^$/ { body = 1 } !body && /^gpgsig/ { signed = 1 } END { exit !signed }'; then
    fail 65 "commit $1 of $shown is not signed: have $branch end with a commit that is (git commit -S, gpg.format ssh)"
  fi
  printf '2.34\n%s\n' "$(git version | cut -d' ' -f3)" | sort -V -C ||
    fail 1 "git on this machine is older than 2.34, and can't verify ssh signatures"
  git -c gpg.format=ssh -c gpg.ssh.program=ssh-keygen -c gpg.ssh.allowedSignersFile="$allowed" -c gpg.ssh.revocationFile= \
    -c gpg.program=false -c gpg.openpgp.program=false -c gpg.x509.program=false -c gpg.minTrustLevel=fully \
    verify-commit "$1" > /dev/null 2>&1 ||
    fail 65 "commit $1 of $shown is not signed by one of the commit signers of this machine (services.bento.git.commitSigners)"
}
