#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
# rescue beside metadata that is older than the files' bytes (all disks' meta/ set back): names and files of the old state as they were
# then, and with --scan what only records tell of, beside them.
. "$(dirname "$0")/lib.sh"

rescue()
{
	local to=$1 i

	shift
	# shellcheck disable=SC2046
	"$dynamicfs" rescue $(for i in 1 2 3 5 6; do echo "--disk $work/disk$i"; done) --to "$to" "$@"
}

make_pool || exit 1
start || exit 1
head -c 3M /dev/urandom >"$mnt/a"
head -c 2M /dev/urandom >"$mnt/b"
cp "$mnt/a" "$work/a.old"
cp "$mnt/b" "$work/b"
stop
for i in 1 2 3 4 5 6; do cp -a "$work/disk$i/dynamicfs/meta" "$work/meta$i"; done
start
head -c 1M /dev/urandom >"$work/part"
dd if="$work/part" of="$mnt/a" bs=1M conv=notrunc status=none
head -c 3M /dev/urandom >"$mnt/new"
sync "$mnt"
cp "$mnt/new" "$work/new"
a=$(stat -c %i "$mnt/a")
new=$(stat -c %i "$mnt/new")
kill -9 "$(daemon_pid "$pool")"
wait_for 10 daemon_gone "$pool"
umount -l "$mnt" 2>/dev/null || fusermount3 -uz "$mnt"
for i in 1 2 3 4 5 6; do
	rm -rf "$work/disk$i/dynamicfs/meta"
	mv "$work/meta$i" "$work/disk$i/dynamicfs/meta"
done
check "what the metadata tells of" rescue "$work/r1"
check "is as it was then" cmp "$work/r1/files/a" "$work/a.old"
check "also what is the same now" cmp "$work/r1/files/b" "$work/b"
check "and nothing else" test "$(ls "$work/r1")" = files
check "with --scan" rescue "$work/r2" --scan
check "the same" diff -r "$work/r1/files" "$work/r2/files"
check "and a file that is newer than it" cmp "$work/r2/unnamed/$new-newer" "$work/new"
check "and the part of one that is" cmp "$work/r2/unnamed/$a-newer" "$work/part"
check "and nothing that it knows" test "$(ls "$work/r2/unnamed" | wc -l)" -eq 2
exit "$failed"
