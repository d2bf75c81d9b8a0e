#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
# All checks, or one: prints what fails, the time of each step, and as the last line the counts.
#
# A test is an executable or script that prints `ok NAME`, `not ok NAME: why` or `skipped NAME: why`
# for each of its cases (cmocka's TAP is understood as well) and exits non-zero when one failed.
# One that dies without having said so, or that says nothing at all, counts as one failure.
#
# usage: check.sh [NAME]
#   NAME   a step (layers, format, unit, func, crash, fuzz, sim, asan; tsan and real run only when named),
#          a unit test (test_base or base) or one of its cases, or a script of tests/func,
#          tests/crash or tests/real; all of its output is shown, if it is a single test
# environment: BUILD (build), CHECK_SIM_SECONDS (30), CHECK_ASAN_SIM_SECONDS (30),
#   CHECK_FUZZ_SECONDS (3, for each target), CHECK_REAL_SECONDS (900, the most that one of tests/real may take)
set -u

cd "$(dirname "$0")/.." || exit 1
BUILD=${BUILD:-build}
export BUILD DYNAMICFS=${DYNAMICFS:-$(realpath -m "$BUILD")/dynamicfs}
sim_seconds=${CHECK_SIM_SECONDS:-30}
fuzz_seconds=${CHECK_FUZZ_SECONDS:-3}
asan_sim_seconds=${CHECK_ASAN_SIM_SECONDS:-30}
only=${1:-}
case $only in
'' | unit | func | crash | asan | tsan | real) loud= ;;
*) loud=yes ;; # all output
esac
logs=$BUILD-check # beside, for the build directory may be made anew

passed=0 failed=0 skipped=0 matched=0 built= builder=
asan_options=(-Db_sanitize=address,undefined)
failures=()

# A step or test is run when no name was given, or when one of its names is the given one.
wanted()
{
	local name

	[ -n "$only" ] || return 0
	for name in "$@"; do
		[ "$name" = "$only" ] && return 0
	done
	return 1
}

# The counts of one log: passed, failed, skipped. cmocka writes skipped cases as `not ok # SKIP`.
count()
{
	awk '/^(not )?ok .*# SKIP/ || /^skipped /	{ s++; next }
	     /^ok( |$)/					{ p++ }
	     /^not ok( |$)/				{ f++ }
	     END { print p + 0, f + 0, s + 0 }' "$1"
}

# report NAME EXIT_CODE LOG SECONDS: adds up a test's counts and says how it went.
report()
{
	local name=$1 code=$2 log=$3 seconds=$4 p f s why=

	read -r p f s < <(count "$log")
	if [ "$code" -ne 0 ] && [ "$f" -eq 0 ]; then
		f=1
		why="exit code $code"
		[ "$code" -eq 124 ] && why="took too long and was ended"
		[ "$code" -gt 128 ] && why="died of signal $((code - 128))"
	elif [ $((p + f + s)) -eq 0 ]; then
		f=1
		why="reported no test"
	fi
	passed=$((passed + p)) failed=$((failed + f)) skipped=$((skipped + s))
	printf '  %-28s %4d passed %3d failed %3d skipped %5d s\n' "$name" "$p" "$f" "$s" "$seconds"
	[ -n "$loud" ] || grep -E '^  ok sim_sweep' "$log" | cut -c 1-160
	[ -n "$loud" ] || grep -E '^(not ok .*# SKIP|skipped )' "$log" | sed 's/^/    /'
	if [ "$f" -gt 0 ]; then
		failures+=("$name${why:+: $why}")
		if [ -z "$loud" ]; then
			grep -E '^not ok( |$)' "$log" | grep -v '# SKIP' | sed 's/^/    /'
			echo "    --- the end of $log ---"
			tail -n 30 "$log" | sed 's/^/    /'
			echo "    ---"
		fi
		[ -z "$why" ] || echo "    not ok $name: $why"
	fi
}

