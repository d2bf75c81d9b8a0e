#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
# A pool directory on a filesystem that can't hold it: the command says what is wrong with it.
if [ "$(id -u)" -eq 0 ] && [ -z "${IN_OWN_NAMESPACE:-}" ] && unshare -m true 2>/dev/null; then
	IN_OWN_NAMESPACE=1 exec unshare -m bash "$0"
fi
. "$(dirname "$0")/lib.sh"
if [ "$(id -u)" -ne 0 ] || ! unshare -m true 2>/dev/null; then
	skip "pool directories" "needs root"
	exit 0
fi

dfs() { "$dynamicfs" "$@"; }
home=$work/home
remake()
{
	mountpoint -q "$home" && umount -l "$home"
	mkdir -p "$home"
	mount -t tmpfs "$@" dynamicfs-test "$home"
}
make_disks "$work"
mkdir "$mnt"
remake -o size=1m
refuse "no room" 1 "1024 KiB are free" dfs init --pool "$home/pool"
check "nothing is left there" test ! -e "$home/pool"
remake -o size=64m,nr_inodes=3
refuse "no inodes" 1 "full \(or out of inodes" dfs init --pool "$home/pool"
check "nothing is left there, either" test -z "$(ls -A "$home")"

remake -o size=100m
dfs init --pool "$home/pool" >/dev/null
for i in 1 2 3; do dfs add-disk --pool "$home/pool" --disk "$work/disk$i" >/dev/null; done
mount -o remount,ro "$home"
refuse "read-only: status" 1 "mounted read-only" dfs status --pool "$home/pool"
refuse "read-only: mount" 1 "mounted read-only" dfs mount --pool "$home/pool" --mountpoint "$mnt"
refuse "read-only: mount -r" 1 "mounted read-only" \
	dfs mount --pool "$home/pool" --mountpoint "$mnt" -r
refuse "read-only: set" 1 "mounted read-only" dfs set --pool "$home/pool" --copies 2
refuse "read-only: init" 1 "read-only" dfs init --pool "$home/other"
mount -o remount,rw "$home"
dd if=/dev/zero of="$home/junk" bs=64k status=none 2>/dev/null
refuse "full: status" 1 "free on its filesystem|filesystem is full" dfs status --pool "$home/pool"
refuse "full: mount" 1 "free on its filesystem|filesystem is full" \
	dfs mount --pool "$home/pool" --mountpoint "$mnt"
rm "$home/junk"
check "with room all is well" dfs mount --pool "$home/pool" --mountpoint "$mnt"
check "unmount" dfs unmount --mountpoint "$mnt"

# its index is taken away while it is mounted: nothing waits for that, and nothing is lost
up() { dfs mount --pool "$home/pool" --mountpoint "$mnt" >/dev/null; }
up
for i in $(seq 300); do head -c 5000 /dev/zero >"$mnt/f$i"; done
check "sync" sync "$mnt"
mv "$home/pool/index" "$home/away"
check "a disk is given up without the index" timeout 30 "$dynamicfs" fail-disk --pool "$home/pool" --disk disk3
check "changes go on" sh -c "echo v1 >$mnt/f && sync $mnt/f"
refuse "the unmount says that the index lacks something, and nothing is lost" 0 "in the journal only.*nothing is lost" timeout 30 "$dynamicfs" unmount --mountpoint "$mnt"
check "the daemon ends" wait_for 10 daemon_gone "$home/pool"
check "the next mount has everything" up
check "it has" test "$(ls "$mnt" | wc -l) $(cat "$mnt/f")" = "301 v1"
rm -rf "$home/pool"
check "unmount without a pool directory" dfs unmount --mountpoint "$mnt"
check "the daemon ends then, too" wait_for 10 sh -c "$dynamicfs import --pool $home/pool --disk $work/disk1 $work/disk2"
check "an import has everything" up
check "it has it" test "$(cat "$mnt/f")" = v1
check "unmount at the end" dfs unmount --mountpoint "$mnt"
umount -l "$home"
exit "$failed"
