#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
# What is done through the mount is seen by those that watch it: inotifywait tells the same as on a plain directory, tail -f.
. "$(dirname "$0")/_lib.sh"

watch()
{
	inotifywait -q -m -r -e create,modify,attrib,close_write,move,delete,delete_self --format '%e %w%f' "$1" >"$2" 2>"$2.said" &
	echo $! >"$2.pid"
}
unwatch() { kill "$(cat "$1.pid")"; }

# Small pauses, so that the same events don't become one here and two there.
act()
{
	(
		cd "$1" || exit
		mark start
		echo text >sub/file && sleep 0.05 && echo more >>sub/file && sleep 0.05 && chmod 600 sub/file && touch -d 2001-01-01 sub/file &&
			mv sub/file sub/moved && mv sub/moved other/ && ln other/moved other/hard && rm other/hard && truncate -s 3 other/moved &&
			ln -s moved other/link && mkfifo other/fifo && rm other/link other/fifo other/moved && rmdir gone &&
			setfattr -n user.a -v b kept && dd if=/dev/zero of=kept bs=10 count=1 conv=notrunc status=none && mv sub sub2
		mark end
	)
}
mark() { touch "mark-$1"; }
ended() { grep -q "mark-end" "$1"; }
ready() { [ "$(inotify_watches "$1")" -ge 4 ]; }
inotify_watches() { cat /proc/"$(cat "$1.pid")"/fdinfo/* 2>/dev/null | grep -c '^inotify '; }

same_events()
{
	local dir

	for dir in "$mnt" "$work/plain"; do
		mkdir -p "$dir/w/sub" "$dir/w/other" "$dir/w/gone"
		touch "$dir/w/kept"
	done
	watch "$mnt/w" "$work/here" && watch "$work/plain/w" "$work/there"
	wait_for 10 ready "$work/here" && wait_for 10 ready "$work/there" || return 1
	act "$mnt/w" && act "$work/plain/w"
	wait_for 10 ended "$work/here" && wait_for 10 ended "$work/there" || return 1
	sleep 0.2
	unwatch "$work/here"
	unwatch "$work/there"
	[ "$(grep -c . "$work/there")" -ge 20 ] && diff <(sed "s|$work/plain||" "$work/there" | uniq) <(sed "s|$mnt||" "$work/here" | uniq)
}

followed()
{
	local pid i

	: >"$mnt/log"
	tail -n 0 -f "$mnt/log" >"$work/followed" 2>/dev/null &
	pid=$!
	sleep 0.5
	for i in $(seq 200); do echo "$i" >>"$mnt/log"; done
	wait_for 10 cmp "$mnt/log" "$work/followed"
	i=$?
	kill $pid
	return $i
}

need inotify inotifywait setfattr tail
pool_for inotify
check "inotify: the same events as on a plain directory" same_events
check "tail -f sees what is appended" followed
finish
