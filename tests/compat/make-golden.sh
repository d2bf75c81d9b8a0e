#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
# Makes the golden pool of this format version: the disks, as a killed daemon left them, and what
# must be read from them. Run it once for each version of the format, by hand; never replace an
# archive that has been released.
#   tests/compat/make-golden.sh ARCHIVE       DYNAMICFS names the program (build/dynamicfs)
set -eu

repo=$(cd "$(dirname "$0")/../.." && pwd)
dfs=$(realpath "${DYNAMICFS:-$repo/build/dynamicfs}")
archive=$(realpath -m "$1")
top=/tmp/dynamicfs-golden # disks remember where they were: the same place each time
mnt=$top/mnt
rm -rf "$top"
mkdir -p "$mnt" "$top/expected"

# Text that packs well, in which no two blocks are equal.
text() { # SEED BYTES
	seq -f "line $1 %08.0f of a golden file of DynamicFS" 1 1000000 | head -c "$2"
}

mount_pool() { "$dfs" mount --pool "$top/pool" --mountpoint "$mnt"; }

"$dfs" init --pool "$top/pool"
for i in 1 2 3 4 5 6; do
	mkdir "$top/disk$i"
	"$dfs" add-disk --pool "$top/pool" --disk "$top/disk$i" --label "golden$i"
done
mount_pool

cd "$mnt"
: >empty
text a 1 >one-byte
text b 4096 >inline
text c 4097 >small
text d $((200 * 1024)) >copies
text e $((1024 * 1024)) >one-extent
text f $((2 * 1024 * 1024 + 12345)) >coded
text g 100000 >overwritten
text h 5000 | dd of=overwritten bs=1 seek=30000 conv=notrunc status=none
text i 70000 >./cut && truncate -s 33333 cut
text j 3000 | dd of=sparse bs=1 seek=$((40 * 1024 * 1024)) conv=notrunc status=none
text k 300000 >punched && fallocate -p -o 65536 -l 131072 punched
fallocate -l 3M preallocated && text p 50000 | dd of=preallocated bs=1 seek=700000 conv=notrunc status=none
mkdir -p dir/below "dir/name with blanks" many
text l 10000 >"dir/name with blanks/Grüße"
printf '\377\376' >"$(printf 'dir/not-utf8-\377')"
ln -s ../one-byte dir/link
ln inline dir/below/hard-link
mknod dir/fifo p
mkdir -m 2751 dir/setgid
for i in $(seq 200); do echo "$i" >"many/entry-$i"; done
for i in $(seq 1 3 200); do rm "many/entry-$i"; done
chmod 4711 small
touch -d '2001-02-03 04:05:06.789012345 UTC' copies
setfattr -n user.golden -v "a value" coded
text m 50000 >deleted && sync && rm deleted
cd /
"$dfs" unmount --mountpoint "$mnt"

# The rest is in the journal only: the daemon dies before a checkpoint.
mount_pool
text n 123456 >"$mnt/journal-only"
mv "$mnt/one-byte" "$mnt/dir/moved"
echo replaced >"$mnt/new" && mv "$mnt/new" "$mnt/cut"
sync "$mnt/journal-only" "$mnt/cut" "$mnt/dir" # fsync: everything before goes along
(cd "$mnt" && find . -type f -print0 | sort -z | xargs -0 sha256sum) >"$top/expected/sums"
"$repo/tests/compat/listing.sh" "$mnt" >"$top/expected/listing"
kill -9 "$(sed -n 's/.*"pid": *\([0-9]*\).*/\1/p' "$top/pool/mounted")"
umount -l "$mnt"
sleep 1

cd "$top"
tar --sparse --sort=name --owner=0 --group=0 --numeric-owner -cf - disk? expected |
	zstd -q -19 -f -o "$archive"
cd /
rm -rf "$top"
ls -l "$archive"
