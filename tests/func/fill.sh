#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
# Full pools: what was accepted is kept, deletions work and last, also when the daemon is killed; two disks
# may be lost then. And a full filesystem under the pool directory: nothing is lost, it is said, and all goes
# on when there is room.
#
# environment: FILL_SIZES (4000 4200), bytes of a file in each filling; FILL_MIB (32), of each of six disks
# shellcheck source=tests/func/lib.sh
. "$(dirname "$0")/lib.sh"

here=$(cd "$(dirname "$0")" && pwd)
sizes=${FILL_SIZES-4000 4200}
mib=${FILL_MIB:-32}

if [ "$(id -u)" -ne 0 ]; then
	skip fill "needs root for small filesystems"
	exit 0
fi

small_tmpfs()
{
	mkdir -p "$1"
	mount -t tmpfs -o "size=$2" dynamicfs-test "$1" && tmpfs_mounted+=("$1")
}

files() { find "$mnt" -type f | wc -l; }
is_empty() { [ "$(files)" -eq 0 ]; }
readable() { python3 "$here/_fill.py" check "$mnt" "$1" "$2"; }
delete_all() { find "$mnt" -mindepth 1 -maxdepth 1 -exec rm -rf {} +; }

mkdir -p "$mnt"
"$dynamicfs" init --pool "$pool" >/dev/null
for i in 1 2 3 4 5 6; do
	small_tmpfs "$work/disk$i" "${mib}m"
	"$dynamicfs" add-disk --pool "$pool" --disk "$work/disk$i" --label "disk$i" >/dev/null
done
start
for size in $sizes; do
	n=$(python3 "$here/_fill.py" fill "$mnt" "$size" 2>/dev/null)
	echo "# $n files of $size bytes: $((n * size >> 20)) of $((6 * mib)) MiB"
	check "a pool full of $size bytes is stored" sync "$mnt"
	kill -9 "$(daemon_pid "$pool")"
	umount -l "$mnt"
	wait_for 10 daemon_gone "$pool"
	check "a full pool of $size bytes mounts after a kill" start
	check "all of $size bytes is there after a kill" readable "$size" "$n"
	check "all of $size bytes can be deleted" delete_all
	check "deleting $size bytes is stored" sync "$mnt"
	check "an empty pool unmounts ($size)" stop
	check "it mounts again ($size)" start
	check "nothing is back ($size)" is_empty
done
n=$(python3 "$here/_fill.py" fill "$mnt" 50000 2>/dev/null)
check "a pool full of 50000 bytes is stored" sync "$mnt"
check "a full pool unmounts" stop
umount -l "$work/disk1" "$work/disk2"
check "a full pool mounts without two disks" start
check "all is readable without two disks" readable 50000 "$n"
check "a full pool without two disks unmounts" stop

# ---- the filesystem of the pool directory ----
small_tmpfs "$work/small" 48m
pool=$work/small/pool
"$dynamicfs" init --pool "$pool" >/dev/null
for i in 3 4 5 6; do
	small_tmpfs "$work/other$i" 100m
	"$dynamicfs" add-disk --pool "$pool" --disk "$work/other$i" >/dev/null
done
start
n=$(python3 "$here/_fill.py" fill "$mnt" 2000 300)
check "300 files go into a pool with a small pool directory" test "$n" -eq 300
dd if=/dev/zero of="$work/small/junk" bs=64k status=none 2>/dev/null
sleep 0.5 # how full it is is asked now and then
refuse "nothing is added when the pool directory is full" 1 "No space left" mkdir "$mnt/more"
check "deleting works when the pool directory is full" rm "$mnt/000/000299"
"$dynamicfs" status --pool "$pool" >"$work/status" 2>&1
check "status says that the pool directory is full" grep -qi "filesystem of the pool dir" "$work/status"
refuse "and not that all is well" 1 "" grep -q "is healthy" "$work/status"
check "what was changed is stored meanwhile" sync "$mnt"
rm "$work/small/junk"
check "it goes on when there is room" wait_for 10 mkdir "$mnt/more"
check "all is there" readable 2000 299
finish
