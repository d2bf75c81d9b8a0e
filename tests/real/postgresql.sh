#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
# PostgreSQL with pgbench: kill -9 of the postmaster and of the daemon; no transaction that was committed is lost, the sums
# are right, pg_amcheck and the checksums of pages find nothing.
. "$(dirname "$0")/_lib.sh"

seconds=$((8 * more))
PATH=$(printf '%s:' /usr/lib/postgresql/*/bin)$PATH
data=$mnt/pg/data
export PGHOST=$work/socket PGPORT=54329 PGUSER=postgres PGDATABASE=postgres

as() { runuser -u postgres -- env PATH="$PATH" "$@"; }

up()
{
	as pg_ctl -D "$data" -l "$work/socket/log" -w -t 60 start >/dev/null 2>&1 && head -n 1 "$data/postmaster.pid" >"$work/postmaster"
}
down() { as pg_ctl -D "$data" -w -t 60 -m fast stop >/dev/null 2>&1 && rm -f "$work/postmaster"; }

# Those that the postmaster had begun end by themselves.
kill_postmaster()
{
	local pid children

	pid=$(cat "$work/postmaster" 2>/dev/null) || return 0
	rm -f "$work/postmaster"
	children=$(pgrep -P "$pid")
	kill -9 "$pid"
	# shellcheck disable=SC2086 # one a word
	wait_for 30 none_of "$pid" $children || kill -9 $children
}
none_of()
{
	local pid

	for pid; do
		[ ! -e "/proc/$pid" ] || return 1
	done
}
trap 'kill_postmaster; cleanup' EXIT

make_cluster()
{
	mkdir "$mnt/pg" "$work/socket" && chown postgres: "$mnt/pg" "$work/socket" &&
		as initdb -D "$data" -A trust -E UTF8 --no-locale --data-checksums >/dev/null && cat >>"$data/postgresql.conf" <<EOF || return
listen_addresses = ''
unix_socket_directories = '$work/socket'
port = $PGPORT
shared_buffers = 24MB
min_wal_size = 32MB
max_wal_size = 128MB
checkpoint_timeout = 30s
EOF
	up && as pgbench -q -i -s $((4 * more)) && as psql -qc 'CREATE EXTENSION amcheck'
}

count() { as psql -Atqc 'SELECT count(*) FROM pgbench_history'; }
load() { as pgbench -n -c 4 -j 2 -T "$1" >"$work/pgbench" 2>&1; }
processed() { sed -n 's/^number of transactions actually processed: *\([0-9]*\).*/\1/p' "$work/pgbench"; }

# right BEFORE: the sums agree, and no transaction is missing that was committed since there were so many
right()
{
	local sums done

	sums=$(as psql -Atqc 'SELECT (SELECT sum(abalance) FROM pgbench_accounts) = (SELECT sum(delta) FROM pgbench_history)
		AND (SELECT sum(bbalance) FROM pgbench_branches) = (SELECT sum(delta) FROM pgbench_history)
		AND (SELECT sum(tbalance) FROM pgbench_tellers) = (SELECT sum(delta) FROM pgbench_history)')
	done=$(processed)
	echo "sums agree: $sums; $done processed, $(($(count) - $1)) there"
	[ "$sums" = t ] && [ "${done:-0}" -gt 0 ] && [ "$(($(count) - $1))" -ge "$done" ] && [ "$(($(count) - $1))" -le $((done + 4)) ] &&
		as pg_amcheck --heapallindexed --parent-check -d postgres
}

normally() { load "$seconds" && right 0; }

postmaster_killed()
{
	local before loader

	before=$(count)
	load 60 &
	loader=$!
	sleep "$seconds"
	kill_postmaster
	wait "$loader"
	up && right "$before"
}

daemon_killed()
{
	local before loader

	before=$(count)
	load 60 &
	loader=$!
	sleep "$seconds"
	kill -9 "$(daemon_pid "$pool")"
	kill_postmaster
	wait "$loader"
	wait_for 20 daemon_gone "$pool" && umount -l "$mnt" && start && up && right "$before"
}

vacuumed() { as psql -qc 'VACUUM FULL' && as vacuumdb -q -z -a && as pg_amcheck --heapallindexed --parent-check -d postgres; }
dumped() { as pg_dump -Fc -f "$mnt/pg/dump" postgres && as createdb copy && as pg_restore -d copy "$mnt/pg/dump" && [ "$(as psql -d copy -Atqc 'SELECT count(*) FROM pgbench_history')" = "$(count)" ]; }
checksums() { down && stop && start && as pg_checksums --check -D "$data"; }

need postgresql initdb pg_ctl pgbench pg_amcheck runuser
id postgres >/dev/null 2>&1 || { skip postgresql "there is no user postgres"; exit 0; }
pool_for postgresql
check "a cluster on the mount, pgbench's tables" make_cluster || { tail -n 5 "$work/socket/log"; exit 1; }
check "pgbench: the sums are right" normally
check "kill -9 of the postmaster: nothing committed is lost" postmaster_killed
[ -n "${REAL_PLAIN:-}" ] || check "kill -9 of the daemon: nothing committed is lost" daemon_killed
check "VACUUM FULL" vacuumed
check "pg_dump and pg_restore" dumped
check "all checksums of pages are right after a remount" checksums
kill_postmaster
finish
