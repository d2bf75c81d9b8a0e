#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
# Runs each fuzz target: first on the inputs that once failed (tests/fuzz/regressions), then on new
# ones for SECONDS each (default 3), from the seeds and what earlier runs found. Prints a line for
# each target; exits 1 when one failed, and says how to see it again.
#   tests/fuzz/run.sh [SECONDS [TARGET...]]
set -eu

top=$(cd "$(dirname "$0")/../.." && pwd)
out=${FUZZ_BUILD:-$top/build-fuzz}
seconds=${1:-3}
[ $# -eq 0 ] || shift
"$top/tests/fuzz/build.sh" "$@"
[ $# -gt 0 ] || set -- $(cd "$top/tests/fuzz" && ls fuzz_*.c | sed 's/\.c$//')
mkdir -p "$out/corpus" "$out/failed"
"$out/bin/seeds" "$out/corpus"

failed=0
for target in "$@"; do
	corpus=$out/corpus/$target
	old=$top/tests/fuzz/regressions/$target
	log=$out/$target.log
	mkdir -p "$corpus"
	if [ -d "$old" ] && ! "$out/bin/$target" -timeout=10 "$old"/* >"$log" 2>&1; then
		failed=1
		echo "not ok $target: an input that failed before fails again; see $log"
		continue
	fi
	if "$out/bin/$target" -max_total_time="$seconds" -max_len=8192 -timeout=10 \
		-rss_limit_mb=1024 -print_final_stats=1 -artifact_prefix="$out/failed/$target-" \
		"$corpus" >"$log" 2>&1; then
		runs=$(sed -n 's/^stat::number_of_executed_units: *//p' "$log")
		echo "ok $target: $runs runs"
	else
		failed=1
		input=$(sed -n 's/.*Test unit written to //p' "$log" | tail -n 1)
		echo "not ok $target: see $log; again with: $out/bin/$target $input"
	fi
done
exit $failed
