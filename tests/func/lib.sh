# SPDX-License-Identifier: Apache-2.0
# shellcheck shell=bash disable=SC2034
# Sourced by the scripts of this directory. Gives a scratch directory, a pool over six disks of
# different sizes, and words that print the lines which tools/check.sh counts.
#
#   make_pool             $pool over $work/disk1..6
#   start [OPTION...]     mounts it at $mnt
#   stop                  unmounts it
#   check NAME COMMAND... the command must succeed
#   refuse NAME CODE PATTERN COMMAND...   it must exit with CODE and say PATTERN
#   with PROGRAM NAME COMMAND...   check, skipped where the program is not installed
#   ok NAME, not_ok NAME WHY, skip NAME WHY
#   finish                stops, runs fsck, ends with the right exit code
set -u

repo=$(cd "$(dirname "${BASH_SOURCE[0]}")/../.." && pwd)
dynamicfs=$(realpath "${DYNAMICFS:-$repo/build/dynamicfs}")
work=$(mktemp -d "${TMPDIR:-/tmp}/dynamicfs-func.XXXXXX")
chmod 755 "$work"
pool=$work/pool
mnt=$work/mnt
failed=0
tmpfs_mounted=()
disk_mib=300 # of the smallest disk, about
unset DYNAMICFS_POOL

ok() { echo "ok $1"; }

not_ok()
{
	echo "not ok $1: $2"
	failed=1
}

skip() { echo "skipped $1: $2"; }

# In a mount namespace of one's own (unshare -m) what other tests have mounted is let go of: it would stay there after
# they have unmounted it.
let_go_of_others()
{
	local place

	awk '{ print $5 }' /proc/self/mountinfo | grep -E '/(dynamicfs-func\.|dfs-[a-z0-9]+-)' | tac |
		while read -r place; do umount -l "$place" 2>/dev/null; done
}
[ -z "${IN_OWN_NAMESPACE:-}" ] || let_go_of_others

check()
{
	local name=$1 said code start=$SECONDS

	shift
	said=$("$@" 2>&1 </dev/null)
	code=$?
	if [ "$code" -eq 0 ]; then
		ok "$name${TEST_TIMES:+  # $((SECONDS - start)) s}"
	else
		not_ok "$name" "'$*' gave exit code $code: $(tail -n 3 <<<"$said" | tr '\n' ' ')"
	fi
	return "$code"
}

with()
{
	local program=$1

	shift
	if command -v -- "$program" >/dev/null; then
		check "$@"
	else
		skip "$1" "$program is not installed"
	fi
}

refuse()
{
	local name=$1 want=$2 pattern=$3 said code

	shift 3
	said=$("$@" 2>&1 </dev/null)
	code=$?
	if [ "$code" -ne "$want" ]; then
		not_ok "$name" "'$*' gave exit code $code, not $want: $(tr '\n' ' ' <<<"$said")"
	elif ! grep -qE -- "$pattern" <<<"$said"; then
		not_ok "$name" "'$*' said '$said', which lacks '$pattern'"
	else
		ok "$name"
	fi
}

# is_mounted PATH: is a DynamicFS there?
is_mounted() { cut -d' ' -f2,3 /proc/mounts | grep -qxF -- "$1 fuse.dynamicfs"; }

# The process that serves the pool DIR; fails when there is none.
daemon_pid()
{
	local pid

	pid=$(sed -n 's/.*"pid": *\([0-9]*\).*/\1/p' "$1/mounted" 2>/dev/null)
	[ -n "$pid" ] && kill -0 "$pid" 2>/dev/null && ! flock -n "$1/mounted" true 2>/dev/null &&
		echo "$pid"
}

# wait_for SECONDS COMMAND...: until it succeeds.
wait_for()
{
	local end=$((SECONDS + $1))

	shift
	until "$@" >/dev/null 2>&1; do
		[ "$SECONDS" -lt "$end" ] || return 1
		sleep 0.05
	done
}

daemon_gone() { ! daemon_pid "$1" >/dev/null; }

# make_disks DIRECTORY: disk1..6 there, of different sizes where tmpfs can be mounted.
make_disks()
{
	local i dir

	for i in 1 2 3 4 5 6; do
		dir=$1/disk$i
		mkdir -p "$dir"
		if [ "$(id -u)" -eq 0 ] &&
			mount -t tmpfs -o "size=$((disk_mib + i * disk_mib / 5))m" dynamicfs-test "$dir" 2>/dev/null; then
			tmpfs_mounted+=("$dir")
		fi
	done
}

make_pool()
{
	local i

	make_disks "$work"
	mkdir -p "$mnt"
	"$dynamicfs" init --pool "$pool" >/dev/null || return 1
	for i in 1 2 3 4 5 6; do
		"$dynamicfs" add-disk --pool "$pool" --disk "$work/disk$i" --label "disk$i" \
			>/dev/null 2>"$work/said" || { cat "$work/said" >&2; return 1; }
	done
	# what tests look at stays as it is: rebuild.sh has it rebuilt
	"$dynamicfs" set --pool "$pool" --rebuild-after never >/dev/null
}

start() { "$dynamicfs" mount --pool "$pool" --mountpoint "$mnt" "$@" >/dev/null; }
stop() { "$dynamicfs" unmount --mountpoint "$mnt" >/dev/null; }

cleanup()
{
	local pid dir

	cd / || true
	# shellcheck disable=SC2013
	for dir in $(awk -v w="$work/" 'index($2, w) == 1 && $3 == "fuse.dynamicfs" { print $2 }' \
		/proc/mounts | sed 's/\\040/?/g'); do
		# shellcheck disable=SC2086 # ? stands for a blank
		umount -l $dir 2>/dev/null || fusermount3 -uz $dir 2>/dev/null
	done
	for pid in "$work"/*/mounted; do
		pid=$(daemon_pid "${pid%/mounted}") && kill -9 "$pid"
	done
	for dir in "${tmpfs_mounted[@]}"; do
		umount -l "$dir" 2>/dev/null
	done
	rm -rf "$work"
}
trap cleanup EXIT
trap 'exit 1' INT TERM HUP

finish()
{
	if is_mounted "$mnt"; then
		check "unmount at the end" stop
	fi
	if [ -e "$pool/pool.json" ]; then
		check "fsck at the end" "$dynamicfs" fsck --pool "$pool"
	fi
	exit "$failed"
}

if [ ! -x "$dynamicfs" ]; then
	not_ok "$(basename "$0" .sh)" "no program at $dynamicfs: run make"
	exit 1
fi
if [ ! -w /dev/fuse ]; then
	skip "$(basename "$0" .sh)" "/dev/fuse can't be used here"
	exit 0
fi
