#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
# Pools that earlier versions wrote (tests/compat/golden-v*.tar.zst) are imported and read: contents,
# attributes, xattrs; as found, with two disks lost, and after new writes.
# shellcheck source=tests/func/lib.sh
. "$(dirname "$0")/lib.sh"

compat=$repo/tests/compat

sums() { (cd "$mnt" && sha256sum --quiet --check "$top/expected/sums"); }
listing() { diff "$top/expected/listing" <("$compat/listing.sh" "$mnt"); }

golden() { # ARCHIVE
	local name disks disk
	name=$(basename "$1" .tar.zst)
	top=$work/$name
	pool=$top/pool
	mkdir -p "$top" "$mnt"
	zstd -dcq "$1" | tar --same-permissions -xf - -C "$top" || return 1
	disks=()
	for disk in "$top"/disk*; do
		disks+=(--disk "$disk")
	done
	check "$name is imported" "$dynamicfs" import "${disks[@]}" --pool "$pool" || return 1
	check "$name is sound" "$dynamicfs" fsck --pool "$pool"
	check "$name mounts" start || return 1
	check "$name has its contents" sums
	check "$name has its attributes" listing
	check "$name takes new files" cp -r "$compat" "$mnt/new"
	check "$name gives new files back" diff -r "$compat" "$mnt/new"
	check "$name unmounts" stop
	rm -rf "$top/disk2" "$top/disk5"
	check "$name mounts without two disks" start || return 1
	check "$name has its contents without two disks" sums
	check "$name gives new files back without two disks" diff -r "$compat" "$mnt/new"
	check "$name unmounts without two disks" stop
}

for tool in zstd getfattr setfattr; do
	if ! command -v "$tool" >/dev/null; then
		skip compat "there is no $tool"
		exit 0
	fi
done
if [ "$(id -u)" -ne 0 ]; then
	skip compat "owners in an archive need root"
	exit 0
fi
for archive in "$compat"/golden-v*.tar.zst; do
	golden "$archive"
done
exit "$failed"
