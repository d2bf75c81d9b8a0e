#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
# Resource limits of the process: what is too little is said at the mount, in words; what is little works.
. "$(dirname "$0")/lib.sh"

make_pool || { not_ok "pool" "can't be made"; exit 1; }
# Root could raise the hard limits again.
can_drop() { [ "$(id -u)" -eq 0 ] && setpriv --bounding-set -sys_resource true 2>/dev/null; }
poor() { setpriv --bounding-set -sys_resource --inh-caps -sys_resource "$@"; }
can_drop || poor() { "$@"; }

mount_it() { poor "$dynamicfs" mount --pool "$pool" --mountpoint "$mnt"; }

# limited ULIMIT COMMAND...
limited()
{
	local limit=$1

	shift
	(eval "ulimit $limit" && "$@")
}

refuse "file size" 1 "files may have 1024 KiB only" limited "-f 1024" mount_it
refuse "file size, of a command" 1 "files may have" \
	limited "-f 1024" poor "$dynamicfs" set --pool "$pool" --copies 3
check "a soft limit on file size is raised" limited "-Sf 1024" mount_it
head -c 5000000 /dev/urandom >"$work/file"
cp "$work/file" "$mnt/file"
check "and does no harm" cmp "$work/file" "$mnt/file"
stop
refuse "memory" 1 "memory only" limited "-v 1000000" mount_it
refuse "open files" 4 "only 80 files may be open" limited "-n 80" mount_it
check "nothing was mounted by all that" eval "! is_mounted '$mnt'"

check "mount with 128 open files" limited "-n 128" mount_it
rm -f "$work/sums"
for i in $(seq 40); do
	mkdir -p "$mnt/d$i"
	for j in 1 2 3 4 5; do head -c $((i * 9000)) /dev/urandom >"$mnt/d$i/f$j"; done
done
head -c 60000000 /dev/urandom >"$mnt/big"
(cd "$mnt" && find . -type f -exec sha256sum {} +) >"$work/sums"
check "sync" sync "$mnt"
echo 3 >/proc/sys/vm/drop_caches 2>/dev/null
(cd "$mnt" && sha256sum --quiet -c "$work/sums") >"$work/said" 2>&1
check "all is right" test ! -s "$work/said"
check "every disk stayed healthy" test -z "$("$dynamicfs" list-disks --pool "$pool" | grep -v healthy | grep disk)"
check "no limit was met" test -z "$(grep -i 'too many open\|busy' "$pool/log")"
stop

start
check "mounts as ever" cmp "$work/file" "$mnt/file"

# Root has no limit on threads; a user whom nobody else uses has one.
if [ "$(id -u)" -eq 0 ]; then
	stop
	cp "$dynamicfs" "$work/program"
	chown -R 61234 "$pool" "$work"/disk?/dynamicfs
	chmod 755 "$work"/disk?
	user() { setpriv --reuid 61234 --clear-groups bash -c "ulimit -u $1; exec $work/program status --pool $pool"; }
	refuse "threads" 4 "threads can be started" user 10
	check "enough threads" user 1000
else
	skip "threads" "needs root"
fi
finish
