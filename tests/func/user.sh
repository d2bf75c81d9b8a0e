#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
# Everything as an ordinary user: the pool, the disks, and a mount through fusermount3.
if [ "$(id -u)" -eq 0 ] && [ -z "${IN_OWN_NAMESPACE:-}" ] && unshare -m true 2>/dev/null; then
	IN_OWN_NAMESPACE=1 exec unshare -m bash "$0"
fi
. "$(dirname "$0")/lib.sh"

user() { "$@"; }
program=$dynamicfs
if [ "$(id -u)" -eq 0 ]; then
	user() { setpriv --reuid 65534 --regid 65534 --clear-groups env HOME=/ "$@"; }
	program=$work/dynamicfs # the build directory may be root's alone
	cp "$dynamicfs" "$program"
	# Some machines let only root open the device. Here, in this namespace, everybody may.
	mknod -m 666 "$work/fuse" c 10 229 && mount --bind "$work/fuse" /dev/fuse
fi
if [ ! -u "$(command -v fusermount3)" ] || ! user test -w /dev/fuse; then
	skip "ordinary user" "needs fusermount3 with its setuid bit, and /dev/fuse"
	exit 0
fi

mkdir -p "$work/home" "$mnt"
pool=$work/home/pool mnt=$work/home/mnt
mkdir "$mnt" "$work/home/disk1" "$work/home/disk2"
[ "$(id -u)" -ne 0 ] || chown -R 65534:65534 "$work/home"
mount_it() { user "$program" mount --pool "$pool" --mountpoint "$mnt" "$@"; }
unmount_it() { user "$program" unmount --mountpoint "$mnt"; }

check "init" user "$program" init --pool "$pool"
check "add a disk" user "$program" add-disk --pool "$pool" --disk "$work/home/disk1"
check "add another" user "$program" add-disk --pool "$pool" --disk "$work/home/disk2"
check "mount" mount_it
check "write" user sh -c "mkdir $mnt/d && echo mine >$mnt/d/file"
if [ "$(id -u)" -eq 0 ]; then
	refuse "others can't look" 2 "Permission denied" ls "$mnt"
	check "the root directory is the user's" test "$(user stat -c %u "$mnt")" = 65534
fi
user sh -c "echo \$\$ >$work/home/sleeper; exec sleep 60 <$mnt/d/file" &
check "a file is open" wait_for 10 test -s "$work/home/sleeper"
sleep 0.1
refuse "unmount while a file is open" 4 "open" unmount_it
kill "$(cat "$work/home/sleeper")"
wait
check "unmount" unmount_it
check "it is gone" eval "! is_mounted '$mnt'"
check "mount again" mount_it -o dirty_limit=32M
check "read" user grep -q mine "$mnt/d/file"
check "status, mounted" user "$program" status --pool "$pool"
user kill "$(daemon_pid "$pool")"
check "SIGTERM" wait_for 20 daemon_gone "$pool"
check "the mount is gone after SIGTERM" eval "! is_mounted '$mnt'"
mount_it >/dev/null
user fusermount3 -u "$mnt"
check "fusermount3 -u" wait_for 20 daemon_gone "$pool"
mount_it >/dev/null
user kill -9 "$(daemon_pid "$pool")"
wait_for 10 daemon_gone "$pool"
check "mount over a dead mount" mount_it
check "read after kill -9" user grep -q mine "$mnt/d/file"
unmount_it >/dev/null
if [ "$(id -u)" -eq 0 ]; then
	mount_it >/dev/null
	check "root may unmount it" "$program" unmount --mountpoint "$mnt"

	# Root at work on the user's pool acts as that user.
	roots() { find "$work/home" -uid 0 | head -3; }
	check "root sets" "$program" set --pool "$pool" --copies 2
	mkdir "$work/home/disk3" "$work/mine" && chown 65534:65534 "$work/home/disk3"
	check "root adds the user's disk" "$program" add-disk --pool "$pool" --disk "$work/home/disk3"
	refuse "a disk that the user can't write" 1 "as user 65534" \
		"$program" add-disk --pool "$pool" --disk "$work/mine"
	check "root checks" "$program" fsck --pool "$pool"
	check "no file is root's" test -z "$(roots)"
	mkdir -m 700 "$work/roots-own" && mkdir "$work/roots-own/mnt"
	check "root mounts, where the user has no way" \
		"$program" mount --pool "$pool" --mountpoint "$work/roots-own/mnt"
	check "all may look" test -d "$work/roots-own/mnt/d"
	check "the user may ask" user "$program" status --pool "$pool"
	head -c 9000000 /dev/urandom >"$work/roots-own/mnt/file"
	chown 12345 "$work/roots-own/mnt/file"
	check "root unmounts" "$program" unmount --mountpoint "$work/roots-own/mnt"
	check "no file is root's after a mount" test -z "$(roots)"
	check "the user mounts" mount_it
	check "the user unmounts" unmount_it
	check "root fails a disk" "$program" fail-disk --pool "$pool" --disk disk3
	mkdir "$work/home/again" && chown 65534:65534 "$work/home/again"
	check "root imports the user's disks" "$program" import --pool "$work/home/again" \
		--disk "$work/home/disk1" "$work/home/disk2" --force
	check "no file is root's after an import" test -z "$(roots)"
fi
check "fsck" user "$program" fsck --pool "$pool"
exit "$failed"
