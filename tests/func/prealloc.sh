#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
# fallocate: what it promised can be written however full the pool is, and is counted until then.
# shellcheck source=tests/func/lib.sh
. "$(dirname "$0")/lib.sh"

make_pool || exit 1
if [ ${#tmpfs_mounted[@]} -eq 0 ]; then
	skip prealloc "needs disks of a bounded size: tmpfs can't be mounted"
	exit 0
fi
start

available() { df --output=avail -B1 "$mnt" | tail -1; }
fallen_by() { sleep 0.3; [ $(($1 - $(available))) -ge "$2" ]; }
back_to() { [ "$(available)" -gt $(($1 - 8 * 1024 * 1024)) ]; }
blocks() { [ $(($(stat -c %b "$1") * 512)) -eq "$2" ]; }
status_says() { "$dynamicfs" status --pool "$pool" | grep -F "$1"; }
fill() { ! dd if=/dev/zero of="$mnt/$1" bs=64k 2>/dev/null; }
same() { cmp "$1" "$2"; }

mib=$((1024 * 1024))
all=$(available)
head -c $((40 * mib)) /dev/urandom >"$work/want"
check "space is set aside" fallocate -l 40M "$mnt/image"
touch "$mnt/log" "$mnt/more"
check "space is set aside beyond the end" fallocate -n -l 40M "$mnt/log"
check "the size is as asked" test "$(stat -c %s "$mnt/image") $(stat -c %s "$mnt/log")" = "$((40 * mib)) 0"
check "the blocks are counted" blocks "$mnt/image" $((40 * mib))
check "the blocks beyond the end are counted" blocks "$mnt/log" $((40 * mib))
check "df shows what is left" fallen_by "$all" $((80 * mib))
check "status shows what is set aside" status_says "80.0 MiB of that by fallocate"
refuse "more than there is" 1 "No space left" fallocate -n -l 100G "$mnt/more"
check "what was refused took nothing" blocks "$mnt/more" 0
check "others meet a full pool" fill filler
# what was dirty may take less once it is stored
wait_for 10 eval '! dd if="$work/want" of="$mnt/filler" bs=64k conv=notrunc,fsync oflag=append'
refuse "it is full" 1 "No space left" dd if="$work/want" of="$mnt/other" bs=1M count=1
kill -9 "$(daemon_pid "$pool")"
umount -l "$mnt"
check "it mounts after a kill" start
check "what was promised is written" dd if="$work/want" of="$mnt/image" bs=64k conv=notrunc,fsync
check "what was promised is appended, a block at a time" \
	dd if="$work/want" of="$mnt/log" bs=4k oflag=append conv=notrunc,fsync
check "a full pool unmounts" stop
check "it mounts again" start
check "all is there" same "$work/want" "$mnt/image"
check "all that was appended is there" same "$work/want" "$mnt/log"
rm -f "$mnt"/*
check "all comes back" wait_for 20 back_to "$all"
finish
