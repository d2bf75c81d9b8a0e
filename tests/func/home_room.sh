#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
# A pool directory whose filesystem is full can be opened after a crash (C5): filled by somebody else, or by the pool
# itself, whose disks are on the same filesystem. Then deleting works, and what was freed can be used.
if [ "$(id -u)" -eq 0 ] && [ -z "${IN_OWN_NAMESPACE:-}" ] && unshare -m true 2>/dev/null; then
	IN_OWN_NAMESPACE=1 exec unshare -m bash "$0"
fi
. "$(dirname "$0")/lib.sh"
if [ "$(id -u)" -ne 0 ] || ! unshare -m true 2>/dev/null; then
	skip "room in pool directories" "needs root"
	exit 0
fi

fs=$work/fs
pool=$fs/pool
up() { start; }
crash() { kill -9 "$(daemon_pid "$pool")" && umount -l "$mnt"; }
kib_free() { df --output=avail "$1" | tail -n 1; }
make_fs() # TYPE MIB
{
	mkdir -p "$fs"
	[ "$1" != tmpfs ] || { mount -t tmpfs -o "size=$2m" dynamicfs-test "$fs"; return; }
	rm -f "$work/image"
	truncate -s "$2m" "$work/image"
	"mkfs.$1" -q "$work/image" >/dev/null 2>&1 && mount -o loop "$work/image" "$fs" 2>/dev/null
}
make_on() # DISK...
{
	"$dynamicfs" init --pool "$pool" >/dev/null
	for dir in "$@"; do
		mkdir -p "$dir"
		"$dynamicfs" add-disk --pool "$pool" --disk "$dir" >/dev/null 2>&1
	done
}
# What df tells can be written: a checkpoint may have made room since, and what was found full is so for a moment.
agrees()
{
	local n

	for n in $(seq 40); do
		[ $(($(stat -f -c '%a * %S' "$mnt"))) -ge 3000000 ] || return 0
		wait_for 2 dd if=/dev/zero of="$mnt/more$n" bs=400000 count=1 || return 1
	done
	return 1
}
opens() # NAME
{
	local left

	check "$1: it opens after a crash" up || return
	left=$(find "$mnt" -type f | wc -l)
	check "$1: status tells" "$dynamicfs" status --pool "$pool"
	check "$1: deleting and renaming works" sh -c "rm $mnt/f1 $mnt/f2 && mv $mnt/f3 $mnt/g && sync $mnt"
	crash
	check "$1: it opens after another one" up
	check "$1: what was done has lasted" \
		sh -c "[ -e $mnt/g ] && [ \$(find $mnt -type f | wc -l) -eq $((left - 2)) ]"
}

# accessed FILE yes|no: does reading it change its time of last access, which is due?
accessed()
{
	local before after

	before=$(stat -c %x "$1")
	sleep 0.05
	cat "$1" >/dev/null || return 1
	after=$(stat -c %x "$1")
	[ "$([ "$before" = "$after" ] && echo no || echo yes)" = "$2" ]
}

# Others take all of it: again, when the pool has just given some of it back.
fill_up()
{
	local i

	for i in $(seq 20); do
		dd if=/dev/zero of="$fs/junk$i" bs=64k status=none 2>/dev/null
		dd if=/dev/zero of="$fs/junk$i.rest" bs=512 status=none 2>/dev/null
		[ "$(kib_free "$fs")" -ge 64 ] || return 0
	done
	return 1
}

make_disks "$work"
mkdir "$mnt"
for type in ext4 tmpfs; do
	if ! make_fs "$type" 64; then
		skip "a full pool directory on $type" "can't be made here"
		continue
	fi
	rm -rf "$work"/disk[123]/*
	make_on "$work/disk1" "$work/disk2" "$work/disk3"
	up
	for i in $(seq 200); do head -c 3000 /dev/zero >"$mnt/f$i"; done
	check "$type, others fill it: sync" sync "$mnt"
	check "$type, others fill it: nothing is free" fill_up
	check "$type, others fill it: no room is told" wait_for 5 sh -c \
		"! mktemp -q $mnt/new.XXXXXX && [ \$(stat -f -c %a $mnt) -eq 0 ]"
	check "$type, others fill it: what is read stays as it was" accessed "$mnt/f9" no
	crash
	for i in 3 4 5; do
		check "$type, others fill it: status of one that is not mounted" "$dynamicfs" status --pool "$pool"
		dd if=/dev/zero of="$fs/junk$i" bs=512 status=none 2>/dev/null
	done
	opens "$type, others fill it, and again"
	rm "$fs"/junk*
	check "$type, others fill it: it goes on when there is room" wait_for 5 mktemp -q "$mnt/new.XXXXXX"
	check "$type, others fill it: times of access are kept again" accessed "$mnt/f9" yes
	check "$type, others fill it: room is held again" wait_for 5 sh -c \
		"[ \$(stat -c %s $pool/index.room) -eq $((8 << 20)) ]"
	stop
	check "$type, others fill it: fsck" "$dynamicfs" fsck --pool "$pool"
	umount "$fs"
done

for type in ext4 tmpfs; do
	if ! make_fs "$type" 200; then
		skip "a pool directory beside disks on $type" "can't be made here"
		continue
	fi
	make_on "$fs/d1" "$fs/d2" "$fs/d3"
	up
	i=0
	while [ "$i" -lt 500 ] && head -c 400000 /dev/zero 2>/dev/null >"$mnt/f$i"; do i=$((i + 1)); done 2>/dev/null
	check "$type, the pool fills it: something was stored" test "$i" -gt 20
	check "$type, the pool fills it: sync" sync "$mnt"
	check "$type, the pool fills it: it is full, not degraded" sh -c \
		"$dynamicfs status --pool $pool | head -n 1 | grep -q 'is healthy'"
	check "$type, the pool fills it: df and write() agree" agrees
	crash
	opens "$type, the pool fills it"
	rm -f "$mnt"/f?
	check "$type, the pool fills it: what is freed can be used" wait_for 10 mktemp -q "$mnt/new.XXXXXX"
	stop
	check "$type, the pool fills it: fsck" "$dynamicfs" fsck --pool "$pool"
	umount "$fs"
done
exit "$failed"
