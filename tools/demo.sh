#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
# The main job on real files: a pool over six disks of different sizes, a real tree copied into it,
# two disks lost, everything read and compared, restarted, read and compared again; what was lost made anew, rot
# found and repaired, one disk taken out and one replaced. Leaves the pool mounted to play with. As root the disks are small tmpfs mounts, else plain directories with limits.
#
# usage: demo.sh [--stop]
# environment: BUILD (build), DEMO_DIR ($BUILD/demo), DEMO_TREES ("/usr/include /usr/share/doc"),
#   DEMO_TREE_MIB (100: of each tree), DEMO_LARGE_MIB (200: one large file)
set -u
export LC_ALL=${LC_ALL:-C.UTF-8}

cd "$(dirname "$0")/.." || exit 1
build=${BUILD:-build}
demo=$(realpath -m "${DEMO_DIR:-$build/demo}")
program=$(realpath -m "$build/dynamicfs")
trees=${DEMO_TREES:-/usr/include /usr/share/doc}
tree_mib=${DEMO_TREE_MIB:-100}
large_mib=${DEMO_LARGE_MIB:-200}
sizes_mib=(256 384 512 640 768 1024 512 768 384 512)
pool=$demo/pool
mnt=$demo/mnt
began=$SECONDS
problems=0

if [ -t 1 ] && [ -z "${NO_COLOR:-}" ]; then
	bold=$'\e[1m' green=$'\e[32m' red=$'\e[31m' dim=$'\e[2m' plain=$'\e[0m'
else
	bold='' green='' red='' dim='' plain=''
fi

step() { printf '\n%s%s%s\n' "$bold" "$*" "$plain"; }
say() { printf '  %s\n' "$*"; }
die()
{
	printf '%sdemo: %s%s\n' "$red" "$*" "$plain" >&2
	exit 1
}

