#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
# The simulator's oracle bites: with each promise broken on purpose some seed fails, and says which
# promise (with none broken they pass: sim_stats.sh). And one seed is one history.
#
# environment: BUILD (build), BITES_SEEDS (how many seeds may pass before the oracle bites; 600)
cd "$(dirname "$0")/../.." || exit 1
sim=${BUILD:-build}/dynamicfs-sim
seeds=${BITES_SEEDS:-600}
out=$(mktemp)
trap 'rm -f "$out"' EXIT
failed=0

# bites BREAK PATTERN: what the failing seed must say
bites()
{
	local name=$1 pattern=$2 code=0

	"$sim" --break "$name" --seeds "1..$seeds" --jobs 2 >"$out" 2>&1 || code=$?
	if [ "$code" -eq 1 ] && grep -qE "^seed [0-9]+: FAILED: ($pattern): " "$out"; then
		echo "ok bites_$name: $(grep -m1 -oE 'seed [0-9]+: FAILED: .*' "$out" | cut -c1-120)"
	elif [ "$code" -eq 0 ]; then
		echo "not ok bites_$name: $seeds seeds pass with the promise broken"
		failed=1
	else
		echo "not ok bites_$name: exit code $code: $(grep -m1 FAILED "$out" | cut -c1-200)"
		failed=1
	fi
}

bites skip-sync 'P[0-9]|set-up|fsck'
bites publish-before-durable 'P1|P3|P4|fsck'
bites skip-journal-sync 'P[0-9]|set-up|fsck'
bites skip-dir-sync 'P[0-9]|set-up|fsck'
bites ack-before-durable 'P1'
bites ignore-checksum 'P1|P3'
bites believe-a-stale-disk 'P1|P2|P8'
bites free-before-durable 'P1|P3|P4|fsck'
bites split-rename 'P1|P2|P3'
bites rename-without-content 'P1'
bites lose-count 'counters|fsck'

# The trace without the time that it took.
history() { "$sim" --seed "$1" --verbose 2>&1 | sed 's/; [0-9.]* s, .*//' | cksum; }
for seed in 1 2 3; do
	if [ "$(history $seed)" != "$(history $seed)" ]; then
		echo "not ok one_history: seed $seed runs differently the second time"
		failed=1
	fi
done
[ "$failed" -ne 0 ] || echo "ok one_history"
exit $failed
