#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
# kill -9 of the daemon while much is written and little synced, several times on small disks: what is left of it
# that no change named is given back by the mounts that follow, so that deleting all gives all space back.
#
# environment: DYNAMICFS (build/dynamicfs), ORPHANS_ROUNDS (6), ORPHANS_SEED (random, printed when it fails)
cd "$(dirname "$0")/../.." || exit 1
if [ ! -w /dev/fuse ] || [ "$(id -u)" != 0 ]; then
	echo "skipped orphans: needs root and /dev/fuse"
	exit 0
fi
exec python3 tests/crash/_orphans.py "${DYNAMICFS:-build/dynamicfs}" "${ORPHANS_ROUNDS:-6}" "${ORPHANS_SEED:-}"
