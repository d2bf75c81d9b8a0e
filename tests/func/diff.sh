#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
# A short run of tests/diff: the same operations here and on ext4, and kills of the daemon.
. "$(dirname "$0")/../diff/mounts.sh"

fresh=$("$repo/tools/fresh-seed.sh")

# said NAME COMMAND...: passes, or says all that the command said, and the steps that it left.
said()
{
	local name=$1

	shift
	if "$@" >"$work/said" 2>&1; then
		tail -n 1 "$work/said"
		ok "$name"
	else
		cat "$work/said"
		cat "$work"/*.steps 2>/dev/null
		not_ok "$name" "see above"
	fi
}

differs() { python3 -B "$diff/diff.py" "$mnt" "$other" "$dynamicfs" "$pool" --keep "$work" --shrink 30 "$@"; }

said "the same as ext4, a fixed seed" differs --seed 1 --ops 1500
said "the same as ext4, a fresh seed" differs --seed "$fresh" --ops 1000
said "the same as ext4, many at once" differs --seed "$fresh" --ops 250 --concurrent 2
said "after kills, what may be there" python3 -B "$diff/crash.py" "$mnt" "$other" "$dynamicfs" "$pool" --seed "$fresh" --rounds 4 --steps 150
finish
