#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
# rescue: real files come back without the pool directory, with disks missing, with rot; with names where the metadata lives, by
# number where it does not; what is missing is told to the byte; nothing on the disks is changed.
. "$(dirname "$0")/lib.sh"

dfs() { "$dynamicfs" "$@"; }
disks_of() { printf -- '--disk\n%s\n' "$@"; }
rescue() { local to=$1; shift; dfs rescue --to "$to" $(disks_of "$@") --json >"$work/out" 2>"$work/err"; }
says() { python3 -c "import json; r = json.load(open('$work/out')); assert $1, r"; }
tree() { (cd "$1" && find . -not -name lost+found -printf '%P %y %m %U:%G %T@ %n %l\n' | sed 's/\.\([0-9]*\) /.\1 /' | LC_ALL=C sort; find . -type f -print0 | LC_ALL=C sort -z | xargs -0r sha256sum); }
same() { tree "$1" >"$work/is" && cmp "$2" "$work/is"; }
disk_sums() { (cd "$work" && find disk? -type f -print0 | LC_ALL=C sort -z | xargs -0 sha256sum; find disk? -printf '%p %T@\n' | LC_ALL=C sort); }

make_pool || exit 1
start || exit 1
mkdir -p "$mnt/a/b/c" "$mnt/empty-dir"
head -c 5M /dev/urandom >"$mnt/a/large"
head -c 3000000 /dev/urandom >"$mnt/a/b/middle"
head -c 100 /dev/urandom >"$mnt/a/b/small"
: >"$mnt/a/b/c/empty"
printf 'odd' >"$mnt/a/$(printf 'od\351 \n name')"
ln -s "../large" "$mnt/a/b/link"
ln "$mnt/a/large" "$mnt/hard"
mkfifo "$mnt/a/fifo"
truncate -s 20M "$mnt/sparse"
printf 'end' >>"$mnt/sparse"
head -c 2M /dev/urandom >"$mnt/over"
sync "$mnt"
for at in 0 5000 1048000 2000000; do
	head -c 3000 /dev/urandom | dd of="$mnt/over" bs=1 seek=$at conv=notrunc status=none
	sync "$mnt/over"
done
setfattr -n user.colour -v green "$mnt/a/large" 2>/dev/null
[ "$(id -u)" -eq 0 ] && chown 1234:4321 "$mnt/a/b/small"
chmod 2750 "$mnt/a/b"
chmod 4711 "$mnt/a/b/middle"
touch -d '2001-02-03 04:05:06.789' "$mnt/a/b/middle" "$mnt/a/b" "$mnt/empty-dir"
touch -h -d '1999-09-09' "$mnt/a/b/link"
sync "$mnt"
refuse "not while it is in use" 4 "in use" dfs rescue --disk "$work/disk1" --to "$work/never"
check "nothing is left there" test ! -e "$work/never"
tree "$mnt" >"$work/tree"
over=$(stat -c %i "$mnt/over")
stop
mv "$pool" "$work/pool-away"
disk_sums >"$work/disks-before"

# ---- with names
check "all disks" rescue "$work/r1" "$work"/disk{1,2,3,4,5,6}
check "all is as it was" same "$work/r1/files" "$work/tree"
check "and nothing else is there" test "$(ls -A "$work/r1")" = files
check "it says so" says 'r["named"] and r["newest"] and r["damaged_files"] == 0 and r["missing"] == []'
[ -z "$(getfattr -n user.colour "$mnt/.." 2>&1 | grep -i "not found")" ] &&
	check "attributes, too" eval 'test ! -s <(getfattr --only-values -n user.colour "$work/r1/files/a/large" 2>&1 | grep -v green)'
check "two of six are missing" rescue "$work/r2" "$work"/disk{6,2,4,1}
check "all is as it was, without them" same "$work/r2/files" "$work/tree"
refuse "nothing is overwritten" 1 "not empty" dfs rescue --disk "$work/disk1" --to "$work/r2"
refuse "not onto a disk" 2 "inside one another" dfs rescue --disk "$work/disk1" --to "$work/disk1/x"
refuse "no disk there" 3 "none of the" dfs rescue --disk "$work/r2" --to "$work/r3"
refuse "wrong usage" 2 "usage" dfs rescue --to "$work/r3"

# ---- one too many is missing: what is lost is told, the rest is right
rescue "$work/r4" "$work"/disk{1,2,3}
check "three of six: exit code 5" test "$?" -eq 5
cat >"$work/judge.py" <<'PYTHON'
import json, os, sys
got, want = sys.argv[1:3]
lost = {}
for line in open(got + '/missing.jsonl', 'rb'):
    f = json.loads(line)
    if 'lost' in f:
        assert f['lost'] and f['lost_bytes'] == sum(x['to'] - x['from'] for x in f['lost']), f
        lost[os.stat(os.path.join(got, f['path'])).st_ino] = f['lost'] # all names of it
