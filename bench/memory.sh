#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
# What the daemon takes in memory when the kernel knows many files, and once it has forgotten them.
#
#   bench/memory.sh [FILES]      700000 without; as root, for /proc/sys/vm/drop_caches. MOUNT_OPTIONS: of the mount
#
# Six disks on tmpfs, empty files, 1,000 in each directory. Mounted anew before it is measured; find looks each name up, du
# asks for all attributes.
set -eu

repo=$(cd "$(dirname "$0")/.." && pwd)
dynamicfs=${DYNAMICFS:-$repo/build/dynamicfs}
files=${1:-700000}
work=$(mktemp -d "${TMPDIR:-/dev/shm}/dynamicfs-memory.XXXXXX")
mnt=$work/mnt

cleanup()
{
	"$dynamicfs" unmount --mountpoint "$mnt" >/dev/null 2>&1 || true
	rm -rf "$work"
}
trap cleanup EXIT

start() { "$dynamicfs" mount --pool "$work/pool" --mountpoint "$mnt" ${MOUNT_OPTIONS:+-o "$MOUNT_OPTIONS"} >/dev/null; }
daemon() { sed -n 's/.*"pid": *\([0-9]*\).*/\1/p' "$work/pool/mounted"; }
figure() { "$dynamicfs" metrics --pool "$work/pool" | awk -v n="dynamicfs_$1" '$1 == n { print $2 }'; }

report()
{
	awk -v when="$1" -v cached="$(figure inodes_cached)" -v known="$(figure inodes_known)" '
		/^(VmHWM|VmRSS|RssAnon):/ { v[$1] = $2 / 1024 }
		END { printf "%-24s RSS %4.0f MiB (anonymous %4.0f, highest %4.0f); inodes: %d in memory, %d known to the kernel\n",
			when, v["VmRSS:"], v["RssAnon:"], v["VmHWM:"], cached, known }' "/proc/$(daemon)/status"
}

mkdir -p "$mnt"
"$dynamicfs" init --pool "$work/pool" >/dev/null
for i in 1 2 3 4 5 6; do
	mkdir "$work/disk$i"
	"$dynamicfs" add-disk --pool "$work/pool" --disk "$work/disk$i" --label "disk$i" >/dev/null 2>&1
done
start
report "mounted"
python3 - "$mnt" "$files" <<'END'
import os, sys
top, files = sys.argv[1], int(sys.argv[2])
for d in range((files + 999) // 1000):
    os.mkdir(f"{top}/d{d}")
    at = os.open(f"{top}/d{d}", os.O_RDONLY)
    for i in range(min(1000, files - 1000 * d)):
        os.mknod(f"f{i}", dir_fd=at)
    os.close(at)
END
report "$files files were made"
"$dynamicfs" unmount --mountpoint "$mnt" >/dev/null
start
report "mounted anew"
find "$mnt" >/dev/null
report "find"
du -s "$mnt" >/dev/null
report "du"
sync "$mnt"
echo 2 >/proc/sys/vm/drop_caches
sleep 5
report "drop_caches"
