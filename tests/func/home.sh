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
umount -l "$home"
exit "$failed"
