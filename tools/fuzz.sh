#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
# Builds the fuzz targets (libFuzzer, ASan, UBSan) and runs each one, or the one named, for
# FUZZ_SECONDS (60). Inputs found stay in BUILD-fuzz/corpus/NAME for the next run; an input that
# crashes is written to BUILD-fuzz/crashes, and its one command is printed.
# usage: fuzz.sh [NAME]
set -u

cd "$(dirname "$0")/.." || exit 1
dir=${BUILD:-build}-fuzz
seconds=${FUZZ_SECONDS:-60}
ran=0 failed=0

CC=clang tools/build.sh "$dir" -Db_sanitize=address,undefined -Db_lundef=false -Dfuzz=true \
	-Dtests=false >"$dir.log" 2>&1 || { cat "$dir.log"; exit 1; }
rm -f "$dir.log"
mkdir -p "$dir/crashes"
for source in tests/fuzz/fuzz_*.c; do
	name=$(basename "$source" .c)
	[ -f "$source" ] || continue
	[ -z "${1:-}" ] || [ "$1" = "$name" ] || [ "fuzz_$1" = "$name" ] || continue
	ran=$((ran + 1))
	mkdir -p "$dir/corpus/$name"
	seeds=
	[ -d "tests/fuzz/corpus/$name" ] && seeds=tests/fuzz/corpus/$name
	# shellcheck disable=SC2086
	if UBSAN_OPTIONS=halt_on_error=1:print_stacktrace=1 "$dir/tests/$name" \
		-max_total_time="$seconds" -timeout=10 -rss_limit_mb=2048 -print_final_stats=1 \
		-artifact_prefix="$dir/crashes/$name-" "$dir/corpus/$name" $seeds \
		>"$dir/$name.log" 2>&1; then
		echo "ok $name: $(sed -n 's/^stat::number_of_executed_units: *//p' "$dir/$name.log") inputs"
	else
		failed=$((failed + 1))
		tail -n 40 "$dir/$name.log"
		input=$(sed -n 's/.*Test unit written to //p' "$dir/$name.log" | tail -n 1)
		echo "not ok $name: run it again with: $dir/tests/$name $input"
	fi
done
if [ "$ran" -eq 0 ]; then
	echo "no fuzz target${1:+ is called '$1'} in tests/fuzz" >&2
	exit 2
fi
echo "$((ran - failed)) passed, $failed failed"
[ "$failed" -eq 0 ]
