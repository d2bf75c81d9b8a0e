#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
# Disks that give back whole files only: rounds of filling, deleting most of it between what stays, and overwriting don't
# fill them with dead space, also when the daemon is killed meanwhile; a pool that is full of what was deleted takes new data.
# On exFAT (exfat-fuse over loop devices) where that is there, else on a FUSE directory that can't punch (tests/crash/lossyfs.c).
#
# environment: COMPACT_ROUNDS (2), LOSSYFS, COMPACT_ON (exfat or lossyfs; else the best that is there)
. "$(dirname "$0")/lib.sh"

rounds=${COMPACT_ROUNDS:-2}
lossyfs=$(realpath "${LOSSYFS:-$(dirname "$dynamicfs")/tests/lossyfs}")
disk_mib=160
loops=()
below=()

if [ "$(id -u)" != 0 ]; then
	skip compact "needs root"
	exit 0
fi

end_disks()
{
	local d l

	for d in "${below[@]}"; do umount -l "$d" 2>/dev/null; done
	for l in "${loops[@]}"; do losetup -d "$l" 2>/dev/null; done
}
trap 'stop 2>/dev/null; end_disks; cleanup' EXIT

on_exfat()
{
	local i loop

	[ "${COMPACT_ON:-exfat}" = exfat ] && command -v mkfs.exfat mount.exfat-fuse >/dev/null || return 1
	mount -t tmpfs -o size=1g dynamicfs-test "$work/images" && tmpfs_mounted+=("$work/images")
	for i in 1 2 3 4; do
		truncate -s ${disk_mib}M "$work/images/$i" && mkfs.exfat "$work/images/$i" >/dev/null || return 1
		loop=$(losetup -f --show "$work/images/$i") || return 1
		loops+=("$loop")
		mount.exfat-fuse "$loop" "$work/disk$i" >/dev/null 2>&1 || return 1
		below+=("$work/disk$i")
	done
}

on_lossyfs()
{
	local i

	[ -x "$lossyfs" ] || return 1
	for i in 1 2 3 4; do
		mkdir -p "$work/kept$i"
		mount -t tmpfs -o size=${disk_mib}m dynamicfs-test "$work/kept$i" || return 1
		tmpfs_mounted+=("$work/kept$i")
		"$lossyfs" "$work/kept$i" "$work/disk$i" 1 0 no-holes >/dev/null 2>&1 &
		wait_for 10 mountpoint -q "$work/disk$i" || return 1
		below+=("$work/disk$i")
	done
}

mkdir -p "$mnt" "$work/images" "$work/disk1" "$work/disk2" "$work/disk3" "$work/disk4"
if on_exfat; then
	echo "# on exFAT"
else
	end_disks
	if ! on_lossyfs; then
		skip compact "neither exfat-fuse nor lossyfs can be mounted"
		exit 0
	fi
	echo "# on a FUSE directory without holes"
fi
"$dynamicfs" init --pool "$pool" >/dev/null
for i in 1 2 3 4; do
	"$dynamicfs" add-disk --pool "$pool" --disk "$work/disk$i" --label "disk$i" >/dev/null || exit 1
done
if fallocate -p -o 0 -l 4096 "$work/disk1/dynamicfs/disk.json" 2>/dev/null; then
	not_ok "no holes" "this filesystem can punch"
	exit 1
fi

free_mib() { df -m --output=avail "$mnt" | tail -1; }
segments_mib() { du -sm --total "$work"/disk*/dynamicfs/segments | tail -1 | cut -f1; }
metric() { "$dynamicfs" metrics --pool "$pool" | awk -v n="dynamicfs_$1" '$1 == n { print $2 }'; }

# Until it is full, or 150 MiB; every eighth stays.
fill()
{
	local n

	for n in $(seq 150); do
		head -c 1M /dev/urandom >"$mnt/f$1.$n" 2>/dev/null || { rm -f "$mnt/f$1.$n"; break; }
	done
	sync "$mnt"
	[ "$n" -ge "$2" ] || { echo "only $n files of 1 MiB found room"; return 1; }
	for n in "$mnt"/f"$1".*; do
		case ${n##*.} in *[1-79] | 1*0) rm -f "$n" ;; esac
	done
	sync "$mnt"
	(cd "$mnt" && sha256sum f*) >"$work/sums"
}

right() { (cd "$mnt" && sha256sum --quiet -c "$work/sums"); }
roomy() { [ "$(free_mib)" -ge "$1" ]; }
comes_back()
{
	wait_for 60 roomy "$1" || { echo "$(free_mib) MiB are free, not $1; segments take $(segments_mib) MiB"; return 1; }
}

start || exit 1
empty=$(free_mib)
for ((i = 1; i <= rounds; i++)); do
	check "round $i: all that is free can be filled" fill "$i" 120
	kept=$(du -sm "$mnt" | cut -f1)
	check "round $i: what was deleted is free again" comes_back $((empty - 3 * kept - empty / 8))
	check "round $i: what stayed is right" right
done
check "segments went" test "$(metric compacted_segments_total)" -gt 0
check "no more was copied than given back" \
	test "$(metric compacted_bytes_total)" -le "$(metric compacted_freed_bytes_total)"

# killed in the middle of it
for ((i = 11; i <= 12; i++)); do
	check "round $i: fills" fill "$i" 60
	sleep "0.$((RANDOM % 10))"
	kill -9 "$(daemon_pid "$pool")"
	umount -l "$mnt" 2>/dev/null
	wait_for 20 daemon_gone "$pool"
	start
	check "round $i: what stayed is right after a kill" right
done
kept=$(du -sm "$mnt" | cut -f1)
check "after kills all that was deleted is free again" comes_back $((empty - 3 * kept - empty / 8))

listed() { "$dynamicfs" jobs --pool "$pool" --json | grep -q '"kind": *"compact"'; }
check "a job did it" listed
stop
check "fsck" "$dynamicfs" fsck --pool "$pool"
exit "$failed"
