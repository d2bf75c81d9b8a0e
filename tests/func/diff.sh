#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
# A short run of tests/diff: the same operations here and on ext4, always the same ones. (`make diff` takes others, and kills.)
. "$(dirname "$0")/../diff/mounts.sh"

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

said "the same as ext4" differs --seed 1 --ops 1500
said "the same as ext4, many at once" differs --seed 1 --ops 250 --concurrent 2
finish
