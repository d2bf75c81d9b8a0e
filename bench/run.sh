#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
# The project's own benchmark; bench.py says what it measures.
# environment: BUILD (build), BENCH_ROOT (a tmpfs where there is room), BENCH_ARGS (see --help)
set -eu

cd "$(dirname "$0")/.."
# shellcheck disable=SC2086
exec python3 bench/bench.py --dynamicfs "${BUILD:-build}/dynamicfs" \
	${BENCH_ROOT:+--root "$BENCH_ROOT"} ${BENCH_ARGS:-} "$@"
