#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
# stress-ng's filesystem stressors, each for some seconds, with --verify.
. "$(dirname "$0")/_lib.sh"

seconds=$((2 * more))
stressors="access chdir chmod chown copy-file dentry dir dirdeep dirmany dnotify dup fallocate fault fcntl file-ioctl filename flock fpunch fsize
	fstat getdent hdd inotify io iomix lease link locka lockf lockofd mknod mmap mmapmany msync open rename revio seek sendfile splice symlink
	sync-file touch utime xattr chattr fanotify fiemap handle inode-flags verity"
# What FUSE has no way for: said when stress-ng leaves it out.
declare -A lacks=([fiemap]="FUSE has no FIEMAP" [verity]="FUSE has no fs-verity here")

# A stressor that isn't there, or can't be run here, gives 3 or 4.
stress()
{
	local name=$1 said code

	rm -rf "$mnt/stress"
	mkdir "$mnt/stress"
	said=$(cd "$mnt/stress" && timeout 120 stress-ng --verify --temp-path "$mnt/stress" --timeout "$seconds" --"$name" 2 2>&1)
	code=$?
	case $code in
	0)
		if grep -q 'skipping stress' <<<"$said"; then
			skip "stress-ng: $name" "${lacks[$name]:-$(grep -m 1 'skipping stress' <<<"$said")}"
		else
			ok "stress-ng: $name"
		fi
		;;
	3 | 4) skip "stress-ng: $name" "$(head -n 3 <<<"$said" | tail -n 1)" ;;
	*) not_ok "stress-ng: $name" "exit code $code: $(grep -E 'fail|error' <<<"$said" | head -n 4 | tr '\n' ' ')" ;;
	esac
}

need stress stress-ng
pool_for stress
for name in $stressors; do
	stress "$name"
done
rm -rf "$mnt/stress"
finish
