#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
# A disk is added and the disks are levelled, while the pool is in use: said beforehand, paused, over a kill, with a rate. Real files are compared
# before and after, and with two disks lost.
cd "$(dirname "$0")" || exit 1
# shellcheck source=tests/func/lib.sh
. ./lib.sh

[ -w /dev/fuse ] || { skip "rebalance" "no /dev/fuse"; exit 0; }
dfs() { "$dynamicfs" "$@"; }
sums() { (cd "$mnt" && find . -type f -print0 | LC_ALL=C sort -z | xargs -0r sha256sum); }
same() { echo 3 2>/dev/null >/proc/sys/vm/drop_caches; sums | cmp -s - "$work/sums"; }
balance() { dfs rebalance --pool "$pool" "$@"; }
used() { dfs list-disks --pool "$pool" --json | python3 -c 'import json,sys
print([d["used_bytes"] for d in json.load(sys.stdin)["disks"] if d["label"] == sys.argv[1]][0])' "$1"; }
# how far apart the fullest and the emptiest one are, in percent of their room
spread() { balance --dry-run --json | python3 -c 'import json,sys
f = [100 * d["used_bytes"] / d["usable_bytes"] for d in json.load(sys.stdin)["disks"]]
print(int(max(f) - min(f)))'; }
last_job() { dfs jobs --pool "$pool" | sed -n 's/^\([0-9]*\)  rebalance.*/\1/p' | tail -1; }

mkdir -p "$mnt"
check "a pool" dfs init --pool "$pool"
for i in 1 2 3 4 5 6; do
	mkdir "$work/disk$i"
	check "disk$i" dfs add-disk --pool "$pool" --disk "$work/disk$i" --capacity 120M
done
start || exit 1
dfs set --pool "$pool" --background-rate unlimited --rebuild-after never >/dev/null
head -c 150M /dev/urandom >"$mnt/large"
for i in $(seq 60); do head -c $((i * 1500)) /dev/urandom >"$mnt/file$i"; done
sync "$mnt"
sums >"$work/sums"
check "six equal disks are level" eval 'balance --wait | grep -q "level: nothing is to be moved"'

mkdir "$work/disk7"
check "another disk" dfs add-disk --pool "$pool" --disk "$work/disk7" --capacity 120M
check "said beforehand" eval 'balance --dry-run | grep -q "Would move"'
check "and nothing was done" eval '[ "$(used disk7)" -lt 1000000 ]'
check "they are not level" eval '[ "$(spread)" -gt 15 ]'
check "it is begun" balance --rate 500K
refuse "not twice" 4 "does so already" balance
check "it is under way" eval 'wait_for 20 eval "[ \$(used disk7) -gt 1000000 ]"'
check "kill -9" kill -9 "$(daemon_pid "$pool")"
wait_for 10 daemon_gone "$pool"
umount -l "$mnt" 2>/dev/null || fusermount3 -uz "$mnt"
check "mounted again" start
check "files read right" same
check "it goes on" eval 'dfs jobs --pool "$pool" | grep -q "rebalance: running"'
check "paused" dfs jobs --pool "$pool" pause "$(last_job)"
check "cancelled" dfs jobs --pool "$pool" cancel "$(last_job)"
check "files read right then" same
check "levelled, to the end" eval 'balance --wait | grep -q "is done: level: all are"'
check "they are level" eval '[ "$(spread)" -le 4 ]'
check "files read right on seven" same
check "all is whole" eval 'dfs status --pool "$pool" | grep -q "all extents are whole"'
stop
check "fsck finds nothing" dfs fsck --pool "$pool"

# not mounted: it is begun by the next mount
mkdir "$work/disk8"
check "an eighth" dfs add-disk --pool "$pool" --disk "$work/disk8" --capacity 120M
check "ordered while not mounted" eval 'balance | grep -q "when the pool is mounted"'
check "mounted" start
check "it is done" dfs jobs --pool "$pool" wait "$(last_job)"
check "the eighth has its part" eval '[ "$(used disk8)" -gt 20000000 ]'
check "files read right on eight" same
stop
rm -rf "$work/disk1/dynamicfs" "$work/disk7/dynamicfs"
check "two are lost" start -o force
check "files read right without them" same
stop
exit "$failed"
