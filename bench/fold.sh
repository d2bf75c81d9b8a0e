#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
# What folding costs and gives: a file of SIZE MiB is written, then overwritten at random places in pieces of 4 KiB, as many bytes again,
# with an fsync for each 50; then it rests. Prints what the segments take of the file's size at once and after resting, and what went to the
# disks for each byte written.
#
# usage: bench/fold.sh [SIZE_MIB (1024)]       (root; six tmpfs disks; DYNAMICFS: the program)
set -eu
size=${1:-1024}
dfs=$(realpath "${DYNAMICFS:-$(dirname "$0")/../build/dynamicfs}")
work=$(mktemp -d /tmp/dynamicfs-bench.XXXXXX)
end() {
	"$dfs" unmount --mountpoint "$work/mnt" >/dev/null 2>&1 || true
	for i in 1 2 3 4 5 6; do umount -l "$work/disk$i" 2>/dev/null || true; done
	rm -rf "$work"
}
trap end EXIT
mkdir "$work/mnt"
"$dfs" init --pool "$work/pool" >/dev/null
for i in 1 2 3 4 5 6; do
	mkdir "$work/disk$i"
	mount -t tmpfs -o size=$((size * 2))m dynamicfs-bench "$work/disk$i"
	"$dfs" add-disk --pool "$work/pool" --disk "$work/disk$i" >/dev/null
done
"$dfs" mount --pool "$work/pool" --mountpoint "$work/mnt" >/dev/null
taken() { du -sm --total "$work"/disk*/dynamicfs/segments | tail -1 | cut -f1; }
metric() { "$dfs" metrics --pool "$work/pool" | awk -v n="dynamicfs_$1" '$1 == n { print $2 }'; }
tell() { echo "$1: segments take $(taken) MiB for $size, written $(metric written_bytes_total), amplification $(metric write_amplification), folded bytes $(metric folded_bytes_total), slots $(metric folded_slots_total)"; }
head -c "${size}M" /dev/urandom >"$work/mnt/f"
sync "$work/mnt/f"
tell "written in order"
python3 - "$work/mnt/f" "$size" <<'P'
import os, random, sys, time
fd, pieces = os.open(sys.argv[1], os.O_RDWR), int(sys.argv[2]) * 256
random.seed(7)
began = time.monotonic()
for i in range(pieces):
    os.pwrite(fd, random.randbytes(4096), random.randrange(pieces) * 4096)
    if i % 50 == 49:
        os.fsync(fd)
os.fsync(fd)
print(f'{pieces} pieces of 4 KiB in {time.monotonic() - began:.0f} s')
P
tell "overwritten"
sleep 130 # a file rests that has not been written to for a minute, and is looked for once a minute
last=0
for i in $(seq 60); do
	now=$(taken)
	[ "$now" != "$last" ] || break
	last=$now
	sleep 10
done
tell "at rest"
"$dfs" status --pool "$work/pool" | grep Writes || true
