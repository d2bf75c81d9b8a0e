#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
# Symbolic links (and FIFOs) planted in a pool directory or on a disk are never followed: what they lead to
# stays as it is, and orders do not reach another pool.
. "$(dirname "$0")/lib.sh"

dfs() { timeout -k 1 20 "$dynamicfs" "$@"; }
make_pool || { not_ok "pool" "can't be made"; exit 1; }
start
head -c 2000000 /dev/urandom >"$mnt/file"
sha256sum <"$mnt/file" >"$work/sum"
stop

target=$work/target
# plant PATH KIND: a link to a file or a directory of somebody, or a FIFO, instead of PATH
plant()
{
	rm -rf "$target"
	if [ "$2" = dir ]; then
		mkdir "$target"
		echo precious >"$target/CURRENT"
	else
		echo precious >"$target"
	fi
	mv "$1" "$work/aside" 2>/dev/null
	if [ "$2" = fifo ]; then mkfifo "$1"; else ln -s "$target" "$1"; fi
}
unplant()
{
	rm -rf "$1"
	[ -e "$work/aside" ] && mv "$work/aside" "$1"
	rm -rf "$work/aside"
}
# The target is as it was, and all is right without the link.
untouched()
{
	local holds

	holds=$(cat "$target" "$target"/* 2>/dev/null)
	if [ "$holds" != precious ] || [ "$(find "$target" | wc -l)" -gt 2 ]; then
		not_ok "$1" "what it leads to was changed: '$holds' $(ls "$target")"
	else
		ok "$1"
	fi
}

for name in lock log log.old mounted pool.json control.sock index index.image index.restore; do
	kind=file
	[[ $name == index* ]] && kind=dir
	plant "$pool/$name" $kind
	dfs set --pool "$pool" --copies 3 >/dev/null 2>&1
	dfs status --pool "$pool" >/dev/null 2>&1
	dfs mount --pool "$pool" --mountpoint "$mnt" >/dev/null 2>&1 &&
		dfs unmount --mountpoint "$mnt" >/dev/null 2>&1
	untouched "POOL/$name"
	unplant "$pool/$name"
done
for name in "" /disk.json /segments /meta /meta/journal; do
	plant "$work/disk1/dynamicfs$name" dir
	dfs set --pool "$pool" --copies 3 >/dev/null 2>&1
	start 2>/dev/null
	echo x >"$mnt/x$RANDOM" && sync "$mnt"
	stop 2>/dev/null
	untouched "DISK/dynamicfs$name"
	unplant "$work/disk1/dynamicfs$name"
done
for name in lock log mounted; do
	plant "$pool/$name" fifo
	dfs set --pool "$pool" --copies 3 >/dev/null 2>&1
	check "a FIFO as POOL/$name does not hang us" test "$?" -ne 124
	unplant "$pool/$name"
done

# ---- an order must not reach another pool by a planted control socket
start
mkdir "$work/bait"
cp "$pool/pool.json" "$work/bait/"
ln -s "$pool/control.sock" "$work/bait/control.sock"
refuse "an order by way of a link" 5 "symbolic link" \
	dfs fail-disk --pool "$work/bait" --disk disk2
check "the pool has all its disks" test "$(dfs list-disks --pool "$pool" | grep -c healthy)" -eq 6
check "the control socket is its owner's alone" test "$(stat -c %a "$pool/control.sock")" = 600
check "the file is right" test "$(sha256sum <"$mnt/file")" = "$(cat "$work/sum")"
finish
