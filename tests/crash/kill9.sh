#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
# kill -9 of the daemon at random moments under load, through a real mount; each time everything that
# was fsynced is there and right, fsck finds nothing, and the pool mounts again in under two seconds.
#
# environment: DYNAMICFS (build/dynamicfs), KILL9_ROUNDS (6, of each), KILL9_SEED (random,
#   printed), KILL9_FULL (0: in pools with space, 1: in full ones; else both)
cd "$(dirname "$0")/../.." || exit 1
if [ ! -w /dev/fuse ] || [ "$(id -u)" != 0 ]; then
	echo "skipped kill9: needs root and /dev/fuse"
	exit 0
fi
rc=0
for full in ${KILL9_FULL:-0 1}; do
	KILL9_FULL=$full python3 tests/crash/_kill9.py "${DYNAMICFS:-build/dynamicfs}" "${KILL9_ROUNDS:-6}" \
		"${KILL9_SEED:-}" || rc=1
done
exit $rc
