#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
# The project's own benchmark; bench.py says what it measures.
# With "heal" as the first word of BENCH_ARGS it is bench/heal.py: rebuild, scrub, and users beside them.
# environment: BUILD (build), BENCH_ROOT (a tmpfs where there is room), BENCH_ARGS (see --help)
set -eu

cd "$(dirname "$0")/.."
build=${BUILD:-build}
# shellcheck disable=SC2086
set -- ${BENCH_ARGS:-} "$@"
if [ "${1:-}" = heal ]; then
	shift
	exec python3 bench/heal.py --dynamicfs "$build/dynamicfs" --readhash "$build/readhash" \
		${BENCH_ROOT:+--root "$BENCH_ROOT"} "$@"
fi
exec python3 bench/bench.py --dynamicfs "$build/dynamicfs" ${BENCH_ROOT:+--root "$BENCH_ROOT"} "$@"