# Shows a command as a person would type it, and runs it.
run()
{
	local shown=$*

	shown=${shown//"$program"/dynamicfs}
	printf '  %s$ %s%s\n' "$dim" "${shown//"$demo"\//}" "$plain"
	"$@" 2>&1 | sed 's/^./    &/'
	return "${PIPESTATUS[0]}"
}

must() { run "$@" || die "'$*' failed; the pool's log is $pool/log"; }

mounted()
{
	local m=${1// /\\040} # as the table writes blanks

	awk -v m="${m//\\/\\\\}" '$2 == m { f = 1 } END { exit !f }' /proc/mounts
}

stop_demo()
{
	local i

	if mounted "$mnt"; then
		"$program" unmount --mountpoint "$mnt" || return 1
	fi
	for i in "${!sizes_mib[@]}"; do
		i=$((i + 1))
		if mounted "$demo/disk$i"; then
			umount "$demo/disk$i" || return 1
		fi
	done
	rm -rf "$demo"
}

make_disks()
{
	local i dir kib

	kib=$(awk '/^MemAvailable:/ { print $2 }' /proc/meminfo)
	for i in "$@"; do
		dir=$demo/disk$i
		mkdir -p "$dir"
		# what the demo stores takes some 1.5 GiB of memory when the disks are tmpfs
		if [ "$(id -u)" -eq 0 ] && [ "${kib:-0}" -gt 3000000 ] &&
			mount -t tmpfs -o "size=${sizes_mib[i - 1]}m" dynamicfs-demo "$dir" 2>/dev/null; then
			continue
		fi
		limited=yes
	done
}

add_one()
{
	local i=$1 options=(--label "disk$1")

	[ -z "$limited" ] || options+=(--capacity "${sizes_mib[i - 1]}M")
	"$program" add-disk --pool "$pool" --disk "$demo/disk$i" "${options[@]}" >"$demo/said" 2>&1 ||
		die "cannot add disk$i: $(cat "$demo/said")"
	say "added disk$i, ${sizes_mib[i - 1]} MiB"
}

# Copies a tree until it holds tree_mib MiB (in find's order, for tar sets a directory's times when
# it leaves it).
copy_tree()
{
	local from=$1 to=$2

	mkdir -p "$to"
	(cd "$from" && find . -xdev \( -type d -o -type f -readable -o -type l \) -printf '%s %p\0' 2>/dev/null) |
		LC_ALL=C awk -v RS='\0' -v ORS='\0' -v max="$((tree_mib << 20))" \
			'{ sum += $1; if (sum > max) exit; sub(/^[0-9]+ /, ""); print }' |
		tar -C "$from" --no-recursion --null -T - -cf - | tar -C "$to" --no-same-owner -xf -
}

# Everything that must come back: contents, and for each name its type, mode, times and link target.
picture()
{
	(cd "$1" && find . -type f -print0 | LC_ALL=C sort -z | xargs -0r sha256sum) || return 1
	(cd "$1" && find . ! -name . \( -type d -printf '%p %y %m %T@\n' -o -printf '%p %y %m %s %T@ %l\n' \)) |
		LC_ALL=C sort
}

compare()
{
	local when=$1 start=$SECONDS files

	if [ "$(id -u)" -eq 0 ]; then
		echo 3 2>/dev/null >/proc/sys/vm/drop_caches # read the disks, not the kernel's memory
	fi
	if picture "$mnt" >"$demo/after" 2>"$demo/said" && cmp -s "$demo/before" "$demo/after"; then
		files=$(grep -c '^[0-9a-f]\{64\} ' "$demo/after")
		say "${green}all $files files read back right${plain} $when ($((SECONDS - start)) s)"
	else
		problems=$((problems + 1))
		say "${red}DIFFERENT${plain} $when:"
		{ cat "$demo/said"; diff "$demo/before" "$demo/after"; } | head -n 10 | sed 's/^/    /'
	fi
}

if [ "${1:-}" = --stop ]; then
	[ -d "$demo" ] || { echo "The demo is not there: nothing to stop."; exit 0; }
	stop_demo || die "cannot stop: is a file or shell still open in $mnt?"
	echo "The demo is stopped and removed."
	exit 0
fi
[ -x "$program" ] || die "no program at $program: run make"
[ -w /dev/fuse ] || die "FUSE can't be used here: /dev/fuse is missing or not writable"
if [ -d "$demo" ]; then
	stop_demo || die "cannot stop the last demo: is a file or shell still open in $mnt?"
fi

step "1. Six disks of different sizes become one pool"
limited=''
mkdir -p "$mnt"
make_disks 1 2 3 4 5 6
must "$program" init --pool "$pool"
for i in 1 2 3 4 5 6; do
	add_one "$i"
done
allow=()
[ "$(id -u)" -ne 0 ] || allow=(-o allow_other)
must "$program" mount --pool "$pool" --mountpoint "$mnt" "${allow[@]}"

step "2. Real files"
start=$SECONDS
for tree in $trees; do
	[ -d "$tree" ] || continue
	copy_tree "$tree" "$mnt$tree"
	say "copied $(find "$mnt$tree" -type f | wc -l) files of $tree"
done
head -c "${large_mib}M" /dev/urandom >"$demo/large"
cp -p "$demo/large" "$mnt/large.bin"
sync "$mnt" # fsync of the root directory: everything is stored
say "copied a large file of $large_mib MiB; all of it synced after $((SECONDS - start)) s"
# What is compared with is read from where it was copied from, not from the pool.
mkdir "$demo/source"
for tree in $trees; do
	[ ! -d "$tree" ] || copy_tree "$tree" "$demo/source$tree"
done
mv "$demo/large" "$demo/source/large.bin"
for tree in $trees; do # directories above the trees were made just now, at two times
	for dir in "$(dirname "$tree")" "$tree"; do
		[ ! -d "$mnt$dir" ] || touch -d @0 "$mnt$dir" "$demo/source$dir"
	done
done
picture "$demo/source" >"$demo/before"
rm -rf "$demo/source"
compare "as written"
run df -h "$mnt"
must "$program" status --pool "$pool"

step "3. Two disks are lost while it is mounted"
say "disk3: its directory is emptied"
rm -rf "${demo:?}/disk3/dynamicfs"
say "disk5: given up by order"
must "$program" fail-disk --pool "$pool" --disk disk5
compare "without two disks"
echo "written without two disks" >"$mnt/new-file"
sync "$mnt/new-file" || problems=$((problems + 1))
rm "$mnt/new-file"
say "a new file was written and synced, and removed"

step "4. Restart"
must "$program" unmount --mountpoint "$mnt"
must "$program" fsck --pool "$pool" --quick
must "$program" mount --pool "$pool" --mountpoint "$mnt" "${allow[@]}"
compare "after the restart"
must "$program" status --pool "$pool"
must "$program" show-redundancy --pool "$pool"

step "5. What was lost is made anew"
must "$program" fail-disk --pool "$pool" --disk disk3
make_disks 7 8
for i in 7 8; do
	add_one "$i"
done
for _ in $(seq 600); do
	"$program" jobs --pool "$pool" --json >"$demo/said" 2>&1 || die "$(cat "$demo/said")"
	grep -q '"state": "\(running\|waiting\)"' "$demo/said" || break
	sleep 0.2
done
must "$program" jobs --pool "$pool"
compare "after the rebuild"
must "$program" show-redundancy --pool "$pool"

step "6. Disks rot"
# Overwrites some bytes in the middle of what a disk holds, behind the pool's back.
rot()
{
	local file size i

	for file in "$demo/disk$1"/dynamicfs/segments/*; do
		size=$(stat -c %s "$file")
		for i in 1 2; do
			printf 'rotten' | dd of="$file" bs=1 seek=$((size * i / 3)) conv=notrunc status=none || return 1
		done
	done
}
for i in 4 6; do
	rot "$i" || die "cannot write to what disk$i holds"
	say "disk$i: bytes were overwritten in each of its segments"
done
must "$program" scrub --pool "$pool" --repair --wait
compare "after the repair"

step "7. A disk is taken out, another one replaced"
make_disks 9 10
add_one 9
must "$program" remove-disk --pool "$pool" --disk disk1 --wait
must "$program" replace-disk --pool "$pool" --old disk2 --new "$demo/disk10" --wait
for i in 3 5; do # lost above, and rebuilt: nothing is left to move
	must "$program" remove-disk --pool "$pool" --disk "disk$i" --wait
done
compare "without them"
must "$program" status --pool "$pool"

step "Done in $((SECONDS - began)) s"
if [ "$problems" -gt 0 ]; then
	die "$problems comparisons found differences"
fi
say "The pool is mounted at $mnt"
say "Try: $program status --pool $pool"
say "Stop and remove it: make demo-stop"