assert lost
checked = 0
for d, _, names in os.walk(want):
    for n in names:
        p = os.path.join(d, n)
        if os.path.islink(p) or not os.path.isfile(p):
            continue
        rel = 'files/' + os.path.relpath(p, want)
        a, b = open(p, 'rb').read(), open(os.path.join(got, rel), 'rb').read()
        assert len(a) == len(b), rel
        at = 0
        for x in lost.get(os.stat(os.path.join(got, rel)).st_ino, []) + [{'from': len(a), 'to': len(a)}]:
            assert a[at:x['from']] == b[at:x['from']], (rel, at, x)
            assert b[x['from']:x['to']] == bytes(x['to'] - x['from']), (rel, x)
            at = x['to']
            checked += 1
assert checked > 5
print(sum(x['to'] - x['from'] for v in lost.values() for x in v))
PYTHON
check "what is not told of is right, what is told of is zeros" python3 "$work/judge.py" "$work/r4" "$work/r1/files"
check "small files are there" cmp "$work/r4/files/a/b/small" "$work/r1/files/a/b/small"

# ---- no metadata at all
mkdir "$work/copy"
cp -a --sparse=always "$work"/disk[1-6] "$work/copy/"
rm -rf "$work"/copy/disk?/dynamicfs/meta
check "no metadata: by number" rescue "$work/r5" "$work"/copy/disk{1,2,3,4}
check "it says so, and no names" says 'not r["named"] and r["why"] and r["unnamed_files"] == r["files"]'
check "the newest bytes win where records overlap" cmp "$work/r5/unnamed/$over" "$work/r1/files/over"
check "each file that is large enough is there" eval '(cd "$work/r5/unnamed" && sha256sum * | cut -d" " -f1) >"$work/have";
	for f in a/large a/b/middle over sparse; do sha256sum <"$work/r1/files/$f" | cut -d" " -f1 | grep -qFf - "$work/have" || exit 1; done'
rm -f "$work/copy/disk1/dynamicfs/disk.json" "$work/copy/disk1/dynamicfs/disk-copy.json"
check "a disk without its name gives its records" rescue "$work/r6" "$work"/copy/disk{1,2,3,4}
check "the same" diff -r "$work/r5/unnamed" "$work/r6/unnamed"
mkdir -p "$work/other/disk" "$work/other/mnt"
dfs init --pool "$work/other/pool" >/dev/null
dfs add-disk --pool "$work/other/pool" --disk "$work/other/disk" >/dev/null
dfs mount --pool "$work/other/pool" --mountpoint "$work/other/mnt" >/dev/null
head -c 100000 /dev/urandom >"$work/other/mnt/file"
dfs unmount --mountpoint "$work/other/mnt" >/dev/null
rm -rf "$work"/other/disk/dynamicfs/{meta,disk*.json}
check "another pool's disk is named" eval 'dfs rescue --disk "$work/copy/disk1" --disk "$work/copy/disk2" --disk "$work/copy/disk3" \
	--disk "$work/copy/disk4" --disk "$work/other/disk" --to "$work/r8" 2>&1 | grep -q "other/disk holds records of another pool"'
check "and gives nothing" diff -r "$work/r5/unnamed" "$work/r8/unnamed"

# ---- rot and garbage in the segments
python3 - "$work"/copy/disk{2,3}/dynamicfs/segments <<'PYTHON'
import os, random, sys
random.seed(1)
for d in sys.argv[1:]:
    for n in os.listdir(d):
        p = os.path.join(d, n)
        size = os.path.getsize(p)
        with open(p, 'r+b') as f:
            for _ in range(60):
                f.seek(random.randrange(size))
                f.write(random.randbytes(random.choice([1, 8, 600])))
    open(os.path.join(d, 'ffffffff'), 'wb').write(random.randbytes(100000) + b'1DFSDFRG' * 9000)
    open(os.path.join(d, 'not-a-segment'), 'wb').write(b'x')
    os.truncate(p, size // 2 // 512 * 512 + 100)
PYTHON
check "rot on two of six" rescue "$work/r7" "$work"/copy/disk{2,3,4,5,6,1}
check "is made good" diff -r "$work/r5/unnamed" "$work/r7/unnamed"

disk_sums >"$work/disks-after"
check "not a byte on the disks has changed" cmp "$work/disks-before" "$work/disks-after"
exit "$failed"
