#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
# One history: disks that move, are swapped, copied, set back, given up or used apart; pool directories
# from backups (docs/DESIGN.md "One history").
. "$(dirname "$0")/lib.sh"

dfs() { "$dynamicfs" "$@"; }
fresh() # [COUNT]: a pool over plain directories, with one file
{
	rm -rf "$pool" "$work"/d? "$work"/away "$work"/else "$work"/search
	mkdir "$work/away" "$work/search"
	dfs init --pool "$pool" >/dev/null
	for i in $(seq "${1:-6}"); do
		mkdir "$work/d$i"
		dfs add-disk --pool "$pool" --disk "$work/d$i" >/dev/null 2>&1
	done
	write v0
}
up() { dfs mount "$@" --pool "$pool" --mountpoint "$mnt" >"$work/up" 2>&1 || { cat "$work/up" >&2; return 1; }; }
write() { up && echo "$1" >"$mnt/f" && sync "$mnt" && stop; }
stop() { dfs unmount --mountpoint "$mnt" >/dev/null 2>&1; }
content() { up "$@" && cat "$mnt/f" && stop; }
is() { [ "$(content "${@:2}")" = "$1" ]; }
places() { dfs list-disks --pool "$pool" --json | python3 -c '
import json, sys
print(*(("" if d["present"] else "absent:") + d["path"].rsplit("/", 1)[1] for d in json.load(sys.stdin)["disks"]))'; }
warnings() { dfs status --pool "$pool" 2>&1; }
mkdir -p "$mnt"

# ---- finding disks ----
fresh 4
mv "$work/d2" "$work/x" && mv "$work/d3" "$work/d2" && mv "$work/x" "$work/d3"
check "two disks under each other's path" is v0
check "both are used there" test "$(places)" = "d1 d3 d2 d4"
check "set --search" dfs set --pool "$pool" --search "$work/search" "$work/away"
mv "$work/d4" "$work/search/somewhere"
check "a disk in a searched directory" is v0
check "it is known there" test "$(places)" = "d1 d3 d2 somewhere"
cp -a "$work/d1" "$work/search/copy"
refuse "a disk and its copy" 6 "twice, at .*d1 and at .*search/copy" dfs mount --pool "$pool" --mountpoint "$mnt"
rm -rf "$work/search/copy"
ln -s "$work/d1" "$work/search/link"
check "a second path of one disk is no copy" is v0
rm -rf "$pool"
check "import" dfs import --pool "$pool" --disk "$work"/d[123] "$work/search/somewhere"
check "it remembers where to search" grep -q "$work/search" "$pool/pool.json"
refuse "a search in nowhere" 1 "no such directory" dfs set --pool "$pool" --search "$work/nowhere"
check "set --no-search" dfs set --pool "$pool" --no-search

# a copy under another disk's path, whose own disk is away; in an import; as a new disk
fresh 3
mv "$work/d2" "$work/away" && cp -a "$work/d1" "$work/d2"
refuse "a copy at another disk's path" 6 "disk 1 .d1. is there twice, at .*d1 and at .*d2" \
	dfs mount --pool "$pool" --mountpoint "$mnt"
refuse "it is refused for questions, too" 6 "twice, at .*d1 and at .*d2" dfs list-disks --pool "$pool"
refuse "and in an import" 1 "disk 1 .d1. is given twice, or this is a copy" \
	dfs import --pool "$work/p2" --disk "$work"/d[123]
rm -rf "$work/d2" && mv "$work/away/d2" "$work"
check "without it all is as it was" is v0
cp -a "$work/d1" "$work/else"
refuse "a copy is no new disk" 1 "is already disk 1 .d1. of this pool" \
	dfs add-disk --pool "$pool" --disk "$work/else"
rm -rf "$work/else"

# ---- the pool directory is no proof ----
fresh 4
cp -a "$pool" "$work/else"
mv "$work/d1" "$work/away" && write v1
mkdir "$work/rest" && mv "$work"/d[234] "$work/rest" && mv "$work/away/d1" "$work"
rm -rf "$pool" && mv "$work/else" "$pool"
refuse "one stale disk of four and its pool directory" 6 "not a majority" \
	dfs mount --pool "$pool" --mountpoint "$mnt"
mv "$work"/rest/d[234] "$work" && rmdir "$work/rest"
check "with the others an old pool directory does no harm" is v1

# from before disks were added, which are more than half of all: each disk says where the others are
fresh 2
cp -a "$pool" "$work/else"
for i in 3 4 5; do mkdir "$work/d$i" && dfs add-disk --pool "$pool" --disk "$work/d$i" >/dev/null 2>&1; done
write v1
rm -rf "$pool" && mv "$work/else" "$pool"
check "an old pool directory finds the disks that were added since" is v1
check "and knows them then" test "$(grep -c '"path": ".*/d[1-5]"' "$pool/pool.json")" = 5
check "all are used where they are" test "$(places)" = "d1 d2 d3 d4 d5"

# ---- half of them, and less ----
fresh 2
mv "$work/d1" "$work/away"
check "one of two, and the pool directory" write v1
mv "$work/away/d1" "$work"
check "the one that was away is not believed" is v1
rm -rf "$pool" && mv "$work/d1" "$work/away"
refuse "one of two without it" 6 "no pool directory" dfs import --pool "$pool" --disk "$work/d2"
fresh 3
mv "$work"/d[12] "$work/away"
refuse "one of three" 6 "only 1 of the 3 disks" dfs mount --pool "$pool" --mountpoint "$mnt"
mv "$work/away/d2" "$work"
check "two of three" write v1
mv "$work/d2" "$work/away"
check "then one of the two that were left" is v1
rm -rf "$pool"
check "which alone is the pool now" dfs import --pool "$pool" --disk "$work/d3"

# half of them lost at once, and the pool directory, which has to remember that, is full
if [ "$(id -u)" -eq 0 ] && mkdir "$work/small" && mount -t tmpfs -o size=64m dynamicfs-test "$work/small" 2>/dev/null; then
	tmpfs_mounted+=("$work/small")
	plain=$pool pool=$work/small/pool
	fresh 2
	up
	echo v1 >"$mnt/f"
	head -c 100M /dev/zero >"$work/small/filler" 2>/dev/null
	find "$work/d2" -mindepth 1 -delete
	refuse "a tie and a full pool directory: sync fails" 1 "No space left" sync "$mnt/f"
	warnings >"$work/said"
	check "status names the directory" sh -c "tr -s '\n ' ' ' <$work/said | grep -q 'half of the disks.*small/pool.*no space'"
	refuse "nothing can be added" 1 "No space left" mkdir "$mnt/new"
	check "what is there is read" test "$(cat "$mnt/f")" = v1
	rm "$work/small/filler"
	check "with room it goes on" wait_for 20 sync "$mnt/f"
	check "with everything" wait_for 30 mkdir "$mnt/new"
	stop
	check "and is the pool now" is v1
	pool=$plain
else
	skip "a tie and a full pool directory" "needs a tmpfs"
fi

# ---- given up one by one ----
fresh
for i in 1 2 3; do
	mv "$work/d$i" "$work/away"
	up && dfs fail-disk --pool "$pool" --disk "d$i" >/dev/null 2>&1
	echo "v$i" >"$mnt/f" && sync "$mnt" && stop
done
mkdir "$work/else" && mv "$work"/d[456] "$work/else"
refuse "three disks that were given up" 6 "majority" dfs import --pool "$work/p2" --disk "$work"/away/d[123]
check "nothing is left of it" test ! -e "$work/p2"
mkdir "$work/p2"
refuse "they are into an empty directory, too" 6 "majority" dfs import --pool "$work/p2" --disk "$work"/away/d[123]
check "which stays empty, so that it can be tried again" rmdir "$work/p2"
mv "$work"/else/d[456] "$work" && rmdir "$work/else"
check "three of three that are left" is v3

# ---- set back to a copy of itself ----
fresh 4
cp -a "$work/d2" "$work/away"
write v1
rm -rf "$work/d2" && mv "$work/away/d2" "$work"
check "a disk from a backup is not believed" is v1
check "and told of" grep -q "d2.*set back to an older copy" "$pool/log"

# within the epoch: the copy was made while mounted, and no root was written since
fresh 4
up
echo v1 >"$mnt/f" && sync "$mnt" && cp -a "$work/d2" "$work/away"
for i in $(seq 40); do head -c 300000 /dev/urandom >"$mnt/g$i"; done
sync "$mnt" && md5sum "$mnt"/g* | sed "s|$mnt/||" >"$work/sums"
daemon=$(daemon_pid "$pool") && kill -9 "$daemon"
wait_for 10 daemon_gone "$pool"
dfs unmount --mountpoint "$mnt" >/dev/null 2>&1
rm -rf "$work/d2" && mv "$work/away/d2" "$work"
dfs list-disks --pool "$pool" >"$work/said"
check "a disk set back within the epoch is named" grep -q "^d2 *lacking" "$work/said"
warnings >"$work/said"
check "status says that it lacks something" grep -q "d2.*lacks what was stored there" "$work/said"
check "and that not all bears the losses that it should" grep -qi degraded "$work/said"
check "it mounts" up
check "what it lacks is read from others" sh -c "cd $mnt && md5sum --quiet -c $work/sums"
settled() { ! dfs list-disks --pool "$pool" | grep -q lacking; }
check "and is written anew" wait_for 30 settled
stop
check "nothing is lacking then" dfs fsck --pool "$pool"

# all of them, with the pool directory as it is: it remembers what had been durable
remembers() { sed -n 's/.*"durable_seq": *\([0-9]*\).*/\1/p' "$pool/pool.json"; }
remembers_all() # what is durable by now
{
	dfs status --pool "$pool" --json | python3 -c '
import json, sys
sys.exit(json.load(sys.stdin)["metadata"]["durable_sequence"] > int(sys.argv[1] or 0))' "$(remembers)"
}
fresh 4
up
echo v1 >"$mnt/f" && sync "$mnt" && cp -a "$work"/d? "$work/away"
echo v2 >"$mnt/f" && sync "$mnt"
check "what is durable is remembered when the pool falls quiet" wait_for 10 remembers_all
daemon=$(daemon_pid "$pool") && kill -9 "$daemon"
wait_for 10 daemon_gone "$pool"
dfs unmount --mountpoint "$mnt" >/dev/null 2>&1
rm -rf "$work"/d? && cp -a "$work"/away/d? "$work"
refuse "all disks set back together are refused" 6 "remembers transaction $(remembers), .* ends at [0-9]+ .*--force" \
	dfs mount --pool "$pool" --mountpoint "$mnt"
refuse "read-only, too" 6 "remembers transaction" dfs mount --pool "$pool" --mountpoint "$mnt" -o ro
check "not a byte of them was changed" sh -c "for i in 1 2 3 4; do diff -r $work/d\$i $work/away/d\$i || exit 1; done"
check "with force they open" is v1 --force
up
warnings >"$work/said"
stop
check "which is told, with what was lost" sh -c "tr -s '\n ' ' ' <$work/said | grep -q 'changes were lost.*transactions [0-9]* to'"
check "and is not asked again" is v1
rm -rf "$work"/away/d?

# ---- two histories ----
fresh
mv "$work"/d[456] "$work/away"
check "one half, with the pool directory" write A
mkdir "$work/else" && mv "$work"/d[123] "$work/else"
check "the other half elsewhere, by force" dfs import --force --pool "$work/pB" --disk "$work"/away/d[456]
pool=$work/pB write B
mv "$work"/away/d[456] "$work"/else/d[123] "$work"
before=$(cat "$work"/d[456]/dynamicfs/disk.json "$work"/d[456]/dynamicfs/meta/roots | md5sum)
refuse "both are named" 6 "two histories .*d1, .*d2, .*d3; another .*d4, .*d5, .*d6" \
	dfs mount --pool "$pool" --mountpoint "$mnt"
check "force takes the pool directory's" is A --force
check "and is not needed again" is A
up
warnings >"$work/said"
stop
check "status says why three disks are left out" grep -q "d4.*another history" "$work/said"
check "not a byte of the others was changed" test "$before" = \
	"$(cat "$work"/d[456]/dynamicfs/disk.json "$work"/d[456]/dynamicfs/meta/roots | md5sum)"
mv "$work"/d[456] "$work/away" && mv "$work"/d[123] "$work/else"
check "which still are a pool" test "$(pool=$work/pB content)" = B
mv "$work"/away/d[456] "$work"/else/d[123] "$work"
refuse "they were used since: asked again" 6 "two histories" dfs mount --pool "$pool" --mountpoint "$mnt"
stop
exit "$failed"
