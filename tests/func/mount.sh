#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
# The mount itself: that it answers when the command returns, what it refuses, and every way in which
# it ends, with the data stored each time.
. "$(dirname "$0")/lib.sh"

mount_at() { "$dynamicfs" mount --pool "$pool" --mountpoint "$@"; }

# keeps NAME: what was written before the mount ended is there after the next mount.
count=0
write_one()
{
	count=$((count + 1))
	echo "content $count" >"$mnt/file$count"
	head -c 1500000 /dev/urandom >"$mnt/big" && sha256sum <"$mnt/big" >"$work/big.sum"
}
keeps()
{
	start || { not_ok "$1" "can't be mounted again"; return; }
	if [ "$(cat "$mnt/file$count")" = "content $count" ] &&
		[ "$(sha256sum <"$mnt/big")" = "$(cat "$work/big.sum")" ]; then
		ok "$1"
	else
		not_ok "$1" "file$count or big is not as it was written"
	fi
}

# ---- refusals: each changes nothing
make_disks "$work"
mkdir -p "$mnt" "$work/foreign" "$work/full" "$work/empty-pool" "$work/other mnt"
echo x >"$work/foreign/file"
touch "$work/full/file" "$work/afile"
refuse "no pool there" 3 "not a pool" "$dynamicfs" mount --pool "$work/foreign" --mountpoint "$mnt"
check "a foreign directory is left alone" test "$(ls -A "$work/foreign")" = file
refuse "no such pool directory" 3 "No such file" \
	"$dynamicfs" mount --pool "$work/none" --mountpoint "$mnt"
"$dynamicfs" init --pool "$work/empty-pool" >/dev/null
refuse "pool without a disk" 3 "no disk yet" \
	"$dynamicfs" mount --pool "$work/empty-pool" --mountpoint "$mnt"
make_pool || not_ok "pool" "can't be made"
refuse "mountpoint is missing" 1 "No such file" mount_at "$work/none"
refuse "mountpoint is a file" 1 "not a directory" mount_at "$work/afile"
refuse "mountpoint is not empty" 1 "not empty" mount_at "$work/full"
mkdir "$pool/inside"
refuse "mountpoint in the pool" 2 "within one another" mount_at "$pool/inside"
rmdir "$pool/inside"
refuse "mountpoint holds the pool" 2 "within one another" mount_at "$work"
refuse "bad value of an option" 2 "not allowed" mount_at "$mnt" -o dirty_limit=12
refuse "unknown option" 2 "nonsense" mount_at "$mnt" -o nonsense
if [ "${#tmpfs_mounted[@]}" -gt 0 ]; then
	refuse "mountpoint is another mount" 4 "mounted there already" mount_at "${tmpfs_mounted[0]}"
fi
refuse "unmount of what is not mounted" 1 "no DynamicFS" "$dynamicfs" unmount --mountpoint "$mnt"
check "nothing was mounted by all that" eval "! is_mounted '$mnt'"

# ---- mounted
start || not_ok "mount" "failed"
check "answers at once" stat -f "$mnt"
check "is mounted when the command returns" is_mounted "$mnt"
check "its source is the pool" eval "grep -q '^$pool $mnt fuse.dynamicfs' /proc/mounts"
mkdir -p "$work/mnt2"
refuse "a second mount of the pool" 4 "mounted already, at $mnt" mount_at "$work/mnt2"
refuse "a mount over the mount" 4 "mounted already" mount_at "$mnt"
write_one
check "sync of the mountpoint" sync "$mnt"
check "unmount" stop
check "the daemon has gone when unmount returns" daemon_gone "$pool"
check "the pool is free when unmount returns" flock -n "$pool/lock" true
check "the mountpoint is empty again" test -z "$(ls -A "$mnt")"
check "the log tells of it" grep -q "is unmounted" "$pool/log"
keeps "data after unmount"

# ---- busy
sleep 60 3<"$mnt/file1" &
sleeper=$!
refuse "unmount while a file is open" 4 "open" "$dynamicfs" unmount --mountpoint "$mnt"
check "it stays mounted then" cat "$mnt/file1"
write_one
check "unmount --force" "$dynamicfs" unmount --mountpoint "$mnt" --force
kill "$sleeper"
wait "$sleeper" 2>/dev/null
keeps "data after unmount --force"

# ---- signals and umount
for signal in TERM INT HUP QUIT PWR; do
	write_one
	kill -"$signal" "$(daemon_pid "$pool")"
	check "SIG$signal ends the daemon" wait_for 20 daemon_gone "$pool"
	check "SIG$signal unmounts" eval "! is_mounted '$mnt'"
	keeps "data after SIG$signal"
