#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
# Full pools (_fill.py says what is done and checked): on small disks of each filesystem, of equal and of very
# different sizes, files of all shapes until there is no space, round after round with kills, then two disks are
# lost. And a full filesystem under the pool directory: nothing is lost, it is said, and all goes on when there
# is room.
#
# environment, each a list, of which all combinations are run:
#   FILL_FS      tmpfs ext4 xfs btrfs
#   FILL_DISKS   number of disks, with a u behind it when they are of very different sizes (1 to 8): 4 6u 12
#   FILL_SHAPES  0 100 4000 4200 50000 5000000 mixed names grow over
#   without any of them: one round of a small selection, and the pool directory
# and FILL_ROUNDS (3), FILL_MIB (24; of each disk, of the smallest when they differ), FILL_SEED (random)
# shellcheck source=tests/func/lib.sh
. "$(dirname "$0")/lib.sh"

here=$(cd "$(dirname "$0")" && pwd)
rounds=${FILL_ROUNDS:-3}
mib=${FILL_MIB:-24}
base=$work

if [ "$(id -u)" -ne 0 ]; then
	skip fill "needs root for small filesystems"
	exit 0
fi

small_tmpfs()
{
	mkdir -p "$1"
	mount -t tmpfs -o "size=$2" dynamicfs-test "$1" && tmpfs_mounted+=("$1")
}

# small_disk FS DIRECTORY MIB: a filesystem of which about that much is free.
small_disk()
{
	local fs=$1 dir=$2 want=$3 image=$2.img least have

	case $fs in
	tmpfs) small_tmpfs "$dir" "${want}m" && return ;;
	ext4) least=$((want + 8)) ;;
	xfs) least=$((want + 80 > 300 ? want + 80 : 300)) ;;
	btrfs) least=$((want + 100)) ;;
	esac
	mkdir -p "$dir"
	truncate -s "${least}M" "$image"
	"mkfs.$fs" -q "$image" >/dev/null 2>&1 || return 1
	mount -o loop "$image" "$dir" || return 1
	tmpfs_mounted+=("$dir")
	have=$(df -m --output=avail "$dir" | tail -n 1)
	if [ "$have" -gt $((want + 4)) ]; then # XFS knows no small ones: somebody else's file is there, too
		fallocate -l "$((have - want))M" "$dir/other" || return 1
	fi
}

# The size of disk I of N.
disk_mib()
{
	[ -n "${3:-}" ] || { echo "$mib"; return; }
	awk -v i="$1" -v n="$2" -v m="$mib" 'BEGIN { printf "%d", m * 8 ^ ((i - 1) / (n - 1)) }'
}

supported()
{
	[ "$1" = tmpfs ] || { command -v "mkfs.$1" && { grep -qw "$1" /proc/filesystems || modprobe "$1"; }; } \
		>/dev/null 2>&1
}

# filling FS DISKS SHAPE
filling()
{
	local fs=$1 disks=$2 shape=$3 n=${2%u} uneven= i size raw=0 start=$SECONDS dirs=()

	[ "$n" = "$disks" ] || uneven=yes
	work=$base/$fs-$disks-$shape pool=$work/pool mnt=$work/mnt
	mkdir -p "$work"
	small_tmpfs "$work" 16g # the images: all of it comes and goes with the memory that it takes
	mkdir -p "$mnt"
	"$dynamicfs" init --pool "$pool" >/dev/null
	for ((i = 1; i <= n; i++)); do
		size=$(disk_mib "$i" "$n" $uneven)
		raw=$((raw + size))
		dirs+=("$work/disk$i")
		if ! small_disk "$fs" "$work/disk$i" "$size"; then
			not_ok "$fs, $disks disks: $shape" "cannot make disk $i"
			return
		fi
		"$dynamicfs" add-disk --pool "$pool" --disk "$work/disk$i" >/dev/null ||
			not_ok "$fs, $disks disks: $shape" "cannot add disk $i"
	done
	python3 "$here/_fill.py" rounds "$dynamicfs" "$pool" "$mnt" "$shape" "$rounds" "${FILL_SEED:-}" \
		"${dirs[@]}" >"$work/said" 2>"$work/trace" || cat "$work/trace"
	sed -E "s/^(ok|not ok|#) /\1 $fs, $disks disks of $raw MiB, $shape: /; /^#/s/\$/; $((SECONDS - start)) s/" "$work/said"
	grep -q "^not ok" "$work/said" && failed=1
	grep -q "^ok all" "$work/said" || failed=1
	if [ "$failed" -ne 0 ] && [ -n "${FILL_KEEP:-}" ]; then
		echo "kept: $work"
		trap - EXIT
		exit 1
	fi
	umount -l "$mnt" 2>/dev/null
	i=$(daemon_pid "$pool") && kill -9 "$i"
	for ((i = 1; i <= n; i++)); do
		umount -l "$work/disk$i" 2>/dev/null
	done
	umount -l "$work"
}

pool_directory()
{
	work=$base pool=$base/small/pool mnt=$base/mnt
	mkdir -p "$mnt"
	small_tmpfs "$work/small" 48m
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
	"$dynamicfs" status --pool "$pool" 2>&1 | tr -s ' \n' ' ' >"$work/status" # its lines are broken anywhere
	check "status says that the pool directory is full" \
		grep -q "pool directory $pool can't be written: its filesystem is nearly full" "$work/status"
	refuse "and not that all is well" 1 "" grep -q "is healthy" "$work/status"
	check "what was changed is stored meanwhile" sync "$mnt"
	rm "$work/small/junk"
	check "it goes on when there is room" wait_for 10 mkdir "$mnt/more"
	check "all is there" python3 "$here/_fill.py" check "$mnt" 2000 299
	finish
}

all_of()
{
	local fs disks shape

	for fs in ${FILL_FS:-tmpfs}; do
		if ! supported "$fs"; then
			skip "$fs" "cannot be made or mounted here"
			continue
		fi
		for disks in ${FILL_DISKS:-6}; do
			for shape in ${FILL_SHAPES:-mixed}; do
				filling "$fs" "$disks" "$shape"
			done
		done
	done
	work=$base
	exit "$failed"
}

[ -z "${FILL_FS:-}${FILL_DISKS:-}${FILL_SHAPES:-}" ] || all_of
rounds=1
mib=12
filling tmpfs 6u 4000
mib=32
supported ext4 && filling ext4 4 mixed
supported xfs && filling xfs 4 over
pool_directory
