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
rm "$home/pool/index.room" # what is held for an opening: home_room.sh
dd if=/dev/zero of="$home/junk" bs=64k status=none 2>/dev/null
refuse "full: status" 1 "free on its filesystem|filesystem is full" dfs status --pool "$home/pool"
refuse "full: mount" 1 "(free on its filesystem|filesystem is full).*import --pool ELSEWHERE" \
	dfs mount --pool "$home/pool" --mountpoint "$mnt"
rm "$home/junk"
if chattr +i "$home/pool/index" 2>/dev/null; then
	refuse "immutable index: mount" 1 "its index .*permission denied" \
		dfs mount --pool "$home/pool" --mountpoint "$mnt"
	chattr -i "$home/pool/index"
fi
mount -t tmpfs -o ro dynamicfs-test "$home/pool/index"
refuse "index on a read-only filesystem: mount" 1 "its index .*read-only" \
	dfs mount --pool "$home/pool" --mountpoint "$mnt"
umount "$home/pool/index"
check "with room all is well" dfs mount --pool "$home/pool" --mountpoint "$mnt"
check "unmount" dfs unmount --mountpoint "$mnt"

# Its index is taken away, or can't be written, while it is mounted: nothing is added, what takes away works and lasts,
# and it goes on by itself where it can.
up() { dfs mount --pool "$home/pool" --mountpoint "$mnt" >/dev/null; }
status_is() { dfs status --pool "$home/pool" | grep -q "is $1"; }
files() { find "$mnt" -name 'f*' | wc -l; }
ill() # NAME WHAT: it is noticed, told, and only additions are refused
{
	check "$1: status says degraded" wait_for 5 status_is degraded
	check "$1: it says why" wait_for 5 sh -c "$dynamicfs status --pool $home/pool --json | grep -q 'can.t be written: $2'"
	refuse "$1: nothing is added" 1 "No space" mkdir "$mnt/d"
	left=$((left - 50))
	# shellcheck disable=SC2016
	check "$1: removing, renaming and truncating works" sh -c \
		'cd "$0" && ls f* | head -n 50 | xargs rm && truncate -s 10 f299 && mv f299 r && mv r f299 && sync .' "$mnt"
}
well() # NAME
{
	check "$1: it goes on by itself" wait_for 10 mkdir -p "$mnt/d"
	rmdir "$mnt/d"
	check "$1: status says healthy" wait_for 5 status_is healthy
}
up
left=300
for i in $(seq 300); do head -c 3000 /dev/zero >"$mnt/f$i"; done
check "sync" sync "$mnt"
mv "$home/pool/index" "$home/away"
ill "index moved away" "it, or the index"
mv "$home/away" "$home/pool/index"
well "index put back"
if chattr +i "$home/pool/index" 2>/dev/null; then
	ill "index immutable" "permission denied"
	chattr -i "$home/pool/index"
	well "index mutable"
fi
rm -rf "$home/pool/index"
ill "index removed" "it, or the index"
kill -9 "$(daemon_pid "$home/pool")"
umount -l "$mnt"
check "after a kill the next mount has everything" up
check "it has" test "$(files)" = "$left"
mv "$home/pool/index" "$home/away"
check "a disk is given up without the index" timeout 30 "$dynamicfs" fail-disk --pool "$home/pool" --disk disk3
check "removing goes on" sh -c "rm $mnt/f300 && sync $mnt"
refuse "the unmount says that the index lacks something, and nothing is lost" 0 "in the journal only.*nothing is lost" timeout 30 "$dynamicfs" unmount --mountpoint "$mnt"
check "the daemon ends" wait_for 10 daemon_gone "$home/pool"
check "the next mount has everything, too" up
check "it has it, too" test "$(files) $(stat -c %s "$mnt/f299")" = "$((left - 1)) 10"
rm -rf "$home/pool"
check "unmount without a pool directory" dfs unmount --mountpoint "$mnt"
check "the daemon ends then, too" wait_for 10 sh -c "$dynamicfs import --pool $home/pool --disk $work/disk1 $work/disk2"
check "an import has everything" up
check "it has it" test "$(files)" = "$((left - 1))"
check "unmount at the end" dfs unmount --mountpoint "$mnt"
umount -l "$home"

# Its filesystem breaks in the middle: the daemon outlives that.
truncate -s 64m "$work/image"
if mkfs.ext4 -q -F "$work/image" 2>/dev/null && mkdir "$work/broken" &&
	mount -o loop,errors=remount-ro "$work/image" "$work/broken" 2>/dev/null; then
	home=$work/broken
	dfs import --pool "$home/pool" --disk "$work/disk1" --disk "$work/disk2" >/dev/null
	up
	for i in $(seq 600); do head -c 3000 /dev/zero >"$mnt/f$i"; done
	check "sync before it breaks" sync "$mnt"
	sleep 1.5 # one that breaks while the index is being flushed ends the pool until the next mount (ROADMAP.md)
	loop=$(findmnt -no SOURCE "$home")
	echo 1 >"/sys/fs/ext4/${loop##*/}/trigger_fs_error"
	chmod 600 "$mnt/f600" # in a pool that rests it is not noticed, for nothing is written there
	ill "filesystem broken" ""
	pid=$(daemon_pid "$home/pool")
	refuse "the unmount says what is true, though nothing can be noted there" 0 \
		"in the journal only.*nothing is lost" timeout 30 "$dynamicfs" unmount --mountpoint "$mnt"
	check "the daemon ends on a broken filesystem" wait_for 10 sh -c "! kill -0 $pid"
	umount -l "$home"
	check "fsck.ext4" sh -c "e2fsck -fy $work/image; [ \$? -le 2 ]"
	mount -o loop "$work/image" "$home"
	check "mended, the next mount has everything" up
	check "it has all of it" test "$(files)" = 550
	check "unmount after it was mended" dfs unmount --mountpoint "$mnt"
	umount -l "$home"
else
	skip "a pool directory on a filesystem that breaks" "no loop device"
fi
exit "$failed"
