#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
# Disks that hang: two of six lie behind a bindfs that is stopped, and so does the pool directory. Whatever is
# asked of the pool returns; what the deadline is does not matter, so it is short here.
if [ "$(id -u)" -eq 0 ] && [ -z "${IN_OWN_NAMESPACE:-}" ] && unshare -m true 2>/dev/null; then
	IN_OWN_NAMESPACE=1 exec unshare -m bash "$0"
fi
. "$(dirname "$0")/lib.sh"
if [ "$(id -u)" -ne 0 ] || ! command -v bindfs >/dev/null; then
	skip "disks that hang" "needs root and bindfs"
	exit 0
fi

declare -A server
hang() { kill -STOP "${server[$1]}"; }
go_on() { kill -CONT "${server[$1]}"; }
wake_all()
{
	local d

	for d in "${!server[@]}"; do
		go_on "$d" 2>/dev/null
		umount -l "$work/$d"
		kill "${server[$d]}"
	done 2>/dev/null
	sleep 0.2
	cleanup
}
trap wake_all EXIT
in_time() { timeout -s KILL 30 "$@"; }
state_is() { "$dynamicfs" list-disks --pool "$pool" | grep "$1" | grep -q "$2"; }

# serve_at NAME: a tmpfs at real_NAME, seen through a bindfs at NAME
serve_at()
{
	mkdir -p "$work/$1" "$work/real_$1"
	mount -t tmpfs -o size=400m dynamicfs-test "$work/real_$1" && tmpfs_mounted+=("$work/real_$1")
	bindfs -f "$work/real_$1" "$work/$1" &
	server[$1]=$!
	wait_for 10 mountpoint "$work/$1"
}

mkdir -p "$mnt"
serve_at home
pool=$work/home/pool
"$dynamicfs" init --pool "$pool" >/dev/null
for i in 1 2 3 4 5 6; do
	if [ "$i" -gt 4 ]; then
		serve_at "disk$i"
	else
		mkdir -p "$work/disk$i"
		mount -t tmpfs -o size=400m dynamicfs-test "$work/disk$i" && tmpfs_mounted+=("$work/disk$i")
	fi
	"$dynamicfs" add-disk --pool "$pool" --disk "$work/disk$i" >/dev/null
done
start -o io_timeout=1000,flush_interval=60000 || not_ok "mount" "see $pool"
head -c 40000000 /dev/urandom >"$work/data"
cp "$work/data" "$mnt/data"
for i in $(seq 20); do head -c 20000 "$work/data" >"$mnt/small$i"; done
sync "$mnt"
forget() { sync && echo 3 >/proc/sys/vm/drop_caches; }

# reading
forget
hang disk6
read_it()
{
	local i pids=()

	for i in $(seq 32); do
		if [ $((i % 2)) -eq 0 ]; then
			in_time cmp "$work/data" "$mnt/data" &
		else
			in_time cmp -n 20000 "$work/data" "$mnt/small$((i / 2 + 1))" &
		fi
		pids+=($!)
	done
	for i in "${pids[@]}"; do wait "$i" || return 1; done
}
check "32 readers, one disk hangs" read_it
check "status" in_time "$dynamicfs" status --pool "$pool"
check "list-disks" in_time "$dynamicfs" list-disks --pool "$pool"
check "the disk is suspect" wait_for 10 state_is disk6 suspect
check "df" in_time df "$mnt"
go_on disk6
check "it is taken up again" wait_for 30 state_is disk6 healthy

# it falls silent with writes that are not durable, and loses them
doubtless() { ! "$dynamicfs" list-disks --json --pool "$pool" | grep -q '"doubtful": true'; }
taken_back() { state_is disk6 healthy && doubtless; }
lose_unsynced()
{
	local last

	last=$(find "$work/real_disk6/dynamicfs/segments" -type f -size +0 | sort | tail -n 1)
	[ -n "$last" ] && : >"$last"
}
has_room() { ! "$dynamicfs" list-disks --pool "$pool" | grep disk6 | grep -q " 0 B "; }
check "it takes new data" wait_for 10 has_room
sleep 1.5
sync "$mnt"
cp "$work/data" "$mnt/unsynced"
for i in $(seq 20); do head -c 20000 "$work/data" >"$mnt/unsynced$i"; done
hang disk6
check "sync while it hangs" in_time sync "$mnt"
check "the disk has failed" wait_for 10 state_is disk6 failed
check "what was synced is there" in_time cmp "$work/data" "$mnt/unsynced"
check "what it had is lost" lose_unsynced
go_on disk6
check "it is taken back" wait_for 40 taken_back
check "new data goes there" in_time dd if="$work/data" of="$mnt/after" bs=1M conv=fsync status=none
check "unmount it" in_time "$dynamicfs" unmount --mountpoint "$mnt"
"$dynamicfs" fsck --pool "$pool" >"$work/said" 2>&1
check "nothing lacks a fragment" grep -Eq "extents short of fragments +0$" "$work/said"
start -o io_timeout=1000 || not_ok "mount again" "see $pool"

# a path that hangs
hang disk6
mkdir -p "$work/disk7" 2>/dev/null
refuse "add-disk of what hangs" 1 "does not answer" in_time "$dynamicfs" add-disk --pool "$pool" \
	--disk "$work/disk6/sub"
check "fail-disk by its path, tried" in_time "$dynamicfs" fail-disk --pool "$pool" \
	--disk "$work/disk6" --dry-run
