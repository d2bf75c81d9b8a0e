#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
# What write() accepted is stored, also when a disk of a nearly full pool is given up before it is.
# shellcheck source=tests/func/lib.sh
. "$(dirname "$0")/lib.sh"

if [ "$(id -u)" -ne 0 ]; then
	skip accepted "needs root, to mount small disks"
	exit 0
fi

# fill: files of 30 KB, which lie as copies; the last 4 of 10 are accepted and not stored. Prints how many there are.
fill()
{
	python3 - "$mnt" <<'END'
import os, random, sys, time
top = sys.argv[1]

def put(i):
    fd = os.open(f'{top}/{i}', os.O_CREAT | os.O_WRONLY)
    try:
        os.write(fd, random.Random(i).randbytes(30000))
    finally:
        os.close(fd)

def room():
    s = os.statvfs(top)
    return s.f_bavail * s.f_frsize

empty, full = room(), 0
try:
    while True:
        put(full)
        full += 1
except OSError as e:
    print(f'# {e}', file=sys.stderr)
for i in range(full + 1):
    if os.path.exists(f'{top}/{i}'):
        os.unlink(f'{top}/{i}')
os.system(f'sync {top}')
while room() < empty * 0.98:
    time.sleep(0.1)
for i in range(int(full * 0.99)):
    if i == full * 6 // 10:
        os.system(f'sync {top}')
    put(i)
print(int(full * 0.99))
END
}

all_there()
{
	python3 - "$mnt" "$1" <<'END'
import random, sys
for i in range(int(sys.argv[2])):
    with open(f'{sys.argv[1]}/{i}', 'rb') as f:
        if f.read() != random.Random(i).randbytes(30000):
            sys.exit(f'file {i} is wrong')
END
}

mkdir -p "$mnt"
"$dynamicfs" init --pool "$pool" >/dev/null
for i in 1 2 3 4 5 6; do
	mkdir "$work/disk$i"
	mount -t tmpfs -o size=44m dynamicfs-test "$work/disk$i" && tmpfs_mounted+=("$work/disk$i")
	"$dynamicfs" add-disk --pool "$pool" --disk "$work/disk$i" >/dev/null
done
"$dynamicfs" set --pool "$pool" --rebuild-after never >/dev/null
start -o flush_interval=600000
n=$(fill)
echo "# $n files"
check "many files are accepted" test "$n" -gt 500
check "a disk is given up" "$dynamicfs" fail-disk --pool "$pool" --disk disk6
check "what was accepted before is stored" sync "$mnt"
check "unmount" stop
check "mount" start
check "all that was accepted is there" all_there "$n"
finish
