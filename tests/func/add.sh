#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
# A disk is its pool's alone from the moment it is added, and what holds data is not overwritten by add-disk: with
# an older pool directory, in another history, by another path, by two at the same time.
. "$(dirname "$0")/lib.sh"

dfs() { "$dynamicfs" "$@"; }
if [ "$(id -u)" -ne 0 ]; then
	skip "add" "mounts filesystems"
	exit 0
fi
# disk NAME: a filesystem at $work/NAME
disk()
{
	mkdir -p "$work/$1"
	mount -t tmpfs -o size=64m dynamicfs-test "$work/$1" && tmpfs_mounted+=("$work/$1")
}
state_of() { (cd "$1" && find . -type f -exec sha256sum {} + | sort | sha256sum); }
# untouched NAME DISK COMMAND...: refused (as refuse NAME), and not a byte of the disk changes
untouched()
{
	local dir=$1 before

	shift
	before=$(state_of "$dir")
	refuse "$@"
	check "$1: nothing is changed" test "$(state_of "$dir")" = "$before"
}

for d in a b c d e f; do disk $d || exit 1; done
mkdir "$mnt"
dfs init --pool "$pool" >/dev/null
cp -a "$pool" "$work/first"
dfs add-disk --pool "$pool" --disk "$work/a" >/dev/null
start

# ---- added while mounted
for d in b c d; do check "add $d, mounted" dfs add-disk --pool "$pool" --disk "$work/$d"; done
check "give the first one up" dfs fail-disk --pool "$pool" --disk a
check "what was given up can be unmounted" umount "$work/a"
mount -t tmpfs -o size=64m dynamicfs-test "$work/a"
check "its successor, at its place" dfs add-disk --pool "$pool" --disk "$work/a"
echo 1 >"$mnt/file"
refuse "import of disks in use" 4 "in use through another pool directory" \
	dfs import --pool "$work/pool2" --disk "$work/a" --disk "$work/b" --disk "$work/c" --disk "$work/d"
check "leaves no pool directory" test ! -e "$work/pool2"
ln -s "$work/b" "$work/link"
mkdir "$work/bound"
mount --bind "$work/b" "$work/bound" && tmpfs_mounted+=("$work/bound")
for p in b b/ ./b link bound; do
	refuse "add $p once more" 1 "already" dfs add-disk --pool "$pool" --disk "$work/$p"
done
dfs init --pool "$work/other" >/dev/null
untouched "$work/b" "a disk in use, to another pool" 1 "another pool" \
	dfs add-disk --pool "$work/other" --disk "$work/b"
stop

# ---- two pools at the same time: one has it, whole, and the other is told
(dfs add-disk --pool "$pool" --disk "$work/e" >/dev/null 2>&1 || echo no >>"$work/race") &
dfs add-disk --pool "$work/other" --disk "$work/e" >/dev/null 2>&1 || echo no >>"$work/race"
wait $!
check "one of two is refused" test "$(cat "$work/race")" = no
check "the pools agree whose it is" test \
	"$(cat "$pool/pool.json" "$work/other/pool.json" | grep -c "\"path\": *\"$work/e\"")" = 1
rm -rf "$work/other" "$work/link"

# ---- an older pool directory knows no disk
mv "$pool" "$work/new"
cp -a "$work/first" "$pool"
for d in a b c; do
	untouched "$work/$d" "an older pool directory, $d" 1 "dynamicfs import" \
		dfs add-disk --pool "$pool" --disk "$work/$d"
done
rm -rf "$pool"
mv "$work/new" "$pool"
start
check "all is there" test "$(cat "$mnt/file")" = 1
stop

# ---- another history: copies of the disks go on without f, which knows nothing of them
mkdir "$work/copies"
for d in a b c d e; do
	mkdir "$work/copies/$d"
	[ -e "$work/$d/dynamicfs" ] && cp -a "$work/$d/dynamicfs" "$work/copies/$d/"
done
check "add f" dfs add-disk --pool "$pool" --disk "$work/f"
set --
for d in a b c d e; do
	grep -q "\"path\": *\"$work/$d\"" "$pool/pool.json" && set -- "$@" --disk "$work/copies/$d"
done
check "import the copies" dfs import --pool "$work/pool2" "$@"
untouched "$work/f" "a disk of another history" 1 "another history" \
	dfs add-disk --pool "$work/pool2" --disk "$work/f"
mv "$work/f/dynamicfs/disk.json" "$work/f/dynamicfs/disk-copy.json" "$work/"
untouched "$work/f" "one that lost its name" 1 "disk.json is missing" \
	dfs add-disk --pool "$work/pool2" --disk "$work/f"
mv "$work/disk.json" "$work/disk-copy.json" "$work/f/dynamicfs/"
finish
