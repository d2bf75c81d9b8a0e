#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
# A new pool directory or disk lies neither inside nor around what belongs to a pool, also another one, also where
# links and bind mounts hide it; the refusal names what is in the way, and nothing is made.
. "$(dirname "$0")/lib.sh"

cd "$work" || exit 1
dfs() { "$dynamicfs" "$@"; }
# All names, but for those of the indexes, which any command may change.
names() { find "$work" -path '*/index/*' -prune -o -print | sort | sha256sum; }

# refuses NAME PATTERN COMMAND...: exit code 2, and nothing is there that was not
refuses()
{
	local name=$1 before

	before=$(names)
	refuse "$name" 2 "$2" "${@:3}"
	check "$name: nothing was made" test "$before" = "$(names)"
}

mkdir -p a/disks/d1/docs/deep a/disks/d2 b/d1 b/d2 "$work/plain"
for pool in a b; do
	dfs init --pool "$work/$pool/pool" >/dev/null
	dfs add-disk --pool "$work/$pool/pool" --disk "$work/$pool/d1" --capacity 1G >/dev/null 2>&1
done
for i in 1 2; do
	check "a disk of the first pool" \
		dfs add-disk --pool "$work/a/pool" --disk "$work/a/disks/d$i" --capacity 1G
done
mkdir a/pool/sub
ln -s "$work/a/disks/d1/docs" link

# ---- inside
refuses "init in a disk" "lies inside $work/a/disks/d1, which is a disk of a pool" \
	dfs init --pool "$work/a/disks/d1/new"
refuses "init in a directory of it that is there" "lies inside $work/a/disks/d1, " \
	dfs init --pool "$work/a/disks/d1/docs/deep"
refuses "init in the disk's own data" "lies inside $work/a/disks/d1, " \
	dfs init --pool "$work/a/disks/d1/dynamicfs/new"
refuses "init in another pool's directory" "lies inside $work/a/pool, which is the directory of a pool" \
	dfs init --pool "$work/a/pool/new"
refuses "init by way of a link" "lies inside $work/a/disks/d1, " dfs init --pool "$work/link/new"
refuses "a disk in another pool's disk" "lies inside $work/a/disks/d1, " \
	dfs add-disk --pool "$work/b/pool" --disk "$work/a/disks/d1/docs"
refuses "its dry run" "lies inside $work/a/disks/d1, " \
	dfs add-disk --pool "$work/b/pool" --disk "$work/link/deep" --dry-run
refuses "a disk in another pool's directory" "lies inside $work/a/pool, " \
	dfs add-disk --pool "$work/b/pool" --disk "$work/a/pool/sub"
refuses "another pool's directory as a disk" "is the directory of a pool" \
	dfs add-disk --pool "$work/b/pool" --disk "$work/a/pool"
refuses "import into another pool's disk" "lies inside $work/a/disks/d2, " \
	dfs import --pool "$work/a/disks/d2/new" --disk "$work/b/d1"

# ---- around
refuses "a disk around another pool's disks" "contains $work/a/disks/d., which is a disk" \
	dfs add-disk --pool "$work/b/pool" --disk "$work/a/disks"
mkdir -p c/d
dfs init --pool "$work/c/d/pool" >/dev/null
refuses "a disk around another pool's directory" "contains $work/c/d/pool, which is the directory" \
	dfs add-disk --pool "$work/b/pool" --disk "$work/c"

# ---- bind mounts
if [ "$(id -u)" -eq 0 ] && mkdir bound && mount --bind a/disks/d1/docs bound; then
	tmpfs_mounted+=("$work/bound")
	refuses "init where a disk's directory is bound" "lies inside $work/a/disks/d1, " \
		dfs init --pool "$work/bound/deep"
	refuses "and in a new directory there" "lies inside $work/a/disks/d1, " \
		dfs init --pool "$work/bound/new"
	refuses "nor is it a disk" "lies inside $work/a/disks/d1, " \
		dfs add-disk --pool "$work/b/pool" --disk "$work/bound"
	mkdir -p fs inner
	mount -t tmpfs -o size=100m dynamicfs-test fs
	tmpfs_mounted+=("$work/fs")
	mkdir fs/free
	mount --bind fs/free inner
	tmpfs_mounted+=("$work/inner")
	check "another directory that is bound is as good as any" dfs init --pool "$work/inner/pool"
else
	skip "bind mounts" "they can't be made here"
fi

# ---- what is not in the way
echo '{"pool": 1}' >plain/pool.json
check "a foreign pool.json is in nobody's way" dfs init --pool "$work/plain/new"
check "nor are neighbours" dfs init --pool "$work/b/pool2"
mkdir b/d3
check "a disk beside others" dfs add-disk --pool "$work/b/pool" --disk "$work/b/d3" --capacity 1G
exit "$failed"
