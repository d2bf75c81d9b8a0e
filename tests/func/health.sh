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
check "the file is right" cmp "$work/file" "$mnt/file"
finish
exit "$failed"
