#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
# Full pools on Btrfs, whose free space is known only after its next commit: what write() accepted is stored.
#
# environment: BTRFS_MIB (256), of each of four disks
# shellcheck source=tests/func/lib.sh
. "$(dirname "$0")/lib.sh"

if [ "$(id -u)" -ne 0 ] || ! command -v mkfs.btrfs >/dev/null || [ ! -e /dev/loop-control ]; then
	skip btrfs "needs root, loop devices and mkfs.btrfs"
	exit 0
fi

btrfs_disk()
{
	mkdir -p "$1"
	truncate -s "${BTRFS_MIB:-256}M" "$1.img" && mkfs.btrfs -q -f "$1.img" >/dev/null &&
		mount -o loop "$1.img" "$1" && tmpfs_mounted+=("$1")
}

# fill: files of 20 to 60 KB, their content from their number, until one is refused; prints how many there are.
fill()
{
	python3 - "$mnt" <<'END'
import os, random, sys
n = 0
try:
    for i in range(100000):
        if i % 500 == 0:
            os.mkdir(f'{sys.argv[1]}/{i // 500}')
        data = random.Random(i).randbytes(20000 + i % 40000)
        fd = os.open(f'{sys.argv[1]}/{i // 500}/{i}', os.O_CREAT | os.O_WRONLY)
        if os.write(fd, data) != len(data):
            break
        os.close(fd)
        n += 1
except OSError as e:
    print(f'# {e}', file=sys.stderr)
print(n)
END
}

all_there()
{
	python3 - "$mnt" "$1" <<'END'
import random, sys
for i in range(int(sys.argv[2])):
    with open(f'{sys.argv[1]}/{i // 500}/{i}', 'rb') as f:
        if f.read() != random.Random(i).randbytes(20000 + i % 40000):
            sys.exit(f'file {i} is wrong')
END
}

in_place() { lsattr "$work"/disk1/dynamicfs/segments/* | cut -d' ' -f1 | grep -q C; }
delete_all() { find "$mnt" -mindepth 1 -maxdepth 1 -exec rm -rf {} +; }

mkdir -p "$mnt"
"$dynamicfs" init --pool "$pool" >/dev/null
for i in 1 2 3 4; do
	btrfs_disk "$work/disk$i" || { not_ok btrfs_disk "no filesystem on $work/disk$i"; exit 1; }
	"$dynamicfs" add-disk --pool "$pool" --disk "$work/disk$i" >/dev/null
done
start
for round in 1 2; do
	n=$(fill)
	echo "# round $round: $n files"
	check "many files are accepted ($round)" test "$n" -gt 1000
	check "a full pool is stored ($round)" sync "$mnt"
	check "segments are overwritten in place ($round)" in_place
	check "a full pool unmounts ($round)" stop
	check "it mounts again ($round)" start
	check "all that was accepted is there ($round)" all_there "$n"
	check "all can be deleted ($round)" delete_all
	check "deleting is stored ($round)" sync "$mnt"
done
finish