go_on disk6
check "it is taken up once more" wait_for 40 taken_back

# the pool directory
cmp "$work/data" "$mnt/data"
hang home
refuse "status names it" 1 "directory $pool does not answer" in_time "$dynamicfs" status --pool "$pool"
refuse "fail-disk names it" 1 "directory $pool does not answer" in_time "$dynamicfs" fail-disk \
	--pool "$pool" --disk disk6
refuse "unmount names it" 1 "directory $pool does not answer" in_time "$dynamicfs" unmount \
	--mountpoint "$mnt"
refuse "mount names it" 1 "does not answer" in_time "$dynamicfs" mount --pool "$pool" \
	--mountpoint "$work/disk7"
refused_now() { timeout 10 touch "$mnt/no" 2>&1 | grep -q "timed out"; }
check "changes are refused" wait_for 20 refused_now
check "what was read lately is read on" in_time cmp "$work/data" "$mnt/data"
go_on home
check "changes are taken again" wait_for 20 touch "$mnt/yes"
check "status says so" in_time "$dynamicfs" status --pool "$pool"

# writing, and the disk is given up
hang disk6
check "write and fsync" in_time dd if="$work/data" of="$mnt/more" bs=1M conv=fsync status=none
check "create and fsync" in_time dd if="$work/data" of="$mnt/tiny" bs=100 count=1 conv=fsync status=none
check "read it back" in_time cmp "$work/data" "$mnt/more"

# one more than may be missed: the pool waits, until one of them is given up
"$dynamicfs" set --pool "$pool" --copies 2 >/dev/null
hang disk5
(echo stalled >"$mnt/stalled" && sync "$mnt") &
syncing=$!
is_stalled() { "$dynamicfs" status --pool "$pool" >"$work/said" && grep -q "is stalled" "$work/said"; }
check "status says that the pool stands still" wait_for 20 is_stalled
check "it says for which disk" grep -q "not answer (disk5)" "$work/said"
check "so does list-disks" state_is disk5 silent
mkdir "$work/disk9"
refuse "set names it" 1 "cannot run set: .*at once: disk5; nothing was done" timeout 3 "$dynamicfs" set \
	--pool "$pool" --copies 3
refuse "add-disk does" 1 "cannot run add-disk: .*at once: disk5; nothing" timeout 3 "$dynamicfs" add-disk \
	--pool "$pool" --disk "$work/disk9"
check "and nothing was done" test ! -e "$work/disk9/dynamicfs"
check "fail-disk" in_time "$dynamicfs" fail-disk --pool "$pool" --disk "$work/disk6"
check "the pool goes on" in_time tail --pid=$syncing -f /dev/null
check "what waited is stored" wait $syncing
go_on disk5
taken_back5() { state_is disk5 healthy && doubtless; }
check "the other one is taken up again" wait_for 40 taken_back5
"$dynamicfs" set --pool "$pool" --copies 3 >/dev/null
check "the disk is failed" state_is disk6 failed
go_on disk6
check "nothing is open there" wait_for 10 umount "$work/disk6"

# unmounting and mounting
forget
echo last >"$mnt/last"
hang disk5
unmount_it() { in_time "$dynamicfs" unmount --mountpoint "$mnt" >"$work/said" 2>&1; }
check "unmount" unmount_it
check "it says which disk was left" grep -q disk5 "$work/said"
check "mount without it" in_time "$dynamicfs" mount --pool "$pool" --mountpoint "$mnt" -o io_timeout=1000
check "what was written last" grep -qx last "$mnt/last"
check "the data" in_time cmp "$work/data" "$mnt/data"
check "offline status, later" in_time "$dynamicfs" status --pool "$pool"
go_on disk5
check "unmount it again" in_time "$dynamicfs" unmount --mountpoint "$mnt"

# with the default deadline of 10 s nobody waits for it who can read others
start || not_ok "mount with the default deadline" "see $pool"
check "the disk is there, and nothing in doubt" wait_for 10 state_is disk5 healthy
check "its segments are open" cmp "$work/data" "$mnt/data"
forget
hang disk5
check "the first read does not wait" timeout 5 cmp "$work/data" "$mnt/data"
check "the disk is not given up for that" state_is disk5 healthy
go_on disk5
check "unmount again" in_time "$dynamicfs" unmount --mountpoint "$mnt"

# two of three fall silent at once: one may be given up, and the other is waited for, also by who had begun something
"$dynamicfs" fsck --pool "$pool" --quick >/dev/null || not_ok "fsck of the first pool" "failed"
pool=$work/three
"$dynamicfs" init --pool "$pool" >/dev/null
serve_at disk7
serve_at disk8
for i in 7 8 9; do "$dynamicfs" add-disk --pool "$pool" --disk "$work/disk$i" >/dev/null; done
start -o io_timeout=1000 || not_ok "mount three disks" "see $pool"
hang disk7
hang disk8
refuse "set, before it is known that they are silent" 1 "cannot finish 'set' now: .*at once: disk[78].*what was begun" \
	in_time "$dynamicfs" set --pool "$pool" --copies 2
check "two of three: the pool stands still" is_stalled
go_on disk7
carried_out() { "$dynamicfs" status --pool "$pool" --json | grep -q '"copies": *2'; }
check "what was begun is carried out when one answers" wait_for 20 carried_out
go_on disk8
finish
