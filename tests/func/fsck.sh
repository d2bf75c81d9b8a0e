#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
# fsck changes nothing at all (FS1), also where a journal has to be replayed, and says when its copy of the index finds no room.
if [ "$(id -u)" -eq 0 ] && [ -z "${IN_OWN_NAMESPACE:-}" ] && unshare -m true 2>/dev/null; then
	IN_OWN_NAMESPACE=1 exec unshare -m bash "$0"
fi
. "$(dirname "$0")/lib.sh"

dfs() { "$dynamicfs" "$@"; }
# Everything but times of access.
listing()
{
	find "$pool" "$work"/disk? -printf '%p %y %i %s %m %n %T@ %C@\n' | sort
	find "$pool" "$work"/disk? -type f -print0 | sort -z | xargs -0 sha256sum
}
unchanged()
{
	listing >"$work/now"
	if cmp -s "$work/before" "$work/now"; then
		ok "$1"
	else
		not_ok "$1" "$(diff "$work/before" "$work/now" | head -5 | tr '\n' ' ')"
	fi
}
empty() { [ -z "$(ls -A "$1")" ]; }

make_pool
start
mkdir "$mnt/d" "$work/scratch"
for i in $(seq 200); do
	head -c $((i * 997)) /dev/urandom >"$mnt/d/f$i"
done
sync "$mnt"
stop
start
for i in $(seq 100); do # only in the journal
	head -c 3000 /dev/urandom >"$mnt/d/g$i"
done
sync "$mnt"
kill -9 "$(daemon_pid "$pool")"
wait_for 10 daemon_gone "$pool"
umount -l "$mnt"

listing >"$work/before"
"$dynamicfs" fsck --pool "$pool" --scratch "$work/scratch" --json >"$work/said"
check "it is clean" python3 -c "
import json; r = json.load(open('$work/said')); exit(not (r['clean'] and r['inodes'] == 302))"
unchanged "after a kill: nothing has changed"
check "nothing is left of the copy" empty "$work/scratch"

# ---- a copy whose process died
mkdir -p "$work/scratch/dynamicfs-fsck-abcdef/index" "$work/scratch/other"
echo >"$work/scratch/dynamicfs-fsck-abcdef/index/000001.sst"
check "with one that was left" dfs fsck --pool "$pool" --scratch "$work/scratch"
check "which goes" test ! -e "$work/scratch/dynamicfs-fsck-abcdef"
check "what is not ours stays" rmdir "$work/scratch/other"

# ---- no room, no directory
refuse "no such directory" 1 "scratch" dfs fsck --pool "$pool" --scratch "$work/nowhere"
mkdir "$work/small"
if mount -t tmpfs -o size=16k none "$work/small" 2>/dev/null; then
	tmpfs_mounted+=("$work/small")
	refuse "no room" 1 "MiB.*--scratch" dfs fsck --pool "$pool" --scratch "$work/small"
	check "nothing is left of that" empty "$work/small"
else
	skip "no room" "needs to mount a tmpfs"
fi
unchanged "refused: nothing has changed"

# ---- without the index: it is made of what is on the disks, elsewhere
mv "$pool/index" "$work/index"
listing >"$work/before"
check "without the index" dfs fsck --pool "$pool" --scratch "$work/scratch"
unchanged "without the index: nothing has changed"
mv "$work/index" "$pool/index"

start
check "all is there" test "$(ls "$mnt/d" | wc -l)" -eq 300
finish
exit "$failed"
