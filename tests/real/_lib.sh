# SPDX-License-Identifier: Apache-2.0
# shellcheck shell=bash disable=SC2034
# Sourced by the scripts of this directory, which run real programs on a real mount: what tests/func/lib.sh gives, and
#
#   need NAME PROGRAM...      ends the script as skipped where one is not installed, or without root
#   crash [OPTION...]         kill -9 of the daemon, and another mount
#   special DIR               a tree with all that a backup must bring back
#   same_trees A B            are they the same, in contents and in attributes?
#
# environment: REAL_MORE (1; times and sizes are multiplied by it), REAL_PLAIN (yes: in a plain directory of $TMPDIR's
# filesystem instead of a pool; what fails there, too, is not the pool's)
. "$(dirname "${BASH_SOURCE[0]}")/../func/lib.sh"

more=${REAL_MORE:-1}
disk_mib=$((1200 * more))
PATH=$PATH:/usr/sbin:/sbin:/usr/games
LC_ALL=C
export PATH LC_ALL

need()
{
	local name=$1 program

	shift
	[ "$(id -u)" -eq 0 ] || { skip "$name" "needs root"; exit 0; }
	for program; do
		command -v -- "$program" >/dev/null || { skip "$name" "$program is not installed"; exit 0; }
	done
}

crash()
{
	local pid

	pid=$(daemon_pid "$pool") && kill -9 "$pid" && wait_for 20 daemon_gone "$pool" && umount -l "$mnt" && start "$@"
}

if [ -n "${REAL_PLAIN:-}" ]; then
	make_pool() { mkdir -p "$mnt"; }
	start() { :; }
	stop() { :; }
	crash() { :; }
fi

# pool_for NAME [OPTION...]: a pool that is mounted, or the end.
pool_for()
{
	local name=$1

	shift
	make_pool && start "$@" || { not_ok "$name" "no pool could be mounted"; exit 1; }
}

special()
{
	local i

	mkdir -p "$1/dir/empty" "$1/many" "$1/closed" && (
		cd "$1" || exit
		for i in $(seq 100); do echo "file $i" >"many/$i"; done
		head -c 3000001 /dev/urandom >large && printf '' >nothing && head -c 7000 /dev/zero >zeros &&
			truncate -s 300M sparse && printf data | dd of=sparse bs=1 seek=200M conv=notrunc status=none &&
			ln large dir/hard && ln large dir/hard2 && ln -s ../large dir/link && ln -s nowhere dangling &&
			mkfifo fifo && mknod null c 1 3 && cp /bin/true dir/tool && chmod 4755 dir/tool &&
			touch "$(printf 'odd \n\\ name\377')" 'a name with blanks' -- '-dash' && chown 1234:5678 many/7 &&
			chmod 0000 many/8 && chmod 1777 dir/empty && setfattr -n user.colour -v blue many/9 &&
			setfattr -n user.binary -v 0x00ff10 dir && setfattr -n trusted.note -v hidden large &&
			setfacl -m u:1234:rw,g:5678:r many/10 && setfacl -d -m u:1234:rwx dir &&
			touch -h -d '1965-02-03 04:05:06.789012345' many/11 dir/link && touch -d '2061-02-03 04:05:06.5' many/12 &&
			chmod 0700 closed
	)
}

# Each name with what stat tells, of directories without what is the filesystem's own; then contents and attributes.
listing()
{
	(
		cd "$1" || exit
		find . -mindepth 1 \( -type d -printf '%P %y %m %U:%G %T@\0' \) -o -printf '%P %y %m %U:%G %n %s %T@ %l\0' | sort -z | tr '\0\n' '\n?'
		find . -type f -print0 | sort -z | xargs -0 -r sha256sum
		find . ! -type l -print0 | sort -z | xargs -0 -r getfacl -n -- 2>/dev/null
		find . -print0 | sort -z | xargs -0 -r getfattr -h -d -m '^(user|trusted)\.' -e hex -- 2>/dev/null
	)
}

same_trees() { diff <(listing "$1") <(listing "$2"); }
