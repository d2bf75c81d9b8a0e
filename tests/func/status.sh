#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
# What status and others say of a pool with plenty of room, with little, with none, and with one of each: nothing
# that contradicts itself, and counts of one in the singular.
. "$(dirname "$0")/lib.sh"

if [ "$(id -u)" -ne 0 ]; then
	skip "status" "needs root, for small tmpfs"
	exit 0
fi

# small_pool SIZE...: a mounted pool over tmpfs of these sizes
small_pool()
{
	local size i=0

	rm -rf "$pool"
	mkdir -p "$mnt"
	"$dynamicfs" init --pool "$pool" >/dev/null
	for size in "$@"; do
		i=$((i + 1))
		mkdir -p "$work/d$i"
		mount -t tmpfs -o "size=$size" dynamicfs-test "$work/d$i" || exit 1
		tmpfs_mounted+=("$work/d$i")
		"$dynamicfs" add-disk --pool "$pool" --disk "$work/d$i" >/dev/null 2>&1
	done
	start || not_ok "start" "failed"
}
end_pool()
{
	stop
	umount "$work"/d? 2>/dev/null
}
status() { "$dynamicfs" status --pool "$pool" "$@" | tr -s '\n ' ' '; }
healthy_again() { status | grep -q "is healthy, mounted"; }
no_room() { status | grep -q "no room for more"; }
# Until the last of it is stored, the account may tell some small extents more; or what was set aside for it was more than it took.
fill()
{
	for _ in 1 2 3; do
		head -c 300M /dev/urandom >>"$mnt/f" 2>/dev/null
		wait_for 5 no_room && return
	done
}

# says NAME PATTERN, and tells_not NAME PATTERN: of the page that was looked at last
look() { page=$(status); }
says() { if grep -qE -- "$2" <<<"$page"; then ok "$1"; else not_ok "$1" "no '$2' in: $page"; fi; }
tells_not() { if grep -qE -- "$2" <<<"$page"; then not_ok "$1" "'$2' in: $page"; else ok "$1"; fi; }

# ---- disks enough, full
small_pool 24m 24m 24m 24m 24m 24m
look
says "plenty: healthy" "is healthy, mounted"
tells_not "plenty: no warning about room" "full:? no|too few disks|nearly full|is full"
says "raw: what the disks have" "Raw disks of 14[0-9] MiB: .* stored, 1[0-9]+ MiB free"
tells_not "equal disks strand nothing" "can't be used"
cat >"$work/watch.py" <<'PYTHON'
import fcntl, os, pty, select, struct, sys, termios, time
pid, fd = pty.fork()
if pid == 0:
	os.execvp(sys.argv[1], sys.argv[1:])
fcntl.ioctl(fd, termios.TIOCSWINSZ, struct.pack('HHHH', 24, 120, 0, 0))
said, end = b'', time.time() + 2.5
while time.time() < end:
	if select.select([fd], [], [], 0.1)[0]:
		said += os.read(fd, 65536)
os.kill(pid, 15)
pages = said.split(b'\x1b[H')[1:]
assert len(pages) >= 2, said
assert all(b'Files' in p and b'\x1b[J' in p for p in pages[:-1]), pages
PYTHON
check "watching draws it anew" env TERM=xterm python3 "$work/watch.py" "$dynamicfs" status --pool "$pool" --watch
refuse "watching is for people" 2 "cannot watch with --json" "$dynamicfs" status --pool "$pool" --watch --json
says "an empty pool's only inode" "Files 1 inode, 0 extents"
fill
look
says "full: said beside the health" "is healthy, but full, mounted"
says "full: no room" "100% full: .* no room for more"
says "full: new data" "New data none fits"
says "full: what to do" "the pool is full: nothing can be added until files are deleted"
tells_not "full: no geometry is called for" "too few disks|kept as nothing|nothing \(|Wanted|add disks"
check "df agrees" test "$(df --output=avail "$mnt" | tail -1)" -eq 0
refuse "and so does writing" 1 "No space" bash -c "head -c 5000 /dev/urandom >'$mnt/g'"
truncate -s -6M "$mnt/f"
sync "$mnt/f"
roomy() { look; grep -qE 'room for [1-9][.0-9]* MiB more' <<<"$page"; }
wait_for 15 roomy
look
says "some MiB: room again" "room for [1-9][.0-9]* MiB more"
tells_not "some MiB: not full" "but full|is full|none fits"
says "some MiB: as wanted" "large files RS 4\+2, all else 3 copies"
check "some MiB: and they can be written" bash -c "head -c 1000000 /dev/urandom >'$mnt/g'"
end_pool