# execute NAME TIMEOUT_S COMMAND...: one test in its own log; its exit code and seconds in a file beside it.
execute()
{
	local log=$logs/${1//\//-}.log limit=$2 start=$SECONDS code

	shift 2
	# timeout runs programs only: a function goes through a shell of its own.
	[ "$(type -t "$1")" = function ] && set -- bash -c '"$@"' _ "$@"
	if [ -n "$loud" ]; then
		timeout --kill-after=20 "$limit" "$@" 2>&1 </dev/null | tee "$log"
		code=${PIPESTATUS[0]}
	else
		# The outer redirection hides the shell's own remark on a test that crashed.
		{ timeout --kill-after=20 "$limit" "$@" >"$log" 2>&1 </dev/null; } 2>/dev/null
		code=$?
	fi
	echo "$code $((SECONDS - start))" >"$log.end"
}

# ended NAME: reports a test that was executed.
ended()
{
	local log=$logs/${1//\//-}.log code seconds

	read -r code seconds <"$log.end"
	rm -f "$log.end"
	report "$1" "$code" "$log" "$seconds"
}

# run NAME TIMEOUT_S COMMAND...: one test, executed and reported.
run()
{
	matched=$((matched + 1))
	execute "$@"
	ended "$1"
}

# A command that only succeeds or fails becomes one test.
as_test()
{
	local name=$1 code

	shift
	"$@"
	code=$?
	case $code in
	0) echo "ok $name" ;;
	77) echo "skipped $name: see above" && code=0 ;;
	*) echo "not ok $name: exit code $code" ;;
	esac
	return $code
}

step_build()
{
	# Everything below needs it, whichever test was asked for.
	local log=$logs/build.log start=$SECONDS code

	tools/build.sh "$BUILD" -Dwerror=true >"$log" 2>&1
	code=$?
	if [ -z "$only" ] || [ "$code" -ne 0 ]; then
		[ "$code" -eq 0 ] && echo "ok build" >>"$log"
		report build "$code" "$log" $((SECONDS - start))
		[ -n "$only" ] && cat "$log"
	fi
	return "$code"
}

# Those that measure what happens within a time, or keep the mounts of others in a namespace for a while, run alone.
alone=' test_deadline asan/test_deadline crash/kill9 func/demo func/failures func/hang func/health func/mount '

is_alone() { [[ " ${alone//[[:space:]]/ } " == *" $1 "* ]]; }

