#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
# 300 seeds pass, and as many of the metadata layer alone, and between them they reach every fault and every
# state that has a probe (base/probe.h), but those named below: what no seed reaches is not tested.
#
# environment: BUILD (build), STATS_SEEDS (300)
cd "$(dirname "$0")/../.." || exit 1
sim=${BUILD:-build}/dynamicfs-sim
seeds=${STATS_SEEDS:-300}
out=$(mktemp)
trap 'rm -f "$out"' EXIT
failed=0

# Met less often than once in 300 seeds, or by unit tests only (what the kernel knows).
rare='disk-says-it-fails gone-inode-forgotten moved-to-the-heir repaired-block-by-block record-read-in-parts compacted-before-enospc compact-is-due compact-quiet compact-segment-gone compact-lacks-room compact-pass rebalance-step rebalance-not-level removed-disk-may-be-needed removed-disk-told-late restored-narrower seal-merged-under-newer disk-rots drain-looks-again fragment-unplaced removal-went-on-at-open members-lacking-at-open heal-met-a-change rot-that-the-index-is-beyond member-left-out-by-opening journal-completed silent-disk-given-up'

declare -A hits_of=()
# pass NAME OPTION...: they pass, and what they reach is counted
pass()
{
	local name=$1 probe hits rest

	shift
	if ! "$sim" "$@" --seeds "1..$seeds" --jobs 2 --stats >"$out" 2>&1; then
		echo "not ok $name: $(grep -m1 FAILED "$out")"
		exit 1
	fi
	echo "ok $name: $(tail -n 1 "$out" | cut -d: -f2- | cut -c1-100)"
	while read -r probe hits rest; do
		[[ $hits =~ ^[0-9]+$ && -z $rest ]] || continue
		hits_of[$probe]=$((${hits_of[$probe]:-0} + hits))
	done <"$out"
}

pass seeds_pass --ops 500
pass seeds_of_metadata_pass --meta
count=${#hits_of[@]}
for name in "${!hits_of[@]}"; do
	[ "${hits_of[$name]}" -eq 0 ] || continue
	[[ " $rare " == *" $name "* ]] && continue
	echo "not ok reached: no seed of $seeds reaches $name"
	failed=1
done
if [ "$count" -lt 30 ]; then
	echo "not ok reached: only $count probes are told"
	failed=1
fi
[ "$failed" -ne 0 ] || echo "ok reached: $count faults and states"

# One seed is one history: its trace, without the time that it took.
history() { "$sim" --seed "$1" --verbose 2>&1 | sed 's/; [0-9.]* s, .*//' | cksum; }
for seed in 1 2 3; do
	if [ "$(history $seed)" != "$(history $seed)" ]; then
		echo "not ok one_history: seed $seed runs differently the second time"
		exit 1
	fi
done
echo "ok one_history"
exit $failed