# ---- disks enough, but of some only
small_pool 24m 24m 24m 24m 72m 72m 72m
look
says "uneven disks strand some, and it is said" "Raw disks of .* free, of which 1[0-9]{2} MiB can't be used: too few disks have so much"
fill
truncate -s -20M "$mnt/f"
sync "$mnt/f"
look
tells_not "never kept as nothing" "as nothing|nothing \("
end_pool

# ---- too few disks
small_pool 40m 40m 40m
look
says "three disks: large files only" "too few disks for RS 4\+2: large files are kept as 3 copies now; add disks"
fill
look
tells_not "three disks, full: no talk of geometry" "too few|as nothing"
end_pool

# ---- disks were given up, and no extent tells of it
small_pool 40m 40m
look
says "two disks: healthy" "is healthy, mounted"
check "one is given up" "$dynamicfs" fail-disk --pool "$pool" --disk d2
look
says "one of two is left: the headline tells" "is degraded, mounted"
says "and the warning why" "the metadata is on one disk only: bring back disks, or add some"
end_pool

# ---- somebody has taken the last inode of one disk: the others go on, and it is said
inodes=100m,nr_inodes=80
small_pool $inodes $inodes $inodes $inodes $inodes $inodes
mkdir "$work/d1/others"
(i=0; while : >"$work/d1/others/$i"; do i=$((i + 1)); done) 2>/dev/null
many() # DIGIT: more than the journal takes
{
	python3 - "$mnt" "$1" <<'EOF'
import os, sys
for i in range(3000):
    with open(f'{sys.argv[1]}/{sys.argv[2]}{i}', 'wb') as f:
        f.write(os.urandom(3000))
EOF
}
for n in 1 2; do
	check "no inode on one disk: small files, $n" many "$n"
	check "no inode on one disk: they are stored, $n" sync "$mnt"
done
look
says "no inode on one disk: not healthy" "is degraded, mounted"
says "no inode on one disk: which, and what to do" "disk d1 .* has no inode left .* remove files of others there"
check "no inode on one disk: deleting works" find "$mnt" -type f -delete
check "no inode on one disk: all is stored in the end" stop
rm -r "$work/d1/others"
start
wait_for 15 healthy_again # after a trial
look
says "inodes again: healthy" "is healthy, mounted"
end_pool

# ---- one of each
small_pool 40m
look
says "one disk: both" "too few disks for RS 4\+2 and 3 copies: new data is kept as 1 copy now"
says "one disk has the metadata" "the metadata is on one disk only: add disks"
says "one journal" "journal on 1 disk,"
refuse "one copy" 0 "all else in 1 copy, metadata" "$dynamicfs" set --pool "$pool" --copies 1
head -c 50000 /dev/urandom >"$mnt/f"
sync "$mnt/f"
look
says "one extent" "2 inodes, 1 extent New"
refuse "one journal, of show-redundancy" 0 "its journal is on 1 disk\\." \
	"$dynamicfs" show-redundancy --pool "$pool"
echo small >"$mnt/g"
echo small >"$mnt/h"
refuse "one file more" 0 "and 1 more file " "$dynamicfs" show-redundancy / --limit 2 --pool "$pool"
"$dynamicfs" unmount --mountpoint "$mnt" >/dev/null
umount "$work/d1"
refuse "one disk, not there" 3 "it has 1 disk, and none is there" "$dynamicfs" status --pool "$pool"
exit "$failed"