# several LANES TIMEOUT_S: the tests on standard input, each a line of its name and its command, so many at a
# time, for they wait for their disks more than they compute, and then those that run alone; one after the other
# where all output is shown.
several()
{
	local lanes=$1 limit=$2 name command names=() last=()

	while read -r name command; do
		names+=("$name")
		if [ -n "$loud" ]; then
			execute "$name" "$limit" $command
		elif is_alone "$name"; then
			last+=("$name $command")
		else
			[ "$(jobs -rp | wc -l)" -lt "$lanes" ] || wait -n
			execute "$name" "$limit" $command &
		fi
	done
	wait
	for command in "${last[@]}"; do
		execute "${command%% *}" "$limit" ${command#* }
	done
	for name in "${names[@]}"; do
		matched=$((matched + 1))
		ended "$name"
	done
}

# unit_tests DIR PREFIX [STEP]
unit_tests()
{
	local dir=$1 prefix=$2 source name

	for source in tests/unit/test_*.c; do
		[ -f "$source" ] || continue
		name=$(basename "$source" .c)
		if wanted "${3:-unit}" "$name" "${name#test_}" || { [ -n "$only" ] &&
			grep -qE "cmocka_unit_test[a-z_]*\($only\b" "$source"; }; then
			echo "$prefix$name env CMOCKA_MESSAGE_OUTPUT=TAP $dir/tests/$name"
		fi
	done >"$logs/list"
	several 4 600 <"$logs/list"
}

# scripts DIR LANES [TIMEOUT_S]
scripts()
{
	local dir=$1 script name

	for script in tests/"$dir"/*.sh; do
		name=$(basename "$script" .sh)
		case $name in
		_* | lib | '*') continue ;;
		esac
		wanted "$dir" "$name" "$dir/$name" "$name.sh" "$script" || continue
		echo "$dir/$name bash $script"
	done >"$logs/list"
	several "$2" "${3:-900}" <"$logs/list"
}

# sweep SIM SECONDS [OPTION...]: fresh seeds, two histories at a time.
sweep()
{
	local sim=$1 seconds=$2 fresh code out

	shift 2
	fresh=$(tools/fresh-seed.sh)
	out=$(mktemp)
	"$sim" --seeds $fresh..$((fresh + 1000000)) --seconds "$seconds" --jobs 2 "$@" >"$out" 2>&1
	code=$?
	# Its own `ok` lines are not counted: one sweep is one test.
	echo "--- seeds from $fresh"
	tail -n 60 "$out" | sed 's/^/  /'
	rm -f "$out"
	[ "$code" -eq 0 ] && echo "ok fresh seeds" || echo "not ok fresh seeds: exit code $code"
	return $code
}

# sanitized_build NAME MESON_OPTION...: a build of its own, by clang
sanitized_build()
{
	local name=$1

	shift
	execute "$name/build" 1500 as_test build env CC=clang nice tools/build.sh "$BUILD-$name" -Dwerror=true \
		-Db_lundef=false "$@"
}

# build_ahead: what takes long to build is built beside the tests, which wait a lot.
build_ahead()
{
	sanitized_build asan "${asan_options[@]}" &
	builder=$!
	disown # so that nobody waits for it but those that need it
	trap 'kill $builder 2>/dev/null' EXIT
}

# sanitized NAME MESON_OPTION...: the unit tests in a build of its own
sanitized()
{
	local name=$1

	[ -z "$only" ] || only=$name
	[ -n "$builder" ] || sanitized_build "$@"
	while [ -n "$builder" ] && kill -0 "$builder" 2>/dev/null; do
		sleep 1
	done
	matched=$((matched + 1))
	ended "$name/build"
	unit_tests "$BUILD-$name" "$name/" "$name"
}

step_asan()
{
	# A small quarantine: memory that is new each time costs most of the time.
	export ASAN_OPTIONS=${ASAN_OPTIONS:-detect_leaks=1:abort_on_error=1:quarantine_size_mb=16}
	export UBSAN_OPTIONS=${UBSAN_OPTIONS:-halt_on_error=1:print_stacktrace=1}
	sanitized asan "${asan_options[@]}"
	# A power cut abandons the memory of what ran, which is no leak.
	ASAN_OPTIONS=$ASAN_OPTIONS:detect_leaks=0 run asan/sim $((asan_sim_seconds * 4 + 60)) \
		sweep "$BUILD-asan/dynamicfs-sim" "$asan_sim_seconds"
}

# RocksDB is not built with TSan, which can't see the locks inside it.
step_tsan()
{
	export TSAN_OPTIONS=${TSAN_OPTIONS:-halt_on_error=1:ignore_noninstrumented_modules=1}
	sanitized tsan -Db_sanitize=thread
}

# lap NAME: what was done since the last one took so long.
lap()
{
	local now=$SECONDS

	[ $((now - lap_began)) -eq 0 ] || laps+="${laps:+, }$1 $((now - lap_began))"
	lap_began=$now
}

begin=$SECONDS lap_began=$SECONDS laps=
mkdir -p "$logs"
rm -f "$logs"/*.log
export -f as_test sweep

if wanted layers; then
	run layers 60 as_test layers tools/check-layers.py
fi
if wanted format; then
	run format 60 as_test format tools/check-format.sh
fi
case $only in
layers | format | asan | tsan) ;; # need no build of their own
build)
	only=
	step_build
	only=build matched=1
	;;
*) step_build && built=yes ;;
esac
if [ -n "$built" ]; then
	lap build
	[ -n "$only" ] || build_ahead
	# In a whole check each runs once, under the sanitizers.
	[ -z "$only" ] || unit_tests "$BUILD" ""
	lap unit
	scripts func 3
	lap func
	scripts crash 2
	lap crash
	[ -z "$only" ] || scripts real 1 "${CHECK_REAL_SECONDS:-900}"
	lap real
	if wanted fuzz; then
		run fuzz 600 tests/fuzz/run.sh "$fuzz_seconds"
	fi
	lap fuzz
	if wanted sim; then
		run sim $((sim_seconds * 2 + 60)) sweep "$BUILD/dynamicfs-sim" "$sim_seconds"
		run sim/meta $((sim_seconds + 60)) \
			sweep "$BUILD/dynamicfs-sim" $((sim_seconds / 6 + 1)) --meta
	fi
	lap sim
fi
if wanted asan; then step_asan; fi
lap asan
if [ "$only" = tsan ]; then step_tsan; fi # only when named

if [ -n "$only" ] && [ "$matched" -eq 0 ]; then
	echo "no test is called '$only': name a step (layers, format, unit, func, crash, fuzz, sim, asan, tsan, real)," \
		"a file of tests/unit, tests/func, tests/crash or tests/real, or a case of a unit test" >&2
	exit 2
fi
if [ "$failed" -gt 0 ]; then
	echo "failed:"
	printf '  %s\n' "${failures[@]}"
fi
echo "took $((SECONDS - begin)) s${laps:+: $laps}"
echo "$passed passed, $failed failed$([ "$skipped" -eq 0 ] || echo ", $skipped skipped")"
[ "$failed" -eq 0 ] && [ "$passed" -gt 0 ]
