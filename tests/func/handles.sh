#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
# Node ids are inode numbers: file handles stay good whatever the kernel and the daemon have forgotten, and across mounts; what
# has no name any more answers as long as somebody holds it; memory is bounded, and follows what the kernel forgets.
. "$(dirname "$0")/lib.sh"

py() { python3 "$(dirname "$0")/_handles.py" "$@"; }
forget() { sync "$mnt"; echo 2 >/proc/sys/vm/drop_caches; }
figure() { "$dynamicfs" metrics --pool "$pool" | awk -v n="dynamicfs_$1" '$1 == n { print $2 }'; }
known_below() { [ "$(figure inodes_known)" -lt "$1" ]; }
bounded() { [ "$(figure inodes_cached)" -le $(($(figure inodes_pinned) + 8)) ]; }

fill()
{
	local i

	mkdir -p "$mnt/tree/a/b/c" "$mnt/tree/d"
	for i in $(seq 30); do echo "content $i" >"$mnt/tree/a/b/c/file$i"; done
	echo one >"$mnt/tree/d/one"
	ln "$mnt/tree/d/one" "$mnt/tree/two"
	ln -s d/one "$mnt/tree/link"
	mkfifo "$mnt/tree/fifo"
	chmod 4755 "$mnt/tree/d/one"
	head -c 300000 /dev/urandom >"$mnt/tree/large"
}

make_pool && start -o inode_cache=8 || { not_ok handles "no pool could be mounted"; exit 1; }
check "what has no name and is held answers" py gone "$mnt"
mkdir "$mnt/listed"
for i in 1 2 3 4 5; do echo "$i" >"$mnt/listed/$i"; done
if [ "$(id -u)" -ne 0 ] || [ ! -w /proc/sys/vm/drop_caches ]; then
	skip handles "needs root"
	finish
fi
forget
check "so does what a listing has shown" py listed "$mnt/listed"
rm -rf "$mnt"/other* "$mnt/listed"
fill
check "handles are taken" py take "$mnt/tree" "$work/handles"
check "they open what they are of" py open "$mnt" "$work/handles"
check "the cache of inodes keeps its bound" bounded
forget
check "the kernel forgets, and so does the daemon" wait_for 10 known_below 20
check "handles outlive that" py open "$mnt" "$work/handles"
mv "$mnt/tree/a/b" "$mnt/tree/d/moved"
py take "$mnt/tree" "$work/handles"
forget
check "a directory that has moved has another parent" py open "$mnt" "$work/handles"
check "the pool is unmounted" stop
start
check "handles outlive the daemon" py open "$mnt" "$work/handles"
py take "$mnt/tree/d" "$work/deleted"
rm -r "$mnt/tree/d" "$mnt/tree/two"
forget
check "one of a deleted inode is stale" py stale "$mnt" "$work/deleted"
mkdir "$mnt/tree/d"
echo one >"$mnt/tree/d/one"
stop
start
for i in $(seq 60); do echo "$i" >"$mnt/tree/d/new$i"; done
check "and stays so, whatever is made later" py stale "$mnt" "$work/deleted"
finish
