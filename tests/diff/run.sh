#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
# The same operations on the mount of a pool and on ext4 (diff.py), or kills of the daemon (crash.py).
# docs/HACKING.md, "Compared with ext4", says more.
# usage: run.sh [OPTION of diff.py]...   run.sh --crash [OPTION of crash.py]...
. "$(dirname "$0")/mounts.sh"

if [ "${1:-}" = --crash ]; then
	shift
	python3 -B "$diff/crash.py" "$mnt" "$other" "$dynamicfs" "$pool" "$@" || failed=1
else
	python3 -B "$diff/diff.py" "$mnt" "$other" "$dynamicfs" "$pool" "$@" || failed=1
fi
finish
