# shellcheck shell=bash
# The git repository of this host, $repository, into which the remote's commits come.

# make_repository: an empty one. Its attributes are above all others, and undo whatever a release says of itself: a file
# is the bytes that were published.
make_repository() {
  rm -rf "$repository"
  mkdir -p "$repository/objects" "$repository/refs" "$repository/info"
  echo 'ref: refs/heads/none' > "$repository/HEAD"
  cat > "$repository/config" << 'END'
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
  echo '* !text !crlf !eol !ident !filter !working-tree-encoding' > "$repository/info/attributes"
}
