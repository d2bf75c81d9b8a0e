#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
# Installs what `make` built: the program, mount's helper, the man pages.
# usage: DESTDIR=... PREFIX=... install.sh BUILD_DIR
set -eu

cd "$(dirname "$0")/.."
root=${DESTDIR:-}
prefix=${PREFIX:-/usr/local}

install -D -m 755 "$1/dynamicfs" "$root$prefix/bin/dynamicfs"
# mount(8) looks for helpers in /sbin only, whatever the prefix is.
if [ -f tools/mount.fuse.dynamicfs ]; then
	install -D -m 755 tools/mount.fuse.dynamicfs "$root/sbin/mount.fuse.dynamicfs"
	sed -i "s|^bindir=.*|bindir=$prefix/bin|" "$root/sbin/mount.fuse.dynamicfs"
fi
find docs -name '*.[1-8]' -type f | while read -r page; do
	section=${page##*.}
	install -D -m 644 "$page" "$root$prefix/share/man/man$section/${page##*/}"
done
