#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
# Disks leave while the pool is in use: said beforehand, cancelled, over kills, dead ones too. Real files are compared before
# and after, with two more disks lost at the end.
cd "$(dirname "$0")" || exit 1
# shellcheck source=tests/func/lib.sh
. ./lib.sh

[ -w /dev/fuse ] || { skip "remove" "no /dev/fuse"; exit 0; }
dfs() { "$dynamicfs" "$@"; }
sums() { (cd "$mnt" && find . -type f -print0 | LC_ALL=C sort -z | xargs -0r sha256sum); }
same() { echo 3 2>/dev/null >/proc/sys/vm/drop_caches; sums | cmp -s - "$work/sums"; }
lists() { dfs list-disks --pool "$pool" | grep -q "$1"; }
state_of() { dfs list-disks --pool "$pool" --json | tr -d '\n' | grep -oE "\"label\": \"$1\"[^}]*\"state\": \"[a-z]*\"" | grep -oE '[a-z]*"$' | tr -d '"'; }
remove() { dfs remove-disk --pool "$pool" --disk "$@"; }

make_pool || exit 1
start || exit 1
head -c 40M /dev/urandom >"$mnt/large"
for i in $(seq 150); do head -c $((i * 150)) /dev/urandom >"$mnt/file$i"; done
sync "$mnt"
sums >"$work/sums"
dfs set --pool "$pool" --background-rate unlimited >/dev/null

# ---- beforehand
check "six less one" eval 'remove disk6 --dry-run | grep -q "stored anew, over fewer disks"'
refuse "no such disk" 3 "cannot find a disk" remove nobody
for i in 7 8; do
	mkdir "$work/disk$i"
	check "disk$i is added" dfs add-disk --pool "$pool" --disk "$work/disk$i" --label "disk$i"
done
check "said beforehand" eval 'remove disk6 --dry-run | grep -q "Would remove disk disk6"'
check "and nothing was done" eval '! lists draining'

# ---- a kill in the middle, a cancel, and to the end
dfs set --pool "$pool" --background-rate 200K >/dev/null
check "it is begun" remove disk6
check "it is draining" lists draining
refuse "not twice" 1 "removed already" remove disk6
check "kill -9" kill -9 "$(daemon_pid "$pool")"
wait_for 10 daemon_gone "$pool"
umount -l "$mnt" 2>/dev/null || fusermount3 -uz "$mnt"
check "mounted again" start
check "draining still" lists draining
check "files read right" same
job=$(dfs jobs --pool "$pool" | sed -n 's/^\([0-9]*\)  drain.*/\1/p' | tail -1)
check "cancelled" dfs jobs --pool "$pool" cancel "$job"
check "it stays" eval '! lists draining'
check "files read right then" same
dfs set --pool "$pool" --background-rate unlimited >/dev/null
check "removed, to the end" remove disk6 --wait
check "it is not listed" eval '! lists disk6'
check "it says so itself" grep -q '"removed"' "$work/disk6/dynamicfs/disk.json"
check "files read right without it" same
check "its directory is free" dfs add-disk --pool "$pool" --disk "$work/disk6" --label again
stop
check "fsck finds nothing" dfs fsck --pool "$pool"

# ---- a dead one
rm -rf "$work/disk5/dynamicfs"
check "mounted without one" start
check "the dead one is removed" remove disk5 --wait
check "it is not listed either" eval '! lists disk5'
check "files read right all the same" same
stop
check "mounted once more" start
check "all is whole" eval 'dfs status --pool "$pool" | grep -q "all extents are whole"'

# ---- it was away when it left: its directory can be added again, and says what it was
stop
mv "$work/disk4/dynamicfs" "$work/away"
check "mounted without disk4" start -o force
check "the one that is away is removed" remove disk4 --wait
mv "$work/away" "$work/disk4/dynamicfs"
check "said beforehand that it was one" dfs add-disk --pool "$pool" --disk "$work/disk4" --dry-run
check "it is back as a new one" eval 'dfs add-disk --pool "$pool" --disk "$work/disk4" --label disk4 2>&1 | grep -q "removed while it was away"'
check "files read right with it" same

# ---- another one in its place
mkdir "$work/disk9"
label() { dfs set-label --pool "$pool" --disk "$@"; }
refuse "a label that another one has" 1 "has the label disk3" label disk2 disk3
refuse "an empty label" 2 "1 to 63 bytes" label disk2 ""
refuse "a label with a line feed" 2 "control characters" label disk2 $'a\nb'
refuse "a label that is no text" 2 "UTF-8" label disk2 $'\xff'
refuse "no label" 2 "which label" label disk2
refuse "a label for nobody" 3 "cannot find a disk" label nobody x
check "another label, mounted" label disk2 "zwei ö"
check "it is listed" lists "zwei ö"
check "by its new label, not mounted too" eval 'stop && label "zwei ö" disk2 && start'
check "it has the old one again" lists disk2
check "pool.json has it" grep -q '"label": *"disk2"' "$pool/pool.json"
check "so has the disk itself" eval 'wait_for 5 grep -q "\"label\": *\"disk2\"" "$work/disk2/dynamicfs/disk.json"'
refuse "no new one" 2 "new" dfs replace-disk --pool "$pool" --old disk2
refuse "one that is the old one's directory" 1 "already" dfs replace-disk --pool "$pool" --old disk2 --new "$work/disk2"
check "said beforehand" dfs replace-disk --pool "$pool" --old disk2 --new "$work/disk9" --dry-run
check "nothing was done" eval '! lists disk9'
check "replaced, to the end" dfs replace-disk --pool "$pool" --old disk2 --new "$work/disk9" --label ninth --wait
check "the old one is gone" eval '! lists disk2'
check "the new one is there" lists ninth
check "files read right after it" same

# ---- the new one gets what the old one held, and its label; also by the same command after a half
held=$(dfs list-disks --pool "$pool" --json | python3 -c 'import json,sys
print([d["used_bytes"] for d in json.load(sys.stdin)["disks"] if d["label"] == "ninth"][0])')
mkdir "$work/disk10"
check "it was added before" dfs add-disk --pool "$pool" --disk "$work/disk10"
check "and takes a place then" dfs replace-disk --pool "$pool" --old ninth --new "$work/disk10" --wait
check "under the old label" eval 'dfs list-disks --pool "$pool" | grep ninth | grep -q disk10'
check "with what the old one held" eval 'dfs list-disks --pool "$pool" --json | python3 -c "import json,sys
sys.exit([d[\"used_bytes\"] for d in json.load(sys.stdin)[\"disks\"] if d[\"label\"] == \"ninth\"][0] < $held)"'
check "files read right in its place" same

# ---- fewer than RS 4+2 needs: what is stored so becomes narrower, and bears as much
check "six are left" remove again --wait
check "five are left" remove disk7 --wait
check "files read right on five" same
check "all is whole on five" eval 'wait_for 20 eval "dfs status --pool \"$pool\" | grep -q \"all extents are whole\""'

# ---- what has moved bears what was promised
stop
rm -rf "$work/disk1/dynamicfs" "$work/disk8/dynamicfs"
check "two more are lost" start -o force
check "files read right without them" same
stop
check "fsck finds no damage" dfs fsck --pool "$pool" --force
exit "$failed"
