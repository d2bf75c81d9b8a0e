#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
# An image of an ext4 filesystem in a file of the mount, through a loop device: written, unmounted, checked, compared.
. "$(dirname "$0")/_lib.sh"

inner=$work/inner
image=$mnt/image

trap 'umount -l "$inner" 2>/dev/null; cleanup' EXIT

# over OPTION...: mounts the image; the device goes with the mount
over()
{
	local device code

	device=$(losetup -f --show "$@" "$image") || return
	losetup -n -O DIO "$device" >"$work/dio"
	mount "$device" "$inner"
	code=$?
	losetup -d "$device"
	return $code
}
loop_gone() { [ -z "$(losetup -j "$image")" ]; }
off() { umount "$inner" && wait_for 20 loop_gone; }

fill() { cp -r "$repo/src" "$inner/" && special "$inner/tree" && head -c $((50000000 * more)) /dev/urandom >"$inner/bulk" && rm -rf "$inner/src/file" && listing "$inner" >"$work/listing"; }
same() { listing "$inner" | diff "$work/listing" -; }
checked() { e2fsck -fn "$image"; }

# use NAME OPTION...
use()
{
	local name=$1

	shift
	truncate -s $((600 * more))M "$image" && mkfs.ext4 -q -F "$image" && over "$@" || { not_ok "$name: mounted" "losetup or mount failed"; return; }
	if [ "$#" -gt 0 ] && ! grep -q 1 "$work/dio"; then
		skip "$name" "the loop device does without direct I/O here"
		off
		return
	fi
	check "$name: written" fill
	check "$name: unmounted" off
	check "$name: e2fsck -f" checked
	stop
	start
	check "$name: e2fsck -f after a remount" checked
	check "$name: mounted again" over "$@"
	check "$name: the same" same
	check "$name: unmounted again" off
	check "$name: e2fsck -f at the end" checked
	rm -f "$image"
}

# What the inner filesystem gives up, the file gives up as well.
trimmed()
{
	local before

	truncate -s 300M "$image" && mkfs.ext4 -q -F "$image" && over && head -c 100000000 /dev/urandom >"$inner/bulk" && off && before=$(du -k "$image" | cut -f 1) &&
		over && rm "$inner/bulk" && sync "$inner" && fstrim "$inner" && off && e2fsck -fn "$image" && echo "$before KiB, then $(du -k "$image" | cut -f 1)" &&
		[ "$(du -k "$image" | cut -f 1)" -lt $((before - 90000)) ]
}

need image losetup mkfs.ext4 e2fsck setfacl setfattr
losetup -f >/dev/null 2>&1 && grep -qw ext4 /proc/filesystems || { skip image "there are no loop devices, or no ext4 in the kernel"; exit 0; }
pool_for image
mkdir "$inner"
use "an ext4 image"
use "an ext4 image, direct I/O" --direct-io=on
with fstrim "fstrim gives the space back" trimmed
finish
