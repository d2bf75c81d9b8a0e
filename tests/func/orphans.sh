#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
# Orphans: what a killed daemon leaves between records in use is found, told, and given back when it is old enough; real files
# stay as they are.
. "$(dirname "$0")/lib.sh"

dfs() { "$dynamicfs" "$@"; }
value() { python3 -c "import json, sys; print(json.load(sys.stdin)['$1'])"; }
of() { dfs "$1" --pool "$pool" --json "${@:3}" 2>/dev/null | value "$2"; }
sums() { (cd "$mnt" && sha256sum ./*); }

make_pool || exit 1
check "an unmounted pool has none" test "$(of detect-orphans records)" -eq 0
# what streams had written and not committed, when others that came after were synced, and power went
for round in 1 2 3; do
	start || exit 1
	for i in 1 2 3; do
		(head -c 40M /dev/urandom >"$mnt/stream$i" 2>/dev/null) &
	done
	for i in $(seq 40); do
		head -c 6000 /dev/urandom >"$mnt/kept$round-$i"
		sync "$mnt/kept$round-$i" 2>/dev/null
	done
	kill -9 "$(daemon_pid "$pool")"
	wait_for 10 daemon_gone "$pool"
	umount -l "$mnt" 2>/dev/null || fusermount3 -uz "$mnt"
	wait
done
# while it is not mounted, for after a mount what lies at the ends of segments goes by itself
check "they are counted" dfs orphan-stats --pool "$pool"
check "and listed" dfs detect-orphans --pool "$pool" --limit 5
n=$(of detect-orphans records)
check "by age, all of them" test "$(dfs orphan-stats --pool "$pool" --json | python3 -c '
import json, sys
r = json.load(sys.stdin)
print(sum(x["records"] for x in r["by_age"]) - r["records"])')" -eq 0
check "none is a day old" test "$(of detect-orphans old_records)" -eq 0
check "a dry run removes none" test "$(of cleanup-orphans removed_records --min-age 0s --dry-run)" -eq 0
check "all are there still" test "$(of detect-orphans records)" -eq "$n"
start || exit 1
sums >"$work/sums"
check "young ones stay" test "$(of cleanup-orphans removed_records)" -eq 0
check "by order they go" dfs cleanup-orphans --pool "$pool" --min-age 0s
check "none is left" test "$(of detect-orphans records)" -eq 0
check "fsck finds none" eval 'stop; test "$(of fsck orphan_records_bytes)" -eq 0'
start
check "files are as they were" eval 'sums | cmp - "$work/sums"'
refuse "no such age" 2 "min-age" dfs cleanup-orphans --pool "$pool" --min-age soon
echo "# $n orphans"
finish