done
for signal in USR1 USR2 ALRM VTALRM PROF IO XCPU; do
	kill -"$signal" "$(daemon_pid "$pool")"
done
sleep 0.2
check "stray signals don't end it" daemon_pid "$pool"
check "nor disturb it" touch "$mnt/after-signals"
write_one
if [ "$(id -u)" -eq 0 ]; then umount "$mnt"; else fusermount3 -u "$mnt"; fi
check "umount from outside ends the daemon" wait_for 20 daemon_gone "$pool"
check "its outcome is good" grep -q '"outcome": 0' "$pool/mounted"
keeps "data after umount"

# ---- pages changed through mmap, never synced, and SIGTERM while they are mapped
python3 -B - "$mnt/mapped" "$work/mapped-ready" <<'END' &
import mmap, os, sys, time
fd = os.open(sys.argv[1], os.O_CREAT | os.O_RDWR)
os.ftruncate(fd, 8 << 20)
m = mmap.mmap(fd, 8 << 20)
for at in range(0, 8 << 20, 4096):
    m[at:at + 6] = b"mapped"
open(sys.argv[2], "w").close()
time.sleep(60)
END
mapper=$!
wait_for 10 test -e "$work/mapped-ready"
write_one
kill -TERM "$(daemon_pid "$pool")"
check "SIGTERM while a file is mapped" wait_for 20 daemon_gone "$pool"
kill "$mapper"
wait "$mapper" 2>/dev/null
keeps "data after SIGTERM while busy"
check "the pages changed through mmap were stored" \
	test "$(grep -ao mapped "$mnt/mapped" | wc -l)" -eq 2048

# ---- killed
write_one
sync "$mnt"
pid=$(daemon_pid "$pool")
kill -9 "$pid"
check "the daemon is killed" wait_for 10 daemon_gone "$pool"
start 2>"$work/said"
check "a mount over the dead mount works, and says so" grep -q "daemon that died" "$work/said"
stop
keeps "data after kill -9"
kill -9 "$(daemon_pid "$pool")"
wait_for 10 daemon_gone "$pool"
check "unmount of a dead mount" stop
check "the dead mount is gone" eval "! is_mounted '$mnt'"

# ---- killed while unmount waits for it
mount_gone() { ! is_mounted "$mnt"; }
start || not_ok "mount" "failed"
pid=$(daemon_pid "$pool")
kill -STOP "$pid"
"$dynamicfs" unmount --mountpoint "$mnt" >"$work/said" 2>&1 &
waiter=$!
wait_for 30 mount_gone # then it waits for the daemon
kill -9 "$pid"
wait $waiter
check "unmount fails when the daemon dies meanwhile" test $? -eq 1
check "it says so" grep -q "daemon died" "$work/said"
keeps "synced data after that"
stop

# ---- read-only: not a byte of the disks changes
sums() { find "$work"/disk? -type f -exec sha256sum {} + | sort; }
sums >"$work/before"
start -o ro || not_ok "mount -o ro" "failed"
check "read-only: reads" cat "$mnt/file1"
refuse "read-only: no writes" 1 "Read-only" touch "$mnt/new"
stop
sums >"$work/after"
check "read-only: the disks are as before" cmp "$work/before" "$work/after"

# ---- in the foreground
"$dynamicfs" mount --pool "$pool" --mountpoint "$mnt" --foreground \
	-o dirty_limit=64M,flush_interval=1000,seal_workers=1 2>"$work/foreground" &
pid=$!
check "foreground: comes up" wait_for 20 is_mounted "$mnt"
wait_for 10 grep -q "is mounted at" "$work/foreground"
check "foreground: logs to stderr" grep -q "is mounted at" "$work/foreground"
check "foreground: is the process that was started" test "$(daemon_pid "$pool")" = "$pid"
write_one
kill -INT "$pid"
wait "$pid"
check "foreground: exit code 0 after SIGINT" test $? -eq 0
keeps "data after a foreground mount"
stop

# ---- options that FUSE and the kernel take
start -o allow_other,noexec,suid,noatime || not_ok "mount with options" "failed"
check "options reach the kernel" eval "grep '^$pool $mnt ' /proc/mounts | grep -q noexec"
stop

# ---- many at once: one wins
for i in 1 2 3 4; do
	mkdir -p "$work/race$i"
	"$dynamicfs" mount --pool "$pool" --mountpoint "$work/race$i" >/dev/null 2>&1 &
done
wait
winners=$(awk -v w="$work/race" 'index($2, w) == 1' /proc/mounts)
check "of four mounts at once one wins" test "$(wc -l <<<"$winners")" -eq 1
"$dynamicfs" unmount --mountpoint "$(cut -d' ' -f2 <<<"$winners")" >/dev/null

