#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
# Attacks on the promises through the real program: damage planted on disks and in the pool directory,
# disks that vanish and come back stale, disks that fill up, pools opened twice, daemons killed.
# The attacks are in _failures.py; each has a pool of its own over six tmpfs disks.
#
# usage: failures.sh [CASE...]; environment: DYNAMICFS (build/dynamicfs)
set -u
here=$(cd "$(dirname "$0")" && pwd)
dynamicfs=$(realpath "${DYNAMICFS:-$here/../../build/dynamicfs}")

if [ ! -x "$dynamicfs" ]; then
	echo "not ok failures: no program at $dynamicfs: run make"
	exit 1
fi
if [ "$(id -u)" -ne 0 ] || [ ! -w /dev/fuse ]; then
	echo "skipped failures: needs root and /dev/fuse"
	exit 0
fi
exec python3 "$here/_failures.py" "$dynamicfs" "$@"
