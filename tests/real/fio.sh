#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
# fio verifies what it wrote: at random, mixed, mapped, asynchronously, directly and not, by several jobs; also after a remount.
. "$(dirname "$0")/_lib.sh"

size=$((24 * more))M

fio_job()
{
	local name=$1

	shift
	cd "$work" && timeout 240 fio --verify_state_save=0 --name="$name" --directory="$mnt/fio" --size="$size" --numjobs=2 --verify=crc32c --verify_fatal=1 --do_verify=1 --minimal \
		--group_reporting "$@"
}

mixes=(
	"randwrite --rw=randwrite --bs=4k --ioengine=psync"
	"randwrite-sync --rw=randwrite --bs=4k --ioengine=psync --fdatasync=64 --io_size=8M"
	"write-odd --rw=write --bssplit=512/20:3k/20:64k/30:1m/30 --ioengine=psync --bs_unaligned=1"
	"randrw --rw=randrw --bsrange=4k-256k --bs_unaligned=1 --ioengine=psync"
	"mmap --rw=randrw --bs=4k --ioengine=mmap"
	"libaio-direct --rw=randwrite --bs=4k --ioengine=libaio --iodepth=16 --direct=1"
	"libaio-direct-rw --rw=randrw --bsrange=4k-512k --ba=4k --ioengine=libaio --iodepth=16 --direct=1"
	"libaio-buffered --rw=randwrite --bs=16k --ioengine=libaio --iodepth=16"
	"direct --rw=randrw --bsrange=4k-1m --ba=4k --ioengine=psync --direct=1"
	"backlog --rw=randwrite --bs=8k --ioengine=psync --verify_backlog=64 --verify=sha256"
	"fallocated --rw=randwrite --bs=32k --ioengine=pvsync --fallocate=posix"
	"files --rw=randwrite --bs=64k --ioengine=psync --fallocate=none --file_service_type=random --nrfiles=8"
)

need fio fio
pool_for fio
mkdir "$mnt/fio"
for mix in "${mixes[@]}"; do
	# shellcheck disable=SC2086 # its options
	check "fio: ${mix%% *}" fio_job $mix
done
stop
start
for mix in "${mixes[@]}"; do
	# only where the order of reading is that of writing
	case $mix in
	*randrw* | *--io_size* | *bssplit*) continue ;;
	esac
	# shellcheck disable=SC2086
	check "fio: ${mix%% *}, verified after a remount" fio_job $mix --verify_only
done
rm -rf "${mnt:?}/fio"
finish
