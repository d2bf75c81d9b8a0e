#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
# Failure domains: a whole one is lost, and all data and metadata are in the others.
. "$(dirname "$0")/lib.sh"

dfs() { "$dynamicfs" "$@"; }
# make_pool_of DOMAIN...: two copies over a disk for each
make_pool_of()
{
	local i=0 domain

	rm -rf "$pool" "$work"/disk*
	dfs init --pool "$pool" --copies 2 >/dev/null
	for domain in "$@"; do
		i=$((i + 1))
		mkdir "$work/disk$i"
		dfs add-disk --pool "$pool" --disk "$work/disk$i" --capacity 256M --domain "$domain" >/dev/null 2>&1
	done
}
up() { dfs mount --pool "$pool" --mountpoint "$mnt" "$@"; }
down() { dfs unmount --mountpoint "$mnt"; }
write_files()
{
	for i in $(seq 20); do
		head -c 100000 /dev/urandom >"$mnt/f$i"
		echo "$i" >"$mnt/s$i"
	done
	sync "$mnt"
	(cd "$mnt" && md5sum ./*) >"$work/sums"
}
same_files() { (cd "$mnt" && md5sum --quiet -c "$work/sums" && test "$(ls | wc -l)" = 40); }
lose() { for i in "$@"; do mv "$work/disk$i/dynamicfs" "$work/disk$i/away"; done; }

mkdir -p "$mnt"
make_pool_of a a a b b b
check "mount" up
write_files
refuse "status counts domains" 0 "journal on 4 disks, index on all: 1 more disk may be lost" dfs status --pool "$pool"
check "unmount" down
lose 1 2 3
check "half of the disks, a domain, are lost: the pool opens" up
check "all is there" same_files
check "and something new is stored" sh -c "echo new >$mnt/new && sync $mnt && rm $mnt/new"
check "unmount without it" down

make_pool_of a a a b b
check "mount a pool with most disks in one domain" up
write_files
check "unmount it" down
lose 1 2 3
refuse "without most of the disks it takes --force" 6 "only 2 of the 5 .*--force" up
check "with it the pool opens" up --force
check "all is there, too" same_files
check "the end" down
finish
