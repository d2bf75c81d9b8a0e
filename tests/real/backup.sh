#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
# borg and restic: backups to the mount and of it, checked, restored, compared; kill -9 of the daemon during one.
. "$(dirname "$0")/_lib.sh"

export BORG_BASE_DIR=$work/borg-base BORG_UNKNOWN_UNENCRYPTED_REPO_ACCESS_IS_OK=yes BORG_RELOCATED_REPO_ACCESS_IS_OK=yes BORG_DELETE_I_KNOW_WHAT_I_AM_DOING=YES
export RESTIC_PASSWORD=secret RESTIC_CACHE_DIR=$work/restic-cache

# Something to change between backups, and some size.
change() { cp -r "$repo/src" "$1/more$2" && head -c $((20000000 * more)) /dev/urandom >"$1/bulk$2" && rm -f "$1/many/3$2"; }

# borg_cycle TREE REPOSITORY DIRECTORY_FOR_WHAT_IS_RESTORED
borg_cycle()
{
	borg init -e none "$2" && borg create "$2::one" "$1" && change "$1" 1 && borg create -C zstd "$2::two" "$1" &&
		borg check --verify-data "$2" && mkdir "$3" && (cd "$3" && borg extract --sparse --numeric-ids "$2::two") &&
		same_trees "$1" "$3$1" && borg delete "$2::one" && borg compact "$2" && borg check "$2"
}
borg_to() { borg_cycle "$work/tree" "$mnt/borg" "$work/from-borg"; }
borg_of() { cp -a "$work/tree" "$mnt/tree" && borg_cycle "$mnt/tree" "$work/borg" "$mnt/from-borg"; }

# Backups go on until the daemon is killed; the archive before is whole, and so is the repository, once its lock is broken.
borg_killed()
{
	local i pid

	(for i in $(seq 1000); do head -c 10000000 /dev/urandom >"$work/tree/bulk" && borg create "$mnt/borg::k$i" "$work/tree" && echo "k$i" >>"$work/borg-done" || exit; done) >"$work/borg-said" 2>&1 &
	pid=$!
	wait_for 60 test -s "$work/borg-done"
	sleep 1.$((RANDOM % 10))
	crash
	wait "$pid"
	borg break-lock "$mnt/borg" && borg check --verify-data "$mnt/borg" && borg list --short "$mnt/borg" | grep -qx "$(tail -n 1 "$work/borg-done")" &&
		borg create "$mnt/borg::after" "$work/tree"
}

# restic 0.14 brings back no holes, and hard links without their count.
restic_cycle()
{
	restic -q -r "$2" init && restic -q -r "$2" backup "$1" && change "$1" 2 && restic -q -r "$2" backup "$1" &&
		restic -q -r "$2" check --read-data && restic -q -r "$2" restore latest --target "$3" && same_contents "$1" "$3$1" &&
		restic -q -r "$2" forget --keep-last 1 --prune && restic -q -r "$2" check --read-data
}
same_contents() { diff <(cd "$1" && contents) <(cd "$2" && contents); }
contents() { find . -mindepth 1 -printf '%P %y %m %U:%G %l\0' | sort -z | tr '\0\n' '\n?' && find . -type f -print0 | sort -z | xargs -0 sha256sum; }
restic_to() { restic_cycle "$work/tree" "$mnt/restic" "$work/from-restic"; }
restic_of() { rm -rf "$mnt/tree" && cp -a "$work/tree" "$mnt/tree" && restic_cycle "$mnt/tree" "$work/restic" "$mnt/from-restic"; }

restic_killed()
{
	local i pid

	(for i in $(seq 1000); do head -c 10000000 /dev/urandom >"$work/tree/bulk" && restic -q -r "$mnt/restic" backup "$work/tree" && echo "$i" >>"$work/restic-done" || exit; done) >"$work/restic-said" 2>&1 &
	pid=$!
	wait_for 60 test -s "$work/restic-done"
	sleep 1.$((RANDOM % 10))
	# it would try again for a quarter of an hour
	pkill -9 -P "$pid"
	crash
	wait "$pid"
	restic -q -r "$mnt/restic" unlock --remove-all && restic -q -r "$mnt/restic" check --read-data &&
		[ "$(restic -q -r "$mnt/restic" snapshots --compact --json | grep -o '"short_id"' | wc -l)" -gt "$(wc -l <"$work/restic-done")" ] &&
		restic -q -r "$mnt/restic" backup "$work/tree"
}
whole_again() { stop && start && { ! command -v borg || borg check "$mnt/borg"; } && { ! command -v restic || restic -q -r "$mnt/restic" check; }; }

need backup setfacl setfattr
pool_for backup
special "$work/tree" 2>"$work/said" || { skip backup "the filesystem of $work can't have such a tree: $(tail -n 1 "$work/said")"; finish; }
touch -h -d 2001-02-03 "$work"/tree/many/1[12] "$work/tree/dir/link" # borg knows the years from 1970 to 2038
with borg "borg: to the mount" borg_to
with borg "borg: of a tree on the mount" borg_of
with restic "restic: to the mount" restic_to
with restic "restic: of a tree on the mount" restic_of
if [ -z "${REAL_PLAIN:-}" ]; then
	with borg "borg: kill -9 of the daemon during a backup" borg_killed
	with restic "restic: kill -9 of the daemon during a backup" restic_killed
fi
check "the repositories are whole after a remount" whole_again
finish
