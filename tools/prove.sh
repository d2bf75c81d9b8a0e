#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
# The long proofs, for before a release or after a change of what keeps data: hours. Each says `ok NAME` or
# `not ok NAME: why`; the last line counts.
#
# environment: BUILD (build), PROVE_SEEDS (100000), PROVE_FIRST (1), PROVE_KILLS (300; half of them in full pools),
#   PROVE_CUTS (100), PROVE_JOBS (the processors), PROVE (all; or some of: sim meta kill9 power fill mutate),
#   FILL_* (of tests/func/fill.sh)
set -u
cd "$(dirname "$0")/.." || exit 1
export BUILD=${BUILD:-build}
export DYNAMICFS=${DYNAMICFS:-$(realpath -m "$BUILD")/dynamicfs}
seeds=${PROVE_SEEDS:-100000} first=${PROVE_FIRST:-1} kills=${PROVE_KILLS:-300} cuts=${PROVE_CUTS:-100}
jobs=${PROVE_JOBS:-$(nproc)}
what=${PROVE:-sim meta kill9 power fill mutate}
passed=0 failed=0

# proof NAME COMMAND...
proof()
{
	local name=$1 start=$SECONDS

	shift
	if "$@"; then
		echo "ok $name ($((SECONDS - start)) s)"
		passed=$((passed + 1))
	else
		echo "not ok $name: exit code $? ($((SECONDS - start)) s)"
		failed=$((failed + 1))
	fi
}

# fill: each filesystem, number of disks and shape of files
fill()
{
	export FILL_FS=${FILL_FS:-tmpfs ext4 xfs btrfs} FILL_DISKS=${FILL_DISKS:-4 4u 6 6u 12 12u}
	export FILL_SHAPES=${FILL_SHAPES:-0 100 4000 4200 50000 5000000 mixed names grow over}

	FILL_ROUNDS=${FILL_ROUNDS:-3} tests/func/fill.sh
}

tools/build.sh "$BUILD" >/dev/null || exit 1
sim=$BUILD/dynamicfs-sim
for step in $what; do
	case $step in
	sim) proof sim "$sim" --seeds "$first..$((first + seeds - 1))" --ops 500 --jobs "$jobs" --stats ;;
	meta) proof meta "$sim" --meta --seeds "$first..$((first + seeds - 1))" --jobs "$jobs" ;;
	kill9) KILL9_ROUNDS=$((kills / 2)) proof kill9 tests/crash/kill9.sh ;;
	power) POWER_ROUNDS=$cuts proof power tests/crash/power.sh ;;
	fill) proof fill fill ;;
	mutate) proof mutate tests/mutate/mutate.py all ;;
	*) echo "no such proof: $step" >&2 && exit 2 ;;
	esac
done
echo "$passed passed, $failed failed"
[ "$failed" -eq 0 ]
