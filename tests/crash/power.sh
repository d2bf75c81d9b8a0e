#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
# Power cuts at random moments under load, below a real mount: the disks and the pool directory are
# directories of lossyfs, which forgets what was not synced, torn and out of order; the daemon is killed at
# the same moment. Each time everything that was fsynced is there and right, and fsck finds nothing.
#
# environment: DYNAMICFS (build/dynamicfs), LOSSYFS (beside it, tests/lossyfs), POWER_ROUNDS (8), KILL9_SEED
#   (random, printed)
cd "$(dirname "$0")/../.." || exit 1
if [ ! -w /dev/fuse ] || [ "$(id -u)" != 0 ]; then
	echo "skipped power: needs root and /dev/fuse"
	exit 0
fi
dynamicfs=${DYNAMICFS:-build/dynamicfs}
KILL9_LOSSYFS=$(realpath "${LOSSYFS:-$(dirname "$dynamicfs")/tests/lossyfs}") || exit 1
export KILL9_LOSSYFS
exec python3 tests/crash/_kill9.py "$dynamicfs" "${POWER_ROUNDS:-8}" "${KILL9_SEED:-}"
