#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
# Lost disks are rebuilt in the background: given up by order, or away for long enough; over kills and restarts; it waits
# where disks are lacking, and obeys orders. Real files are compared before and after, with two more disks lost at the end.
cd "$(dirname "$0")" || exit 1
# shellcheck source=tests/func/lib.sh
. ./lib.sh

[ -w /dev/fuse ] || { skip "rebuild" "no /dev/fuse"; exit 0; }
dfs() { "$dynamicfs" "$@"; }
sums() { (cd "$mnt" && find . -type f -print0 | LC_ALL=C sort -z | xargs -0r sha256sum); }
same() { echo 3 2>/dev/null >/proc/sys/vm/drop_caches; sums | cmp -s - "$work/sums"; }
jobs_in() { dfs jobs --pool "$pool" --json | grep -q "\"state\": \"$1\""; }
none_in() { ! dfs jobs --pool "$pool" --json | grep -qE "\"state\": \"($1)\""; }
is_whole() { dfs status --pool "$pool" | grep -q 'all extents are whole'; }
set_to() { dfs set --pool "$pool" --rebuild-after "$@"; }

make_pool || exit 1
start || exit 1
head -c 60M /dev/urandom >"$mnt/large"
for i in $(seq 200); do head -c $((i * 150)) /dev/urandom >"$mnt/file$i"; done
sync "$mnt"
sums >"$work/sums"

# ---- two disks given up: six less two leave no room for RS 4+2; the daemon is killed in the middle
geometry() { dfs list-extents --pool "$pool" "$mnt/large" | grep -c "RS $1 "; }
is_as() { [ "$(geometry "$1")" -ge 60 ]; }
check "rebuild begins at once" set_to 15m --background-rate 2M
check "one is given up" dfs fail-disk --pool "$pool" --disk disk6
check "and another" dfs fail-disk --pool "$pool" --disk disk5
check "it goes on" wait_for 30 jobs_in running
job=$(dfs jobs --pool "$pool" | sed -n 's/^\([0-9]*\)  .*running.*/\1/p' | head -1)
check "paused" dfs jobs --pool "$pool" pause "$job"
refuse "not twice" 1 "not in a state" dfs jobs --pool "$pool" pause "$job"
refuse "no such job" 1 "no such job" dfs jobs --pool "$pool" resume 4711
refuse "no such order" 2 "pause, resume or cancel" dfs jobs --pool "$pool" stop "$job"
check "kill -9" kill -9 "$(daemon_pid "$pool")"
wait_for 10 daemon_gone "$pool"
umount -l "$mnt" 2>/dev/null || fusermount3 -uz "$mnt"
refuse "nothing to wait for while not mounted" 4 "not mounted" dfs jobs --pool "$pool" wait "$job"
check "shown while not mounted" eval 'dfs jobs --pool "$pool" | grep -q "nothing of this runs now"'
check "mounted again" start
check "paused still" jobs_in paused
refuse "no such job to wait for" 1 "no such job" dfs jobs --pool "$pool" wait 4711
check "resumed" dfs jobs --pool "$pool" resume "$job"
on_terminal() # COMMAND...: its first second, as a terminal of 90 columns would show it
{
	timeout 20 python3 - "$@" <<'PYTHON'
import fcntl, os, pty, select, struct, sys, termios, time
pid, fd = pty.fork()
if pid == 0:
	os.execvp(sys.argv[1], sys.argv[1:])
fcntl.ioctl(fd, termios.TIOCSWINSZ, struct.pack('HHHH', 24, 90, 0, 0))
said, end = b'', time.time() + 1
while time.time() < end:
	if select.select([fd], [], [], 0.1)[0]:
		said += os.read(fd, 4096)
os.kill(pid, 15)
lines = said.decode().replace('\x1b[K', '').split('\r')
assert all(len(line) < 90 for line in lines), lines
print('\n'.join(lines))
PYTHON
}
check "a terminal shows how far it is" eval 'on_terminal "$dynamicfs" jobs --pool "$pool" wait "$job" |
	grep -E "dynamicfs jobs: \S* running.*[0-9]%, .* of .*"'
set_to 15m --background-rate unlimited >/dev/null
check "it is waited for" eval 'dfs jobs --pool "$pool" wait "$job" | grep -q "^Job $job is done"'
check "as JSON, once it is done" eval 'dfs jobs --pool "$pool" wait "$job" --json |
	python3 -c "import json, sys; assert json.load(sys.stdin)[\"outcome\"][\"state\"] == \"done\""'
check "it comes to its end" wait_for 60 none_in "running|waiting|paused"
check "all is whole" is_whole
check "files read right" same
check "what had no disk is stored narrower" is_as 2+2

# ---- two more: three copies find no disk among two
check "a third is given up" dfs fail-disk --pool "$pool" --disk disk4
check "what bears one more loss waits" wait_for 30 jobs_in waiting
check "a fourth is given up" dfs fail-disk --pool "$pool" --disk disk3
check "it waits for disks" wait_for 30 jobs_in waiting
check "and says why" eval 'wait_for 30 eval "dfs jobs --pool \"$pool\" | tr -s \" \n\" \" \" | grep -q \"could not be restored: there is no disk\""'
check "status shows it" eval 'wait_for 30 eval "dfs status --pool \"$pool\" | grep -q \"Rebuild   of disk3: waiting\""'
check "files read right meanwhile" same
for i in 7 8 9 10; do
	mkdir "$work/disk$i"
	check "disk$i is added" dfs add-disk --pool "$pool" --disk "$work/disk$i" --label "disk$i"
done
check "it goes on" wait_for 60 none_in "running|waiting"
check "and grows as wide as wanted" wait_for 60 is_as 4+2
check "all is whole again" is_whole
check "files read right" same

# ---- a disk that stays away
set_to 1h >/dev/null
stop
mv "$work/disk7/dynamicfs" "$work/away"
check "mounted without it" start
check "it may come back" wait_for 10 jobs_in waiting
mv "$work/away" "$work/disk7/dynamicfs"
stop
check "it comes back" start
check "and there is nothing to do" wait_for 10 none_in "running|waiting"
stop
rm -rf "$work/disk7/dynamicfs"
check "it is lost" start
set_to 1s >/dev/null
mkdir "$work/disk11"
dfs add-disk --pool "$pool" --disk "$work/disk11" --label disk11 >/dev/null 2>&1
check "it is rebuilt by itself" wait_for 60 is_whole
check "files read right again" same

# ---- what was made anew bears what was promised: two more are lost
stop
rm -rf "$work/disk1/dynamicfs" "$work/disk8/dynamicfs"
check "two more are lost" start -o force
check "files read right without them" same
stop
check "fsck finds no damage" dfs fsck --pool "$pool" --force
exit "$failed"
