# shellcheck shell=bash
# The git repository of this host, $repository, into which the remote's commits come.

# make_repository: an empty one. Its attributes are above all others, and undo whatever a release says of itself: a file
# is the bytes that were published. It gets its name when all of this is on disk: what a power cut has left empty of it would
# still be taken for a repository.
make_repository() {
  local fresh=${repository%/*}/.git.new
  rm -rf "$repository" "$fresh"
  mkdir -p "$fresh/objects" "$fresh/refs" "$fresh/info"
  echo 'ref: refs/heads/none' > "$fresh/HEAD"
  cat > "$fresh/config" << 'END'
[core]
	repositoryformatversion = 0
	bare = true
	autocrlf = false
	symlinks = true
	protectHFS = false
	protectNTFS = false
	hooksPath = /dev/null
	logAllRefUpdates = false
	fsync = all
[gc]
	auto = 0
[maintenance]
	auto = false
[fetch]
	unpackLimit = 1
	writeCommitGraph = false
[http]
	lowSpeedLimit = 1
	lowSpeedTime = 60
END
  echo '* !text !crlf !eol !ident !filter !working-tree-encoding' > "$fresh/info/attributes"
  sync "$fresh/HEAD" "$fresh/config" "$fresh/info/attributes"
  mv -T "$fresh" "$repository"
}
