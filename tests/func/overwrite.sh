#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
# A file that is overwritten at random again and again takes a bounded multiple of what it needs (U4), its
# content is right, also when the daemon is killed meanwhile, and a pool that is full of garbage takes data.
#
# environment: OVERWRITE_SECONDS (6) of each kind
. "$(dirname "$0")/lib.sh"

seconds=${OVERWRITE_SECONDS:-6}
tool=$repo/tests/func/_overwrite.py
file=24 # MiB

used_mib() { du -sm --total "$work"/disk*/dynamicfs/segments | tail -1 | cut -f1; }

# The file in 4+2 takes 36 MiB, twice that is 72; what is listed to be folded or reclaimed comes to rest.
bounded() { [ "$(used_mib)" -le $((3 * file + 40)) ]; }

at_rest()
{
	wait_for 30 bounded || { echo "the disks hold $(used_mib) MiB for a file of $file MiB"; return 1; }
}

make_pool
start
check "pieces of 4 KiB" python3 "$tool" write "$mnt/f" "$work/record" 4096 50 "$seconds"
check "they take twice what they must, at most" at_rest
check "pieces of 100 bytes" python3 "$tool" write "$mnt/f" "$work/record" 100 20 "$seconds"
check "they do, too" at_rest

rm "$work/record" "$work/record.log"
python3 "$tool" write "$mnt/f" "$work/record" 4096 20 60 >/dev/null 2>&1 &
writer=$!
wait_for 60 test -s "$work/record.log"
sleep "$((seconds / 2 + 1))"
kill -9 "$(daemon_pid "$pool")"
wait "$writer"
umount -l "$mnt" 2>/dev/null
start
check "after a kill each piece is as synced, or newer" python3 "$tool" check "$mnt/f" "$work/record" 4096
check "and the space is bounded" at_rest
finish
