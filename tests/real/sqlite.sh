#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
# SQLite in its four journal modes, written by several processes, which are killed, as is the daemon.
. "$(dirname "$0")/_lib.sh"

rounds=$((2 * more))
py=$(dirname "$(realpath "$0")")/_sqlite.py
pids=()

# begin MODE: three writers
begin()
{
	local i

	pids=()
	for i in 1 2 3; do
		python3 "$py" write "$mnt/$1.db" "$1" "$i" "$work/$1.$i" >>"$work/said" 2>&1 &
		pids+=($!)
		# the first one makes the tables
		wait_for 20 test -s "$work/$1.1"
	done
	sleep 1.$((RANDOM % 10))
}

verified()
{
	[ "$(cat "$work/$1".[123] | wc -l)" -ge 5 ] && python3 "$py" verify "$mnt/$1.db" "$work/$1".[123]
}

writers_killed()
{
	local i

	for i in $(seq "$rounds"); do
		begin "$1"
		kill -9 "${pids[@]}"
		wait
		verified "$1" || { tail -n 3 "$work/said"; return 1; }
	done
}

daemon_killed()
{
	local i

	for i in $(seq "$rounds"); do
		begin "$1"
		kill -9 "$(daemon_pid "$pool")"
		kill -9 "${pids[@]}"
		wait
		wait_for 20 daemon_gone "$pool" && umount -l "$mnt" && start && verified "$1" || { tail -n 3 "$work/said"; return 1; }
	done
}

need sqlite python3
python3 -c 'import sqlite3' 2>/dev/null || { skip sqlite "python3 lacks its module sqlite3"; exit 0; }
pool_for sqlite
for mode in delete truncate persist wal; do
	check "$mode: kill -9 of three writers" writers_killed "$mode"
	[ -n "${REAL_PLAIN:-}" ] || check "$mode: kill -9 of the daemon" daemon_killed "$mode"
done
finish
