# SPDX-License-Identifier: Apache-2.0
# shellcheck shell=bash disable=SC2034
# Sourced: a pool mounted at $mnt, and an ext4 at $other.
. "$(dirname "${BASH_SOURCE[0]}")/../func/lib.sh"

diff=$repo/tests/diff
other=$work/other
if [ "$(id -u)" -ne 0 ]; then
	skip diff "needs root"
	exit 0
fi
mkdir "$other" "$work/image"
mount -t tmpfs -o size=1g dynamicfs-test "$work/image" 2>/dev/null && tmpfs_mounted+=("$work/image")
truncate -s 900M "$work/image/ext4"
if ! mkfs.ext4 -q "$work/image/ext4" >"$work/said" 2>&1 ||
	! mount -o loop,noatime,nosuid,nodev,user_xattr,acl "$work/image/ext4" "$other" 2>"$work/said"; then
	skip diff "no ext4 can be mounted: $(tail -n 1 "$work/said")"
	exit 0
fi
tmpfs_mounted=("$other" "${tmpfs_mounted[@]}") # first, for it lies on the other
make_pool && start -o noatime,nosuid,nodev || { not_ok diff "no pool could be mounted"; exit 1; }
