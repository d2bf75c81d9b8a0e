#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
# The pool shared by Samba, with a configuration, a port and directories of its own, on the loopback: smbclient there and
# back, and groups of smbtorture, which must find no more to complain of than on a plain directory.
. "$(dirname "$0")/_lib.sh"

port=${SMB_PORT:-44599}
conf=$work/smb.conf
plain=$work/plain
groups="base.unlink base.attr base.rename base.open base.vuid base.dir1 base.chkpath smb2.rw smb2.read"
[ "$more" -eq 1 ] || groups="$groups base.delete base.lock base.denydos base.dir2 smb2.dir smb2.rename smb2.ea smb2.mkdir smb2.create smb2.lock smb2.streams smb2.getinfo smb2.setinfo smb2.sharemode
	smb2.notify smb2.oplock smb2.lease smb2.compound smb2.durable-open smb2.acls smb2.timestamps"

trap 'down; cleanup' EXIT
up()
{
	local dir

	for dir in private lock state cache pid ncalrpc run; do mkdir -p "$work/samba/$dir"; done
	cat >"$conf" <<EOF
[global]
	server role = standalone server
	security = user
	smb ports = $port
	interfaces = lo
	bind interfaces only = yes
	private dir = $work/samba/private
	lock directory = $work/samba/lock
	state directory = $work/samba/state
	cache directory = $work/samba/cache
	pid directory = $work/samba/pid
	ncalrpc dir = $work/samba/ncalrpc
	passdb backend = tdbsam:$work/samba/private/passdb.tdb
	log file = $work/samba/log
	disable netbios = yes
	load printers = no
	printcap name = /dev/null
	server min protocol = NT1
	client min protocol = NT1
	store dos attributes = yes
	ea support = yes
	vfs objects = acl_xattr streams_xattr
[pool]
	path = $mnt/share
	read only = no
[plain]
	path = $plain
	read only = no
EOF
	printf 'secret\nsecret\n' | smbpasswd -c "$conf" -s -a root >/dev/null 2>&1 || return
	smbd -s "$conf" -F --no-process-group >"$work/smbd.said" 2>&1 &
	echo $! >"$work/smbd"
	wait_for 20 client pool ls
}
down()
{
	local pid

	pid=$(cat "$work/smbd" 2>/dev/null) || return 0
	rm -f "$work/smbd"
	kill "$pid"
	wait_for 10 gone "$pid" || kill -9 "$pid"
}
gone() { ! kill -0 "$1" 2>/dev/null; }
client() { smbclient -s "$conf" -p "$port" -U root%secret "//127.0.0.1/$1" -c "$2"; }

there_and_back()
{
	mkdir "$work/in" && cp -r "$repo/src" "$work/tree" && head -c 30000000 /dev/urandom >"$work/tree/bulk" &&
		client pool "prompt off; recurse on; lcd $work/tree; mput *" >/dev/null 2>&1 && diff -r "$work/tree" "$mnt/share" &&
		client pool "prompt off; recurse on; lcd $work/in; mget *" >/dev/null 2>&1 && diff -r "$work/tree" "$work/in" &&
		client pool "prompt off; recurse on; deltree *" >/dev/null 2>&1 && [ -z "$(ls -A "$mnt/share")" ]
}

# torture SHARE GROUP: the names of the tests that succeed; $work/late is there when they took too long
torture()
{
	(timeout $((60 * more)) smbtorture -s "$conf" --option=torture:writetimeupdatedelay=500000 -p "$port" -U root%secret "//127.0.0.1/$1" "$2" 2>&1; [ $? -ne 124 ] || : >"$work/late") |
		tee "$work/torture.$1" | sed -n 's/^success: //p' | sort
}

compared()
{
	local lost

	rm -f "$work/late"
	torture plain "$1" >"$work/ok.plain"
	torture pool "$1" >"$work/ok.pool"
	if [ -e "$work/late" ]; then
		skip "smbtorture: $1" "took longer than $((60 * more)) s"
		return
	fi
	lost=$(comm -23 "$work/ok.plain" "$work/ok.pool" | tr '\n' ' ')
	if [ ! -s "$work/ok.plain" ]; then
		skip "smbtorture: $1" "nothing of it succeeds on the filesystem of $work"
	elif [ -z "$lost" ]; then
		ok "smbtorture: $1 ($(wc -l <"$work/ok.pool"))"
	else
		not_ok "smbtorture: $1" "succeeds on the filesystem of $work, but not here: $lost: $(grep -A 2 '^failure' "$work/torture.pool" | tail -n 4 | tr '\n' ' ')"
	fi
}

need samba smbd smbclient smbpasswd smbtorture
pool_for samba
mkdir "$mnt/share" "$plain"
check "smbd serves the pool" up || { tail -n 5 "$work/smbd.said" "$work/samba/log"; exit 1; }
check "smbclient: there, back, deleted" there_and_back
for group in $groups; do
	compared "$group"
done
down
finish
