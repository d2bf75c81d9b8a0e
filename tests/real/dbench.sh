#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
# dbench: the calls of a file server's clients, several at once, with and without attributes and syncs.
. "$(dirname "$0")/_lib.sh"

seconds=$((8 * more))

clients()
{
	mkdir -p "$mnt/dbench" && timeout $((seconds + 60)) dbench -t "$seconds" -D "$mnt/dbench" "$@" >"$work/dbench.out" 2>&1
	grep -q '^Throughput' "$work/dbench.out" && ! grep -iE 'failed|error|not permitted|wrong' "$work/dbench.out"
}

need dbench dbench
pool_for dbench
check "dbench: 4 clients" clients 4
check "dbench: with attributes" clients -x 4
check "dbench: fsync at each flush" clients -F 2
check "dbench: synchronous directories and files" clients -s -S 2
rm -rf "$mnt/dbench"
check "all is gone" test -z "$(ls -A "$mnt")"
finish
