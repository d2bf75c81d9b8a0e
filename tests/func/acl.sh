#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
# Access control lists: what _acl.sh does gives the same on the mount as on ext4 (tmpfs where no loop device can be had),
# for root and for an ordinary user; lists outlast the daemon; the option noacl.
. "$(dirname "$0")/lib.sh"

if [ "$(id -u)" -ne 0 ] || ! command -v setfacl getfattr setpriv >/dev/null; then
	skip acl "needs root, and the packages acl and attr"
	exit 0
fi

other=$work/other
mkdir "$other"
truncate -s 64M "$work/image"
if mkfs.ext4 -q -b 4096 "$work/image" 2>/dev/null && mount -o loop,acl "$work/image" "$other" 2>/dev/null; then
	kind=ext4
elif mount -t tmpfs dynamicfs-test "$other"; then
	kind=tmpfs
else
	skip acl "no other filesystem can be mounted"
	exit 0
fi
tmpfs_mounted+=("$other")
cp "$repo/tests/func/_acl.sh" "$work/"

as_root() { "$@"; }
as_user() { setpriv --reuid 1001 --regid 1001 --groups 1001,2001 "$@"; }

# in_both WHO CASE: does it there and here, and compares
in_both()
{
	local dir said start=$SECONDS

	for dir in "$other" "$mnt"; do
		mkdir "$dir/$1-$2"
		[ "$1" = as_root ] || chown 1001:1001 "$dir/$1-$2"
		(cd "$dir/$1-$2" && "$1" bash "$work/_acl.sh" "$2") >"$work/said-$(basename "$dir")" </dev/null
	done
	said=$(diff "$work/said-other" "$work/said-mnt")
	if [ -n "$said" ]; then
		not_ok "$2 $1" "not as on $kind: $(head -n 8 <<<"$said" | tr '\n' ' ')"
	elif [ ! -s "$work/said-mnt" ]; then
		not_ok "$2 $1" "nothing was said"
	else
		ok "$2 $1, as on $kind${TEST_TIMES:+  # $((SECONDS - start)) s}"
	fi
}

make_pool && start || { not_ok acl "no pool could be mounted"; exit 1; }
chmod 755 "$mnt" "$other"
for name in access_list chmod_is_the_mask list_that_is_a_mode inherited inherited_without_names inherited_with_a_mask no_default \
	default_goes refused many_entries setgid copies decisions owners; do
	in_both as_root "$name"
done
for name in access_list chmod_is_the_mask inherited setgid copies; do
	in_both as_user "$name"
done

cd "$mnt" || exit 1
lists() { (cd "$mnt" && find . ! -type l -print0 | sort -z | xargs -0 getfacl -n -p && find . ! -type l -printf '%p %m\n' | sort); }
lists >"$work/before"
check "there is something to lose" grep -q "^default:user:1002:rwx" "$work/before"
cd /
stop
start
lists >"$work/after"
check "lists outlast the daemon" cmp "$work/before" "$work/after"

# ---- what is longer than a page
too_long=u::rw,g::r,o::-,m::r
for i in $(seq 3000 3600); do too_long+=,u:$i:r; done
refuse "a list longer than a page" 1 "too long" setfacl --set "$too_long" "$mnt/as_root-access_list/f"

# ---- noacl: lists are not seen, not obeyed and not given on, and stay
mkdir "$mnt/d"
touch "$mnt/d/f"
setfacl -m u:1002:rwx,d:u:1002:rwx "$mnt/d"
setfacl -m u:1002:rw "$mnt/d/f"
reader() { setpriv --reuid 1002 --regid 1002 --clear-groups "$@"; }
chmod 700 "$mnt/d"
refuse "chmod narrows a list" 1 "denied" reader cat "$mnt/d/f"
chmod 770 "$mnt/d"
check "and widens it" reader cat "$mnt/d/f"
check "it can be written by it" reader touch "$mnt/d/f"
before=$(cd "$mnt" && getfacl -n d d/f)
stop
start -o noacl
refuse "noacl: lists can't be set" 1 "not supported" setfacl -m u:1003:r "$mnt/d/f"
refuse "noacl: lists are not obeyed" 1 "denied" reader cat "$mnt/d/f"
check "noacl: lists are not listed" test -z "$(getfattr -m - "$mnt/d")"
(umask 027 && touch "$mnt/d/new")
check "noacl: umask is applied" test "$(stat -c %a "$mnt/d/new")" = 640
stop
start -o acl
check "they are there again" test "$(cd "$mnt" && getfacl -n d d/f)" = "$before"
check "nothing was given on meanwhile" test -z "$(getfattr -m - "$mnt/d/new")"
finish
