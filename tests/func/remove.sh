#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
# Disks leave while the pool is in use: said beforehand, cancelled, over kills, dead ones too. Real files are compared before
# and after, with two more disks lost at the end.
cd "$(dirname "$0")" || exit 1
# shellcheck source=tests/func/lib.sh
. ./lib.sh

[ -w /dev/fuse ] || { skip "remove" "no /dev/fuse"; exit 0; }
dfs() { "$dynamicfs" "$@"; }
sums() { (cd "$mnt" && find . -type f -print0 | LC_ALL=C sort -z | xargs -0r sha256sum); }
same() { echo 3 2>/dev/null >/proc/sys/vm/drop_caches; sums | cmp -s - "$work/sums"; }
lists() { dfs list-disks --pool "$pool" | grep -q "$1"; }
state_of() { dfs list-disks --pool "$pool" --json | tr -d '\n' | grep -oE "\"label\": \"$1\"[^}]*\"state\": \"[a-z]*\"" | grep -oE '[a-z]*"$' | tr -d '"'; }
remove() { dfs remove-disk --pool "$pool" --disk "$@"; }

make_pool || exit 1
start || exit 1
head -c 40M /dev/urandom >"$mnt/large"
for i in $(seq 150); do head -c $((i * 150)) /dev/urandom >"$mnt/file$i"; done
sync "$mnt"
sums >"$work/sums"
dfs set --pool "$pool" --background-rate unlimited >/dev/null

# ---- beforehand
check "six less one" eval 'remove disk6 --dry-run | grep -q "stored anew, over fewer disks"'
refuse "no such disk" 3 "cannot find a disk" remove nobody
for i in 7 8; do
	mkdir "$work/disk$i"
	check "disk$i is added" dfs add-disk --pool "$pool" --disk "$work/disk$i" --label "disk$i"
done
check "said beforehand" eval 'remove disk6 --dry-run | grep -q "Would remove disk disk6"'
check "and nothing was done" eval '! lists draining'

# ---- a kill in the middle, a cancel, and to the end
dfs set --pool "$pool" --background-rate 1M >/dev/null
check "it is begun" remove disk6
check "it is draining" lists draining
refuse "not twice" 1 "removed already" remove disk6
check "kill -9" kill -9 "$(daemon_pid "$pool")"
wait_for 10 daemon_gone "$pool"
umount -l "$mnt" 2>/dev/null || fusermount3 -uz "$mnt"
check "mounted again" start
check "draining still" lists draining
check "files read right" same
job=$(dfs jobs --pool "$pool" | sed -n 's/^\([0-9]*\)  drain.*/\1/p' | tail -1)
check "cancelled" dfs jobs --pool "$pool" cancel "$job"
check "it stays" eval '! lists draining'
check "files read right then" same
dfs set --pool "$pool" --background-rate unlimited >/dev/null
check "removed, to the end" remove disk6 --wait
check "it is not listed" eval '! lists disk6'
check "it says so itself" grep -q '"removed"' "$work/disk6/dynamicfs/disk.json"
check "files read right without it" same
check "its directory is free" dfs add-disk --pool "$pool" --disk "$work/disk6" --label again
stop
check "fsck finds nothing" dfs fsck --pool "$pool"

# ---- a dead one
rm -rf "$work/disk5/dynamicfs"
check "mounted without one" start
check "the dead one is removed" remove disk5 --wait
check "it is not listed either" eval '! lists disk5'
check "files read right all the same" same
stop
check "mounted once more" start
check "all is whole" eval 'dfs status --pool "$pool" | grep -q "all extents are whole"'

# ---- another one in its place
mkdir "$work/disk9"
refuse "no new one" 2 "new" dfs replace-disk --pool "$pool" --old disk2
check "said beforehand" dfs replace-disk --pool "$pool" --old disk2 --new "$work/disk9" --dry-run
check "nothing was done" eval '! lists disk9'
check "replaced, to the end" dfs replace-disk --pool "$pool" --old disk2 --new "$work/disk9" --label ninth --wait
check "the old one is gone" eval '! lists disk2'
check "the new one is there" lists ninth
check "files read right after it" same

# ---- fewer than RS 4+2 needs: what is stored so becomes narrower, and bears as much
check "six are left" remove again --wait
check "five are left" remove disk7 --wait
check "files read right on five" same
check "all is whole on five" eval 'wait_for 20 eval "dfs status --pool \"$pool\" | grep -q \"all extents are whole\""'

# ---- what has moved bears what was promised
stop
rm -rf "$work/disk1/dynamicfs" "$work/disk8/dynamicfs"
check "two more are lost" start -o force
check "files read right without them" same
stop
check "fsck finds no damage" dfs fsck --pool "$pool" --force
exit "$failed"
