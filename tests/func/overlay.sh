#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
# The pool as the upper layer of an overlay, as container engines use it: needs RENAME_WHITEOUT, trusted.* attributes and types
# in listings. What the overlay shows is compared with a plain directory on which the same was done.
. "$(dirname "$0")/lib.sh"

lower=$work/lower
plain=$work/plain
merged=$work/merged

over() { mount -t overlay overlay -o "lowerdir=$lower,upperdir=$mnt/up,workdir=$mnt/work" "$merged"; }

# A small image: what a container would find.
fill()
{
	mkdir -p "$1/etc/conf.d" "$1/usr/bin" "$1/var/empty"
	echo "name=value" >"$1/etc/settings"
	for i in 1 2 3; do echo "$i" >"$1/etc/conf.d/$i"; done
	cp /bin/true "$1/usr/bin/tool"
	ln -s settings "$1/etc/link"
}

# What a container does to it.
change()
{
	(
		cd "$1" || exit
		rm etc/conf.d/2 && mv etc/settings etc/settings.old &&
			echo "name=other" >etc/settings && ln etc/settings etc/hard &&
			rm -r etc/conf.d && mkdir etc/conf.d && echo new >etc/conf.d/new &&
			mv usr/bin/tool usr/bin/tool2 && usr/bin/tool2 && chmod 4755 usr/bin/tool2 &&
			rmdir var/empty && mkdir -p opt/app && echo data >opt/app/data &&
			mv opt/app opt/moved && ln -sf hard etc/link && truncate -s 100 etc/settings.old
	)
}

tree() { (cd "$1" && find . -printf '%p %y %m %l\n' | sort && find . -type f -exec cksum {} + | sort); }
same() { diff <(tree "$plain") <(tree "$merged"); }
whiteouts() { [ "$(find "$mnt/up" -type c -printf '%p %m\n' | wc -l)" -gt 0 ] && [ "$(stat -c '%F %t:%T' "$mnt/up/usr/bin/tool")" = "character special file 0:0" ]; }

make_pool && start || { not_ok overlay "no pool could be mounted"; exit 1; }
mkdir -p "$lower" "$plain" "$merged" "$mnt/up" "$mnt/work"
fill "$lower"
fill "$plain"
if [ "$(id -u)" -ne 0 ] || ! grep -qw overlay /proc/filesystems; then
	skip overlay "needs root, and overlayfs in the kernel"
	finish
fi
check "the pool is accepted as upper layer" over
tmpfs_mounted+=("$merged")
check "what a container does works" change "$merged"
change "$plain"
check "the overlay shows what a plain directory does" same
check "what is hidden is a whiteout in the pool" whiteouts
check "the overlay is unmounted" umount "$merged"
stop
start
check "after a remount of both" over
check "it shows the same" same
check "the overlay goes" umount "$merged"
rm -rf "$mnt/up" "$mnt/work"
finish
