#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
# The health of disks through a real mount: what happens to their filesystems shows in their states, and goes again.
if [ "$(id -u)" -eq 0 ] && [ -z "${IN_OWN_NAMESPACE:-}" ] && unshare -m true 2>/dev/null; then
	IN_OWN_NAMESPACE=1 exec unshare -m bash "$0"
fi
. "$(dirname "$0")/lib.sh"

dfs() { "$dynamicfs" "$@"; }
# is DISK KEY VALUE: what list-disks says of it
is()
{
	"$dynamicfs" list-disks --pool "$pool" --json | python3 -c 'import json, sys
d = [d for d in json.load(sys.stdin)["disks"] if d["label"] == sys.argv[1]][0]
sys.exit(str(d[sys.argv[2]]) != sys.argv[3])' "$@"
}
json() { python3 -c "import json; r = json.load(open('$work/probed')); exit(not ($1))"; }

make_pool
refuse "an interval that is none" 2 "smart_interval" dfs mount --pool "$pool" --mountpoint "$mnt" -o smart_interval=often
head -c 3000000 /dev/urandom >"$work/file"
start
cp "$work/file" "$mnt/file" && sync "$mnt"

# ---- a probe of disks that are well
check "all pass" sh -c "'$dynamicfs' probe-disks --pool '$pool' >'$work/probed'"
check "each is named, with its times" test "$(grep -c 'passed, written in .* ms, synced in .* ms, read back in .* ms' "$work/probed")" -eq 6
"$dynamicfs" probe-disks --pool "$pool" --disk disk2 --json >"$work/probed"
check "one disk, as JSON" json 'len(r["disks"]) == 1 and r["disks"][0]["label"] == "disk2" and \
	r["disks"][0]["passed"] and r["disks"][0]["state"] == "healthy"'
refuse "no such disk" 3 "cannot find a disk" dfs probe-disks --pool "$pool" --disk disk9
check "nothing is left there" test -z "$(find "$work"/disk?/dynamicfs -name '.tmp-trial*')"

check "what has no device says nothing of itself" is disk2 smart unknown

# ---- orders
check "an order" dfs set-disk-health --pool "$pool" --disk disk1 degraded --reason "it clicks"
check "is obeyed" is disk1 state degraded
check "its reason is kept" is disk1 reason_text "it clicks"
refuse "failed has its own command" 6 "fail-disk" dfs set-disk-health --pool "$pool" --disk disk1 failed
refuse "draining, too" 6 "remove-disk" dfs set-disk-health --pool "$pool" --disk disk1 draining
refuse "what is no state" 2 "no state" dfs set-disk-health --pool "$pool" --disk disk1 tired
refuse "no state" 2 "name one state" dfs set-disk-health --pool "$pool" --disk disk1
stop
check "an order outlives the mount" is disk1 state degraded
start
check "and the next one" is disk1 state degraded
refuse "status tells of it" 0 "is degraded" dfs status --pool "$pool"
check "back, by order" dfs set-disk-health --pool "$pool" --disk disk1 healthy
check "it is healthy" is disk1 state healthy

# ---- full for a while, by others' files
if [ "${#tmpfs_mounted[@]}" -lt 6 ]; then
	skip "filesystems that fail" "needs disks of its own"
	finish
	exit "$failed"
fi
rm -f "$work/disk5/filler"
head -c 1000000000 /dev/zero >"$work/disk5/filler" 2>/dev/null
check "a full filesystem shows" wait_for 10 is disk5 reason "filesystem full"
rm "$work/disk5/filler"
check "and goes by itself" wait_for 20 is disk5 state healthy

# ---- away for a while: renamed, then unmounted; the very directory comes back
mv "$work/disk4/dynamicfs" "$work/disk4/away"
check "a disk without its directory fails" wait_for 15 is disk4 state failed
check "for that reason" is disk4 reason gone
check "writing goes on" cp "$work/file" "$mnt/while"
check "durably" sync "$mnt"
cp -a "$work/disk4/away" "$work/disk4/dynamicfs"
refuse "a copy in its place is another one" 5 "disk4 failed" dfs probe-disks --pool "$pool" --disk disk4
rm -r "$work/disk4/dynamicfs"
mv "$work/disk4/away" "$work/disk4/dynamicfs"
check "back, a probe takes it up" dfs probe-disks --pool "$pool" --disk disk4
check "while mounted" is disk4 state healthy
check "it takes data" cp "$work/file" "$mnt/after"
check "durably, too" sync "$mnt"
mkdir "$work/kept"
mount --bind "$work/disk3" "$work/kept"
umount -l "$work/disk3"
check "unmounted, it fails" wait_for 15 is disk3 state failed
mount --bind "$work/kept" "$work/disk3"
check "mounted again, it comes back by itself" wait_for 40 is disk3 state healthy
umount "$work/kept"

# ---- a filesystem that makes itself read-only
truncate -s 200M "$work/image"
mkdir "$work/disk7"
if mkfs.ext4 -q -F "$work/image" 2>/dev/null &&
	mount -o loop,errors=remount-ro "$work/image" "$work/disk7" 2>/dev/null; then
	tmpfs_mounted+=("$work/disk7") # to be unmounted
	trigger=/sys/fs/ext4/$(basename "$(findmnt -no SOURCE "$work/disk7")")/trigger_fs_error
	dfs add-disk --pool "$pool" --disk "$work/disk7" >/dev/null
	cp "$work/file" "$mnt/before7" && sync "$mnt"
	echo 1 >"$trigger"
	refuse "a probe tells of a read-only filesystem" 5 "disk7 failed.*read-only" \
		dfs probe-disks --pool "$pool" --disk disk7
	check "it is degraded" is disk7 state degraded
	check "for that reason, too" is disk7 reason "filesystem read-only"
	check "writing goes on then" cp "$work/file" "$mnt/after7"
	check "and is durable" sync "$mnt"
	check "what was there is right" cmp "$work/file" "$mnt/before7"
else
	skip "a filesystem that makes itself read-only" "needs loop devices and ext4"
fi
for f in file while after; do
	check "$f is right" cmp "$work/file" "$mnt/$f"
done
finish
exit "$failed"
