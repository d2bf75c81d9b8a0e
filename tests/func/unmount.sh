#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
# unmount says and waits for what concerns the mount that is named, and only that: dead mounts beside
# living ones, bind mounts, mounts on top, a POOL/mounted that is missing or says something else.
. "$(dirname "$0")/lib.sh"

dfs() { timeout -k 1 20 "$dynamicfs" "$@"; }
mount_at() { "$dynamicfs" mount --pool "$pool" --mountpoint "$@" >/dev/null; }
kill_daemon()
{
	kill -9 "$(daemon_pid "$pool")"
	wait_for 10 daemon_gone "$pool"
}

make_pool || { not_ok "pool" "can't be made"; exit 1; }
mkdir "$work/elsewhere" "$work/bound"

# ---- a dead mount here, a living one elsewhere
start
kill_daemon
mount_at "$work/elsewhere"
check "unmount of the dead one returns" dfs unmount --mountpoint "$mnt"
check "it has gone" eval "! is_mounted '$mnt'"
check "the living one is there" touch "$work/elsewhere/file"
check "by its pool alone the living one is found" dfs unmount --pool "$pool"
check "it has gone, too" eval "! is_mounted '$work/elsewhere'"
start
kill_daemon
refuse "status tells of a dead mount" 0 "has lost its daemon" dfs status --pool "$pool"
check "by its pool alone the dead one is found" dfs unmount --pool "$pool"
check "and removed" eval "! is_mounted '$mnt'"
refuse "and then there is none" 1 "is not mounted" dfs unmount --pool "$pool"

# ---- what the file says about the daemon is missing, or foreign
start
rm "$pool/mounted"
refuse "without POOL/mounted a living daemon is not called dead" 0 "can't be told" \
	dfs unmount --mountpoint "$mnt"
wait_for 20 flock -n "$pool/lock" true
start
cp "$pool/mounted" "$work/copy" && mv "$work/copy" "$pool/mounted"
refuse "nor with an old copy of it" 0 "can't be told" dfs unmount --mountpoint "$mnt"
wait_for 20 flock -n "$pool/lock" true
start
kill_daemon
rm "$pool/mounted"
check "without it a dead one is removed" dfs unmount --mountpoint "$mnt"

# ---- several at once: who is late waits for the same end
start
head -c 3000000 /dev/urandom >"$mnt/f"
pid=$(daemon_pid "$pool")
kill -STOP "$pid"
dfs unmount --mountpoint "$mnt" >"$work/said1" 2>&1 &
first=$!
wait_for 10 eval "! is_mounted '$mnt'"
dfs unmount --pool "$pool" >"$work/said2" 2>&1 &
second=$!
dfs unmount --mountpoint "$mnt" --pool "$pool" --force >"$work/said3" 2>&1 &
third=$!
refuse "one that does not know the pool is told how to wait" 1 "unmount --pool DIR" \
	dfs unmount --mountpoint "$mnt"
sleep 0.2
check "the others wait" kill -0 $first $second $third
kill -CONT "$pid"
for waiter in $first $second $third; do
	wait "$waiter"
	check "each of three succeeds" test $? -eq 0
done
check "each knows that all is stored" test "$(grep -l 'everything is stored' "$work"/said[123] | wc -l)" -eq 3
start
exec 3<"$mnt/f"
for i in 1 2 3 4; do dfs unmount --mountpoint "$mnt" --pool "$pool" --force >"$work/said$i" 2>&1 & done
wait $(jobs -p)
exec 3<&-
check "by force at once, too" test -z "$(grep -hvE 'everything is stored|(is|no DynamicFS is) (not )?mounted' "$work"/said[1234])"

# ---- the kernel has let go, but what it asked for before is served still: that is an end, too
if [ "$(id -u)" -eq 0 ]; then
	start
	pid=$(daemon_pid "$pool")
	for task in "/proc/$pid/task"/*; do
		grep -q fuse_dev_do_read "$task/wchan" && break
	done
	# One thread alone stops, as in a call that takes long.
	python3 -c 'import ctypes, os, sys, time
ptrace = ctypes.CDLL(None, use_errno=True).ptrace
ptrace.argtypes = [ctypes.c_long] * 4
tid = int(sys.argv[1])
assert ptrace(0x4206, tid, 0, 0) == 0 and ptrace(0x4207, tid, 0, 0) == 0  # SEIZE, INTERRUPT
os.waitpid(tid, 0x40000000)
open(sys.argv[2], "w").close()
while not os.path.exists(sys.argv[3]):
    time.sleep(0.02)' "${task##*/}" "$work/held" "$work/let-go" 2>"$work/held-said" &
	holder=$!
	if ! wait_for 5 test -e "$work/held"; then
		skip "an end that takes long" "threads can't be stopped here: $(tail -1 "$work/held-said")"
		stop
	else
		dfs unmount --mountpoint "$mnt" >"$work/said" 2>&1 &
		first=$!
		check "an end that takes long is noted" wait_for 8 grep -q '"ending": true' "$pool/mounted"
		check "and waited for" kill -0 $first
		touch "$work/let-go"
		wait $first
		check "until all is stored" grep -q "everything is stored" "$work/said"
	fi
	touch "$work/let-go"
	wait $holder
fi

# ---- the index can't be stored, but the journal has all of it: nothing is lost, and that is what is said
start
head -c 3000000 /dev/urandom | tee "$work/f" >"$mnt/f"
rm -rf "$pool/index"
refuse "the last checkpoint fails" 0 "nothing is lost, the next mount replays it" \
	dfs unmount --mountpoint "$mnt"
start
check "and nothing is lost" cmp "$work/f" "$mnt/f"
stop

if [ "$(id -u)" -eq 0 ]; then
	start
	mount --bind "$mnt" "$work/bound"
	refuse "a bind mount goes, the daemon stays" 0 "still mounted at $mnt" \
		dfs unmount --mountpoint "$work/bound"
	mount --bind "$mnt" "$work/bound"
	refuse "the mount goes, the bind mount stays" 0 "still mounted at $work/bound" \
		dfs unmount --mountpoint "$mnt"
	check "the rest by its pool" dfs unmount --pool "$pool"
	check "the daemon has gone" daemon_gone "$pool"

	start
	mount -t tmpfs dynamicfs-test "$mnt"
	refuse "something on top is left alone" 1 "no DynamicFS" dfs unmount --mountpoint "$mnt"
	umount "$mnt"
	check "it is still there below" is_mounted "$mnt"

	# A number in the file of another user is not to be trusted.
	sleep 60 &
	victim=$!
	exec 3<"$mnt/file"
	text=$(sed "s/\"pid\": *[0-9]*/\"pid\": $victim/" "$pool/mounted")
	echo "$text" >"$pool/mounted"
	chown 65534 "$pool/mounted"
	dfs unmount --mountpoint "$mnt" --force >/dev/null 2>&1
	check "no process is ended on the word of another user's file" kill -0 "$victim"
	exec 3<&-
	kill "$victim"
	wait "$victim" 2>/dev/null
fi
finish
