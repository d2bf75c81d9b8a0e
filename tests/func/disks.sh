#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
# Disks that come and go: a successor at a failed disk's place, dry and real runs of giving up, places
# that can't be disks, read-only disks.
. "$(dirname "$0")/lib.sh"

dfs() { "$dynamicfs" "$@"; }

make_pool || { not_ok "pool" "can't be made"; exit 1; }
start
head -c 3000000 /dev/urandom >"$work/file"
cp "$work/file" "$mnt/file"

# ---- a successor at the place of a disk that was given up ----
refuse "a disk that is not given up keeps its place" 1 "fail-disk --disk disk3" \
	dfs add-disk --pool "$pool" --disk "$work/disk3"
check "give a disk up" dfs fail-disk --pool "$pool" --disk disk3
refuse "the failed disk itself is not taken back" 1 "was failed" \
	dfs add-disk --pool "$pool" --disk "$work/disk3"
stop
rm -rf "$work/disk3/dynamicfs"
check "its successor, dry run" dfs add-disk --pool "$pool" --disk "$work/disk3" --dry-run
check "its successor" dfs add-disk --pool "$pool" --disk "$work/disk3"
labels=$(dfs list-disks --pool "$pool" --json | python3 -c '
import json, sys
print(*(d["label"] + "=" + d["state"] for d in json.load(sys.stdin)["disks"]))')
check "both have names of their own" test "${labels/disk3=failed*disk3-7=healthy/}" != "$labels"
check "the successor is meant by its place" dfs fail-disk --pool "$pool" --disk "$work/disk3" --dry-run
start
check "the file, with the successor" cmp "$work/file" "$mnt/file"
check "give the successor up, mounted" dfs fail-disk --pool "$pool" --disk disk3-7
rm -rf "$work/disk3/dynamicfs"
check "a third one takes the first one's label" \
	dfs add-disk --pool "$pool" --disk "$work/disk3" --label disk3
check "the label means the one that lives" dfs fail-disk --pool "$pool" --disk disk3 --dry-run
mkdir "$work/other"
refuse "but a living disk's label is taken" 1 "another disk .*has the label" \
	dfs add-disk --pool "$pool" --disk "$work/other" --label disk3

# ---- the pool's own mount, and another pool's
mkdir "$mnt/inside"
refuse "a disk in the pool's own mount" 2 "this very pool" \
	dfs add-disk --pool "$pool" --disk "$mnt/inside"
if [ "$(id -u)" -eq 0 ]; then
	mkdir "$work/bound"
	mount --bind "$mnt/inside" "$work/bound"
	refuse "by a bind mount" 2 "this very pool" dfs add-disk --pool "$pool" --disk "$work/bound"
	umount "$work/bound"
fi
dfs init --pool "$work/upper" >/dev/null
refuse "another pool's mount is taken, with a warning" 0 "another DynamicFS pool" \
	dfs add-disk --pool "$work/upper" --disk "$mnt/inside"
rm -r "$mnt/inside" "$work/upper"

# ---- a disk that would take room instead of giving some
if [ "$(id -u)" -eq 0 ]; then
	mkdir "$work/large" "$work/small" "$work/smallmnt"
	mount -t tmpfs -o size=200m dynamicfs-test "$work/large" && tmpfs_mounted+=("$work/large")
	mount -t tmpfs -o size=12m dynamicfs-test "$work/small" && tmpfs_mounted+=("$work/small")
	dfs init --pool "$work/mixed" >/dev/null
	dfs add-disk --pool "$work/mixed" --disk "$work/large" >/dev/null
	refuse "an empty pool only warns of a small disk" 0 "it is small beside the others" \
		dfs add-disk --pool "$work/mixed" --disk "$work/small" --dry-run
	dfs mount --pool "$work/mixed" --mountpoint "$work/smallmnt" >/dev/null
	cp "$work/file" "$work/smallmnt/file"
	check "its file is stored" sync "$work/smallmnt"
	for how in "" --dry-run; do
		# shellcheck disable=SC2086 # none or one
		refuse "a small disk is refused $how" 6 "room for [0-9]* MiB more of files.*Nothing was changed" \
			dfs add-disk --pool "$work/mixed" --disk "$work/small" $how
	done
	check "nothing is on it" test ! -e "$work/small/dynamicfs"
	refuse "but not with --force" 0 "it is small beside the others" \
		dfs add-disk --pool "$work/mixed" --disk "$work/small" --force
	check "and it can be given up again" dfs fail-disk --pool "$work/mixed" --disk small
	check "then there is room" cp "$work/file" "$work/smallmnt/file2"
	check "the small one's pool unmounts" dfs unmount --mountpoint "$work/smallmnt"
fi

# ---- a dry run says what the real one would
same()
{
	local dry real

	dry=$(dfs fail-disk --pool "$pool" --disk "$1" --dry-run 2>&1)
	dry="$? $dry"
	real=$(dfs fail-disk --pool "$pool" --disk "$1" 2>&1)
	real="$? $real"
	real=${real/Failed disk/Would fail disk}
	if [ "${dry%%:*}" = "${real%%:*}" ]; then
		ok "dry and real run agree, $1: ${dry%% *}"
	else
		not_ok "dry and real run agree, $1" "'$dry' and '$real'"
	fi
}
same disk1
same disk1
same disk2
same disk4
same disk5
same disk6
check "by force one more goes" dfs fail-disk --pool "$pool" --disk disk4 --force
same disk5
same disk6
exit_of() { "$@" >/dev/null 2>&1; echo $?; }
check "the last disk stays" test "$(exit_of dfs fail-disk --pool "$pool" --disk disk6)" != 0
mapfile -t live < <(dfs list-disks --pool "$pool" | awk '$2 == "healthy" { print $1 }')
for d in "${live[@]:1}"; do
	check "by force $d goes" dfs fail-disk --pool "$pool" --disk "$d" --force
done
refuse "the last one does not, says the dry run" 6 "no other disk" \
	dfs fail-disk --pool "$pool" --disk "${live[0]}" --force --dry-run
refuse "and the real run" 6 "no other disk" dfs fail-disk --pool "$pool" --disk "${live[0]}" --force
stop
rm -rf "$pool" "$work"/disk?/dynamicfs
make_pool
start
cp "$work/file" "$mnt/file"

# A disk that went away by itself can be given up.
stop
start
mv "$work/disk2/dynamicfs" "$work/away"
sync "$mnt"
echo x >"$mnt/x"
sync "$mnt"
wait_for 10 eval "dfs status --pool '$pool' | grep -q 'disk2.*\(absent\|failed\|not there\)'"
refuse "status warns of it" 0 "give it up" dfs status --pool "$pool"
check "give up what has gone" dfs fail-disk --pool "$pool" --disk disk2
stop
rm -rf "$pool" "$work"/disk?/dynamicfs "$work/away"
make_pool
start
cp "$work/file" "$mnt/file"

# ---- read-only disks are not healthy and have no room
remount()
{
	local i how=$1

	shift
	for i in "$@"; do
		mount -o "remount,$how" "$work/disk$i" || return 1
	done
}
room() { dfs status --pool "$pool" --json | python3 -c 'import json, sys
print(json.load(sys.stdin)["space"]["available_bytes"])'; }
stop
if [ "${#tmpfs_mounted[@]}" -lt 6 ]; then
	skip "read-only disks" "needs disks of its own"
else
	before=$(room)
	remount ro 6
	refuse "not mounted, status tells of a read-only disk" 0 "is degraded" dfs status --pool "$pool"
	start
	refuse "mounted, too" 0 "disk6 .*is mounted read-only" dfs status --pool "$pool"
	check "it brings no room" test "$(room)" -lt "$before"
	check "writing goes on" cp "$work/file" "$mnt/more"
	check "and is durable" sync "$mnt"
	stop
	remount ro 1 2 3 4 5
	refuse "with all of them read-only" 1 "all .* read-only.*-o ro" \
		dfs mount --pool "$pool" --mountpoint "$mnt"
	refuse "set" 1 "mounted read-only" dfs set --pool "$pool" --copies 3
	check "reading is possible" dfs mount --pool "$pool" --mountpoint "$mnt" -r
	check "and right" cmp "$work/file" "$mnt/more"
	stop
	remount rw 1 2 3 4 5 6
	start
	check "all is well afterwards" cmp "$work/file" "$mnt/more"
	check "the room, too" test "$(room)" -gt $((before * 9 / 10))
fi
finish
