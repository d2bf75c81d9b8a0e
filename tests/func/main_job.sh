#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
# The main job: real trees and one large file on six disks of different sizes; remount, lose two disks,
# read, write, remount, read; a third disk lost costs only what had three fragments there.
#
# environment: DYNAMICFS (build/dynamicfs), MAIN_JOB_MIB (size of the large file, 512)
set -u
cd "$(dirname "$0")/../.." || exit 1
dfs=$(realpath "${DYNAMICFS:-build/dynamicfs}")
mib=${MAIN_JOB_MIB:-512}
if [ ! -w /dev/fuse ] || [ "$(id -u)" != 0 ]; then
	echo "skipped main_job: needs root and /dev/fuse"
	exit 0
fi
top=$(mktemp -d "${TMPDIR:-/tmp}/dfs-main-XXXXXX")
mnt=$top/mnt
failures=0

cleanup()
{
	mountpoint -q "$mnt" && umount -l "$mnt"
	sleep 0.5
	for i in 1 2 3 4 5 6; do
		mountpoint -q "$top/disk$i" && umount -l "$top/disk$i"
	done
	rm -rf --one-file-system "$top"
}
trap cleanup EXIT

ok() { echo "ok main_job_$1"; }
not_ok()
{
	echo "not ok main_job_$1: $2"
	failures=$((failures + 1))
}
must() # NAME COMMAND...
{
	local name=$1 out
	shift
	if out=$("$@" 2>&1); then
		ok "$name"
	else
		not_ok "$name" "exit $?: $(echo "$out" | tail -n 5 | tr '\n' ' ')"
		[ "$name" = mount ] && exit 1
	fi
}
remount()
{
	"$dfs" unmount --mountpoint "$mnt" && "$dfs" mount --pool "$top/pool" --mountpoint "$mnt"
}
same() { (cd "$mnt" && sha256sum --quiet --check "$top/sums"); }

mkdir "$mnt"
"$dfs" init --pool "$top/pool" >/dev/null || exit 1
# six filesystems of different sizes, so that losing one is losing a filesystem
n=0
for size in 700 800 1000 1200 1600 2000; do
	n=$((n + 1))
	mkdir "$top/disk$n"
	mount -t tmpfs -o "size=$((size + mib / 2))m" "dfs-disk$n" "$top/disk$n" || exit 1
	"$dfs" add-disk --pool "$top/pool" --disk "$top/disk$n" >/dev/null || exit 1
done
must mount "$dfs" mount --pool "$top/pool" --mountpoint "$mnt"

mkdir "$mnt/tree" && cp -a /usr/include "$mnt/tree/" && cp -a /usr/share/perl "$mnt/tree/" 2>/dev/null
head -c "${mib}M" /dev/urandom >"$top/large" && cp "$top/large" "$mnt/large" && rm "$top/large"
head -c 1048575 /dev/urandom >"$mnt/just-below" && head -c 1048577 /dev/urandom >"$mnt/just-above"
: >"$mnt/empty" && printf x >"$mnt/one"
sync
# the sums come from what was copied, and from the mount for what was made there
(cd "$mnt" && find . -type f -print0 | xargs -0 sha256sum) >"$top/sums"
must copy_equals_source diff -rq --no-dereference /usr/include "$mnt/tree/include"
must remount remount
must read_after_remount same
must listing_after_remount diff -rq --no-dereference /usr/include "$mnt/tree/include"

find "$top/disk2" -mindepth 1 -delete # emptied behind its back, while mounted
"$dfs" fail-disk --pool "$top/pool" --disk "$top/disk5" >/dev/null || not_ok fail_disk "exit $?"
echo 3 >/proc/sys/vm/drop_caches
must read_two_lost_mounted same
must write_two_lost cp -r /usr/include/linux "$mnt/after-loss"
must remount_two_lost remount
must read_two_lost_remounted same
must new_files_two_lost diff -rq /usr/include/linux "$mnt/after-loss"

# a third: some extents had three fragments on the lost disks, the others still read
"$dfs" unmount --mountpoint "$mnt" || not_ok unmount "exit $?"
find "$top/disk6" -mindepth 1 -delete
must mount_three_lost "$dfs" mount --pool "$top/pool" --mountpoint "$mnt"
good=0 bad=0 wrong=0
while read -r sum name; do
	if got=$(sha256sum "$mnt/$name" 2>/dev/null); then
		[ "${got%% *}" = "$sum" ] && good=$((good + 1)) || wrong=$((wrong + 1))
	else
		bad=$((bad + 1))
	fi
done < <(shuf -n 1000 --random-source=/dev/zero "$top/sums"; grep ' ./large$' "$top/sums")
if [ "$wrong" -eq 0 ] && [ "$good" -gt 0 ]; then
	ok three_lost_only_errors
else
	not_ok three_lost_only_errors "$good right, $bad refused, $wrong WRONG"
fi
if [ "$bad" -gt 0 ] && ! grep -q "/large" "$top/pool/log"; then
	not_ok lost_file_is_named "the log does not name /large"
else
	ok lost_file_is_named
fi
"$dfs" unmount --mountpoint "$mnt" || not_ok unmount_three_lost "exit $?"
[ "$failures" -eq 0 ]
