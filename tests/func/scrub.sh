#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
# Scrub through a real mount: bytes flipped in the segments of one disk, of two, of one more than is borne; segments cut and
# deleted; without and with --repair; kill -9 in the middle; metadata that rots; not mounted.
cd "$(dirname "$0")" || exit 1
# shellcheck source=tests/func/lib.sh
. ./lib.sh

[ -w /dev/fuse ] || { skip "scrub" "no /dev/fuse"; exit 0; }
dfs() { "$dynamicfs" "$@"; }
scrub() { dfs scrub --pool "$pool" --wait "$@"; }
sums() { (cd "$mnt" && find . -type f -print0 | LC_ALL=C sort -z | xargs -0r sha256sum); }
same() { echo 3 2>/dev/null >/proc/sys/vm/drop_caches; sums | cmp -s - "$work/sums"; }
# field KEY FILE: the number that --json has under that name, the last one
field() { sed -n 's/.*"'"$1"'": *\([0-9]*\).*/\1/p' "$2" | tail -1; }

# flip DISK COUNT: so many bytes of its segments, spread over what they hold
flip()
{
	python3 - "$work/disk$1/dynamicfs/segments" "$2" <<-'END'
		import glob, os, sys
		files = sorted(glob.glob(sys.argv[1] + '/*'))
		n = int(sys.argv[2])
		for path in files:
		    data = os.path.getsize(path)
		    with open(path, 'r+b') as f:
		        for i in range(n):
		            at = 8192 + i * max(1, (min(data, 8 << 20) - 8192) // n)
		            f.seek(at)
		            byte = f.read(1) or b'\0'
		            f.seek(at)
		            f.write(bytes([byte[0] ^ 0x55]))
	END
}

make_pool || exit 1
start || exit 1
head -c 24M /dev/urandom >"$mnt/large"
for i in $(seq 60); do head -c $((5000 + i * 300)) /dev/urandom >"$mnt/file$i"; done
sync "$mnt"
sums >"$work/sums"
check "a whole pool" scrub
check "no damage" eval 'scrub | grep -q "No damage was found"'
check "begun without waiting" eval 'dfs scrub --pool "$pool" | grep -q "has begun"'
check "and it ends" wait_for 20 eval 'dfs jobs --pool "$pool" | tail -1 | grep -q "scrub: done"'

# ---- one disk, two disks
for disks in 1 "2 3"; do
	for d in $disks; do flip "$d" 6; done
	refuse "damage on $disks: exit code 5" 5 "Damage stays" scrub
	scrub --json >"$work/json"
	[ "$(field extents_degraded "$work/json")" -gt 0 ] && ok "extents are degraded" || not_ok "extents are degraded" "$(field extents_degraded "$work/json")"
	check "with their paths" grep -q '"path": "/large"' "$work/json"
	check "and what is wrong" grep -q '"issue": "damaged"' "$work/json"
	check "jobs --json shows them, too" eval 'dfs jobs --pool "$pool" --json | grep -q "\"issue\": \"damaged\""'
	check "repaired: exit code 0" scrub --repair
	check "nothing is left" eval 'scrub --repair | grep -q "No damage was found"'
	check "files read right" same
done

# ---- segments that are cut, and deleted
first=$(find "$work/disk4/dynamicfs/segments" -type f | sort | head -1)
truncate -s 100000 "$first"
check "a cut one is repaired" scrub --repair
rm "$(find "$work/disk5/dynamicfs/segments" -type f | sort | head -1)"
check "a deleted one is repaired" scrub --repair
dfs jobs --pool "$pool" --json >"$work/json"
check "what was deleted is missing" grep -q '"issue": "missing"' "$work/json"
check "files read right again" same
check "all is whole" eval 'scrub | grep -q "No damage was found"'

check "the trail names the file" eval 'dfs audit --pool "$pool" --last 1000 | grep -q "^[0-9: -]*  /large: repaired"'
check "and only so many" eval '[ "$(dfs audit --pool "$pool" --last 3 --json | grep -c wall_s)" -eq 3 ]'

# ---- only one disk
flip 6 3
refuse "one disk" 5 "Damage stays" scrub --disk disk6
check "another one" scrub --disk disk1
refuse "no such disk" 3 "cannot find a disk" scrub --disk nowhere
check "repaired" scrub --repair

# ---- kill -9 in the middle
flip 1 6
dfs scrub --pool "$pool" --repair --rate 10M >/dev/null
sleep 1
check "it is under way" eval 'dfs jobs --pool "$pool" | tail -3 | grep -q "scrub: running"'
refuse "no second one" 4 "is not over" dfs scrub --pool "$pool"
check "kill -9" kill -9 "$(daemon_pid "$pool")"
wait_for 10 daemon_gone "$pool"
umount -l "$mnt" 2>/dev/null || fusermount3 -uz "$mnt"
check "mounted again" start
check "it goes on, and ends" wait_for 30 eval 'dfs jobs --pool "$pool" | tail -1 | grep -q "scrub: done"'
check "it is repaired" eval 'scrub | grep -q "No damage was found"'
check "files read right after the kill" same

# ---- metadata
ring=$work/disk2/dynamicfs/meta/roots
printf 'rot' | dd of="$ring" bs=1 seek=$((9 * 20480 + 300)) conv=notrunc status=none
table=$(find "$work/disk3/dynamicfs/meta/tables" -type f | sort | head -1)
if [ -n "$table" ]; then printf 'rot' | dd of="$table" bs=1 seek=250 conv=notrunc status=none; fi
refuse "metadata rots" 5 "metadata root" scrub
check "it is repaired" scrub --repair
check "and whole" eval 'scrub | grep -q "No damage was found"'

# ---- more than is borne: nothing is overwritten, the rest is whole
ls -l "$mnt" >"$work/list"
for d in 1 2 3 4 5 6; do flip "$d" 1; done
scrub --repair --json >"$work/json" 2>/dev/null
code=$?
lost=$(field extents_unrecoverable "$work/json")
if [ "${lost:-0}" -gt 0 ]; then
	[ $code -eq 5 ] && ok "unrecoverable: exit code 5" || not_ok "unrecoverable: exit code 5" "$code"
	check "status knows" eval 'dfs status --pool "$pool" | grep -qE "may be damaged|is damaged"'
else
	[ $code -eq 0 ] && ok "all was repaired" || not_ok "all was repaired" "$code"
fi
ls -l "$mnt" | cmp -s - "$work/list" && ok "no file is deleted" || not_ok "no file is deleted" "they differ"
rm -f "$mnt"/*
stop

# ---- by itself
check "status tells of the last one" eval 'dfs status --pool "$pool" | grep -q "Scrub     ended .* ago: .*; next in 2[0-9] d"'
check "off" eval 'dfs set --pool "$pool" --scrub-interval off | grep -q "Nothing is verified by itself"'
check "status says so" eval 'dfs status --pool "$pool" | grep -q "Scrub .*none is due"'
check "often, without repair" dfs set --pool "$pool" --scrub-interval 1s --repair-auto off
start || exit 1
check "it begins by itself" wait_for 20 eval 'dfs status --pool "$pool" --json | grep -q "\"background\": true"'
check "back to a month" dfs set --pool "$pool" --scrub-interval 30d
stop
check "the setting lasts" eval 'dfs status --pool "$pool" --json | grep -q "\"interval_s\": 2592000"'

# ---- not mounted
check "not mounted" scrub
finish
