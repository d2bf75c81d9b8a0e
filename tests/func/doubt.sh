#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
# Damage that can't be repaired while the other disks are full or read-only: it is remembered, counts until it is repaired,
# and no other disk is given up meanwhile.
. "$(dirname "$0")/lib.sh"

if [ "$(id -u)" -ne 0 ]; then
	skip "doubt" "a disk can be made read-only by root alone"
	exit 0
fi
dfs() { "$dynamicfs" "$@"; }
says() { dfs status --pool "$pool" | grep -q -- "$1"; }
same_files() { (cd "$mnt" && md5sum --quiet -c "$work/sums"); }

mkdir -p "$mnt"
dfs init --pool "$pool" --copies 3 >/dev/null
for i in 1 2 3; do
	mkdir "$work/disk$i"
	mount -t tmpfs -o size=300m dynamicfs-test "$work/disk$i" && tmpfs_mounted+=("$work/disk$i")
	dfs add-disk --pool "$pool" --disk "$work/disk$i" >/dev/null 2>&1
done
[ "${#tmpfs_mounted[@]}" -eq 3 ] || { skip "doubt" "tmpfs can't be mounted"; exit 0; }
check "mount" start
for i in $(seq 9); do head -c 200000 /dev/urandom >"$mnt/f$i"; done
(cd "$mnt" && md5sum ./*) >"$work/sums"
check "unmount" stop
for segment in "$work"/disk1/dynamicfs/segments/*; do
	dd if=/dev/zero of="$segment" bs=1k count=3000 conv=notrunc 2>/dev/null
done
mount -o remount,ro "$work/disk1"
check "mount with a damaged disk that is read-only" start
check "all files are read" same_files
refuse "a scrub meets what reads of other disks did not" 5 "damage" dfs scrub --pool "$pool" --wait
check "what is damaged there counts as missing" wait_for 10 says "9 of 9 extents lack fragments"
check "unmount with damage" stop
mount -o remount,rw "$work/disk1"
check "mount when it can be repaired" start
check "what was damaged is written anew" wait_for 15 says "all extents are whole: 2 more disks may be lost"
check "fail-disk" dfs fail-disk --pool "$pool" --disk "$work/disk2"
check "fail-disk of another" dfs fail-disk --pool "$pool" --disk "$work/disk3"
check "all files are read from the disk that was damaged" same_files
finish
