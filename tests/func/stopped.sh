#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
# A daemon that is stopped: commands say so within seconds, and do nothing beside it.
. "$(dirname "$0")/lib.sh"

make_pool || { not_ok "pool" "can't be made"; exit 1; }
start
echo before >"$mnt/file"
pid=$(daemon_pid "$pool")
resume_it() { kill -CONT "$pid" 2>/dev/null; cleanup; }
trap resume_it EXIT
kill -STOP "$pid"
begin=$SECONDS
says_so="process $pid\) does not answer, for it is stopped .* nothing was done; .* kill -CONT $pid"
orders=("status" "list-disks" "fail-disk --disk disk6" "fail-disk --disk disk6 --force" "set --verify-writes on")
for i in "${!orders[@]}"; do
	# shellcheck disable=SC2086
	refuse "${orders[$i]}" 1 "$says_so" timeout -k 1 30 "$dynamicfs" ${orders[$i]} --pool "$pool" \
		>"$work/result$i" &
	waiters[i]=$!
done
for i in "${!orders[@]}"; do
	wait "${waiters[$i]}"
	cat "$work/result$i"
	grep -q '^ok' "$work/result$i" || failed=1
done
check "all within seconds" test $((SECONDS - begin)) -le 15
kill -CONT "$pid"
healthy() { "$dynamicfs" list-disks --pool "$pool" | grep disk6 | grep -q healthy; }
check "nothing was done" healthy
check "it answers again" "$dynamicfs" status --pool "$pool"

# unmount takes the mount away, says what is so, and the daemon stores everything when it goes on
echo unsynced >"$mnt/more"
kill -STOP "$pid"
refuse "unmount" 1 "mnt is unmounted, but its daemon .process $pid. is stopped .*kill -CONT $pid; then it stores everything" \
	timeout -k 1 30 "$dynamicfs" unmount --mountpoint "$mnt"
check "the mount is gone" sh -c "! mountpoint -q $mnt"
check "the daemon is there" kill -0 "$pid"
kill -CONT "$pid"
check "it ends then" wait_for 20 daemon_gone "$pool"
start
check "everything was stored" grep -qx unsynced "$mnt/more"
finish
