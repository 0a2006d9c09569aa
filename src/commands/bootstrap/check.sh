#!/bin/sh
# The health check of the first upgrade: that the release's own agent, with its own settings and key, reaches the server. It is
# what polls from then on, and without it nobody would.
agent=${BENTO_RUNNING:-/run/current-system}/sw/bin/bento-agent
if [ ! -x "$agent" ]; then
  echo 'the release has no agent: set services.bento.enable in its configuration'
  exit 1
fi
# Its settings are its own, and none of those that bootstrap was given.
word=$(env -i PATH="$PATH" HOME=/root "$agent" contact 2>&1 < /dev/null) && exit 0
echo "the release's own agent does not get in at the server: $(echo "$word" | tail -n 1)"
exit 1
