#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
# chattr +i and +a, lsattr: what they forbid is what ext4 forbids, and they outlast the daemon.
. "$(dirname "$0")/lib.sh"

if [ "$(id -u)" -ne 0 ] || ! command -v chattr >/dev/null; then
	skip flags "needs root, and the package e2fsprogs"
	exit 0
fi
other=$work/other
mkdir "$other"
truncate -s 64M "$work/image"
if ! mkfs.ext4 -q "$work/image" 2>/dev/null || ! mount -o loop,user_xattr "$work/image" "$other" 2>/dev/null; then
	skip flags "no ext4 can be mounted"
	exit 0
fi
tmpfs_mounted+=("$other")

make_pool && start || { not_ok flags "no pool could be mounted"; exit 1; }
for dir in "$other" "$mnt"; do
	mkdir "$dir/flags"
	(cd "$dir/flags" && FLAGS_OURS=$([ "$dir" = "$mnt" ] && echo 1) python3 "$repo/tests/func/_flags.py") >"$work/said-$(basename "$dir")" 2>&1
done
check "everything was tried" grep -q "^32$" "$work/said-mnt"
if diff "$work/said-other" "$work/said-mnt" >"$work/differs"; then
	ok "what flags forbid is what ext4 forbids"
else
	not_ok "what flags forbid is what ext4 forbids" "$(head -n 6 "$work/differs" | tr '\n' ' ')"
fi

mkdir "$mnt/d"
echo data >"$mnt/d/f"
check "chattr" chattr +i "$mnt/d/f"
check "of a directory" chattr +a "$mnt/d"
words() { lsattr "$mnt/d/f" | cut -d' ' -f1 | tr -d -; lsattr -d "$mnt/d" | cut -d' ' -f1 | tr -d -; }
check "lsattr" test "$(words | tr '\n' ' ')" = "i a "
refuse "a flag that is not kept" 1 "not supported" chattr +c "$mnt/d/f"
before=$(stat -c %z "$mnt/d")
chattr -a "$mnt/d" && chattr +a "$mnt/d"
check "ctime changes" test "$(stat -c %z "$mnt/d")" != "$before"
# Changed through mmap before the flag came: stored.
python3 - "$mnt/mapped" <<'END'
import fcntl, mmap, os, sys
fd = os.open(sys.argv[1], os.O_CREAT | os.O_RDWR)
os.write(fd, b"." * 8192)
m = mmap.mmap(fd, 8192)
m[5000:5004] = b"mmap"
os.system(f"chattr +i {sys.argv[1]}")
m.flush()
END
stop
start
check "flags outlast the daemon" test "$(words | tr '\n' ' ')" = "i a "
refuse "and are obeyed" 1 "not permitted" bash -c "echo more >>'$mnt/d/f'"
check "a page of before is stored" grep -q mmap "$mnt/mapped"
check "flags go" chattr -R -ia "$mnt/d" "$mnt/mapped"
check "then all is possible" rm -r "$mnt/d" "$mnt/mapped"
chattr -R -ia "$mnt/flags" "$other/flags" 2>/dev/null
finish