# ---- names that need care
ln -s "$pool" "$work/a, b"
"$dynamicfs" mount --pool "$work/a, b" --mountpoint "$work/other mnt" >/dev/null
check "blanks and commas in the names" is_mounted "$work/other\\040mnt"
check "a mount without options works" touch "$work/other mnt/x"
check "unmount of it" "$dynamicfs" unmount --mountpoint "$work/other mnt"

# ---- mount(8) and fstab, by the helper, in a mount namespace of its own
if [ "$(id -u)" -ne 0 ] || ! unshare -m true 2>/dev/null; then
	skip "mount -t fuse.dynamicfs" "needs root"
else
	mkdir -p "$work/sbin" "$work/etc"
	# mount(8) takes PATH out of the environment; the helper knows where it was installed to
	sed "s|^bindir=.*|bindir=$(dirname "$dynamicfs")|" "$repo/tools/mount.fuse.dynamicfs" \
		>"$work/sbin/mount.fuse.dynamicfs"
	chmod 755 "$work/sbin/mount.fuse.dynamicfs"
	echo "$pool $mnt fuse.dynamicfs noauto,nofail,x-systemd.automount,flush_interval=2000 0 0" \
		>"$work/etc/fstab"
	cat >"$work/namespace.sh" <<END
mount -t overlay overlay -o lowerdir=$work/sbin:\$(realpath /sbin) \$(realpath /sbin) || exit 77
touch /etc/fstab && mount --bind $work/etc/fstab /etc/fstab || exit 77
mount -t fuse.dynamicfs $pool $mnt || exit 1
touch $mnt/by-mount || exit 2
umount $mnt || exit 3
mount $mnt || exit 5
test -e $mnt/by-mount || exit 6
umount $mnt || exit 7
mount -t fuse.dynamicfs -o ro $pool $mnt || exit 8
touch $mnt/no 2>/dev/null && exit 9
$dynamicfs unmount --mountpoint $mnt || exit 10
mount -t fuse.dynamicfs -o nonsense $pool $mnt 2>/dev/null && exit 11
mount -t fuse.dynamicfs -o suid,dev,strictatime $pool $mnt || exit 12
grep -q " $mnt fuse.dynamicfs rw,relatime" /proc/mounts || exit 13
mount -o remount,ro $mnt || exit 14
touch $mnt/no 2>/dev/null && exit 15
mount -o remount,rw $mnt || exit 16
touch $mnt/yes || exit 17
umount $mnt || exit 18
exit 0
END
	unshare -m sh "$work/namespace.sh" >"$work/said" 2>&1
	code=$?
	case $code in
	0) ok "mount -t fuse.dynamicfs, fstab, umount" ;;
	77) skip "mount -t fuse.dynamicfs" "no overlay over /sbin here" ;;
	*) not_ok "mount -t fuse.dynamicfs, fstab, umount" "step $code: $(tail -n 2 "$work/said")" ;;
	esac
fi

# ---- written bytes reach the daemon at once, not when the kernel gets around to it (F8): it stores them
# though the file is neither closed nor synced
start || not_ok "mount" "failed"
python3 -c 'import os, sys, time
fd = os.open(sys.argv[1], os.O_WRONLY | os.O_CREAT, 0o644)
os.write(fd, bytes(5000))
time.sleep(60)' "$mnt/open" &
writer=$!
stored() { "$dynamicfs" inspect path /open --pool "$pool" --json | grep -q '"size_bytes": *5000'; }
check "what was written is stored while the file is open" wait_for 20 stored
kill "$writer"
wait "$writer" 2>/dev/null
stop

# ---- all disks vanish under written data: unmount may not call that a success
start || not_ok "mount" "failed"
head -c 3000000 /dev/urandom >"$mnt/lost"
mkdir "$work/away"
for i in 1 2 3 4 5 6; do
	cp -a "$work/disk$i/dynamicfs" "$work/away/$i" && rm -rf "$work/disk$i/dynamicfs"
done
refuse "unmount when nothing can be stored" 1 "not all data" "$dynamicfs" unmount --mountpoint "$mnt"
check "the daemon has gone all the same" daemon_gone "$pool"
refuse "mount without the disks" 3 "cannot" mount_at "$mnt"
check "no mount is left" eval "! is_mounted '$mnt'"
for i in 1 2 3 4 5 6; do
	rm -rf "$work/disk$i/dynamicfs" && cp -a "$work/away/$i" "$work/disk$i/dynamicfs"
done
mv "$pool" "$work/former-pool"
# shellcheck disable=SC2046
check "import of the disks" "$dynamicfs" import --pool "$pool" \
	$(printf -- "--disk $work/disk%s " 1 2 3 4 5 6)
keeps "older data once the disks are back"
finish
