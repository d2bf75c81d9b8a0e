#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
# What people and programs do with access control lists, done in the working directory. What it prints is to be the same on
# every filesystem that keeps them: acl.sh compares. Ids are numbers, so that no account is needed.
# usage: _acl.sh CASE
exec 2>&1
export LC_ALL=C PATH=/usr/sbin:/usr/bin:/sbin:/bin
umask 022

# say COMMAND...: runs it, and prints what it said and its exit code.
say()
{
	echo "\$ $*"
	"$@" </dev/null
	echo "= $?"
}

# show PATH...: the lists, modes and names of attributes
show()
{
	getfacl -n -p "$@"
	stat -c '%n %A %u:%g' "$@"
	getfattr -h -m '^system' "$@"
}
tree()
{
	local all

	mapfile -t all < <(find . -mindepth 1 ! -type l | sort)
	show "${all[@]}"
}

case_access_list()
{
	touch f
	chmod 640 f
	say setfacl -m u:1002:rwx,g:2001:r f
	show f
	say setfacl -m u:1003:w,m::rx f
	show f
	say setfacl -x u:1002 f
	say setfacl -x u:4444 f
	show f
	say setfacl -b f
	show f
	say setfacl -b f
	say setfacl -k f
	show f
}

case_chmod_is_the_mask()
{
	touch f
	setfacl -m u:1002:rwx,g::rwx f
	for mode in g-w 600 u=rx,g=x,o=r 777 000 4755 g+s; do
		say chmod "$mode" f
		show f
	done
	say setfacl -n -m u:1003:rwx f
	show f
}

case_list_that_is_a_mode()
{
	touch f
	say setfacl --set u::rwx,g::r,o::- f
	show f
	say setfacl -m m::x f
	show f
	say setfacl --set u::r,g::w,o::x f
	show f
	mkdir d
	say setfacl -d --set u::rwx,g::-,o::- d
	show d
}

make_some()
{
	python3 -c '
import os, socket
for text in ("000", "022", "077"):
    os.umask(int(text, 8))
    os.close(os.open(f"file{text}", os.O_CREAT | os.O_WRONLY, 0o666))
    os.close(os.open(f"made{text}", os.O_CREAT | os.O_WRONLY, 0o7777))
    os.mkdir(f"dir{text}")
    os.mkdir(f"private{text}", 0o700)
    os.mkfifo(f"fifo{text}")
    os.symlink("nowhere", f"link{text}")
    socket.socket(socket.AF_UNIX).bind(f"socket{text}")
'
	cp /bin/true program
	install -m 6775 /bin/true installed
}

case_inherited()
{
	mkdir d
	say setfacl -d -m u:1002:rwx,g:2001:rx,o::- d
	cd d && make_some
	mkdir dir022/below && touch dir022/below/file
	tree
}

case_inherited_without_names()
{
	mkdir d
	say setfacl -d --set u::rwx,g::rx,o::x d
	cd d && make_some
	tree
}

case_inherited_with_a_mask()
{
	mkdir d
	say setfacl -d --set u::rw,u:1003:rwx,g::rwx,m::r,o::rwx d
	cd d && make_some
	tree
}

case_no_default()
{
	mkdir d
	say setfacl -m u:1002:rwx d
	cd d && make_some
	tree
}

case_default_goes()
{
	mkdir d
	setfacl -m u:1002:rwx,d:u:1002:rwx d
	say setfacl -k d
	show d
	touch d/f
	show d/f
	setfacl -d -m u:1002:rwx d
	say setfacl -x d:u:1002 d
	show d
	say setfacl -b d
	show d
}

case_refused()
{
	touch f
	ln -s f link
	mkdir d
	say setfacl -d -m u:1002:rwx f
	say setfattr -h -n system.posix_acl_access -v 0x0200000001000600ffffffff04000400ffffffff20000400ffffffff link
	for value in 0x 0x02 0x02000000 0x0100000001000600ffffffff 0x0200000001000600ffffffff \
		0x0200000001000600ffffffff04000400ffffffff20000400ffffff \
		0x0200000001000600ffffffff04000400ffffffff20000c00ffffffff \
		0x0200000020000400ffffffff04000400ffffffff01000600ffffffff \
		0x0200000001000600ffffffff02000700ea03000004000400ffffffff20000400ffffffff \
		0x0200000001000600ffffffff04000400ffffffff40000400ffffffff20000400ffffffff \
		0x0200000001000600ffffffff01000600ffffffff04000400ffffffff20000400ffffffff \
		0x0200000001000600ffffffff04000400ffffffff20000400ffffffff; do
		say setfattr -n system.posix_acl_access -v "$value" f
		say setfattr -n system.posix_acl_default -v "$value" d
		getfattr -e hex -m - f d
	done
	show f d
	say setfattr -x system.posix_acl_access f
	say setfattr -x system.posix_acl_default f
	say getfattr -n system.posix_acl_default f
	say setfattr -n system.other -v 1 f
	say getfattr -n system.other f
}

case_many_entries()
{
	local list=u::rw,g::r,o::-

	for i in $(seq 3000 3399); do list+=,u:$i:r; done
	touch f
	say setfacl --set "$list" f | tail -n 1
	getfacl -n f | cksum
	chmod 0660 f
	getfacl -n f | cksum
	cp -a f g
	getfacl -n g | cksum
}

case_setgid()
{
	mkdir d
	chgrp 2001 d
	chmod 2775 d
	setfacl -d -m u:1002:rwx,g::rwx d
	cd d && make_some
	tree
	cd ..
	touch f
	chgrp 2001 f
	chmod 2775 f
	say setfacl -m u:1002:r f
	show f
	chmod 6755 f
	say setfacl --set u::rwx,g::rwx,o::- f
	show f
}

case_copies()
{
	mkdir -p from/sub
	touch from/plain from/listed from/sub/deep
	setfacl -m u:1002:rwx,g:2001:- from/listed
	setfacl -d -m u:1003:rx,o::- from/sub
	setfacl -m g:2002:wx from from/sub/deep
	say cp -a from copied
	say rsync -aA from/ synced
	say tar --acls -cf list.tar from
	mkdir unpacked
	say tar --acls -C unpacked -xf list.tar
	cp -r from unlisted
	mv from/listed moved
	rm list.tar
	tree
}

# try UID GROUPS: what that one may do
try()
{
	python3 -c '
import os, subprocess, sys
uid, groups = int(sys.argv[1]), [int(g) for g in sys.argv[2].split(",")]
os.setgroups(groups)
os.setgid(uid)
os.setuid(uid)

def may(fn, *args, **kw):
    try:
        fn(*args, **kw)
        return "yes"
    except OSError as e:
        return e.strerror.split()[-1]

def opened(name, flags):
    os.close(os.open(name, flags))

def accessible(name, how):
    if not os.access(name, how):
        raise PermissionError(13, "refused")

lists = {n: os.getxattr(n, "system.posix_acl_access") for n in sorted(os.listdir(".")) if may(os.getxattr, n, "system.posix_acl_access") == "yes"}
for n in sorted(os.listdir(".")):
    told = [n, uid, *groups]
    if n[0] == "f":
        told += [may(opened, n, os.O_RDONLY), may(opened, n, os.O_WRONLY), may(opened, n, os.O_RDWR | os.O_TRUNC)]
        told += [may(accessible, n, how) for how in (os.R_OK, os.W_OK, os.X_OK)]
        told += [may(os.truncate, n, 0), may(os.utime, n), may(os.utime, n, ns=(1, 1)), may(os.chmod, n, os.stat(n).st_mode)]
        told += [may(os.setxattr, n, "system.posix_acl_access", lists[n]) if n in lists else "none"]
    else:
        told += [may(os.listdir, n), may(os.stat, n + "/in"), may(os.mkdir, n + "/new"), may(os.rename, n + "/in", n + "/out")]
        told += [may(os.rename, n + "/out", n + "/in"), may(os.rmdir, n + "/new")]
    print(*told)
' "$@"
}

# as root only
case_decisions()
{
	local i=0 list

	for list in u:1002:r u:1002:- u:1002:rwx,m::x g:2001:rwx g:2001:r,g:2002:w u:1003:-,g:2001:rwx,o::rwx g::-,g:2001:rw,o::rwx \
		u:1001:rwx m::-,u:1002:rwx,o::rwx; do
		i=$((i + 1))
		echo true >"f$i"
		mkdir "d$i"
		touch "d$i/in"
		chown 1001:2002 "f$i" "d$i"
		chmod 750 "f$i" "d$i"
		setfacl -m "$list" "f$i" "d$i"
	done
	mkdir d-sticky
	touch d-sticky/in
	chmod 1770 d-sticky
	setfacl -m u:1002:rwx,g:2001:rwx d-sticky
	show f* d*
	for who in "1001 1001" "1002 1002" "1002 2001" "1003 2001" "1003 2002" "1003 2001,2002" "1004 1004"; do
		# shellcheck disable=SC2086 # two words
		try $who
	done
	chmod 700 f1 d4
	try 1002 2001
	chmod 770 f1 d4
	try 1002 2001
	chown 1004:2001 f1 d4
	try 1004 2001
	setfacl -b f1 d4
	try 1002 2001
}

# as root only
case_owners()
{
	mknod device c 1 3
	mkdir d
	setfacl -d -m u:1002:rw d
	mknod d/device c 1 3
	mknod d/block b 7 7
	tree
	touch f
	setfacl -m u:1002:rwx f
	chmod 6777 f
	say chown 1001:2001 f
	show f
	chmod 2770 f
	say setpriv --reuid 1001 --regid 1001 --groups 1001 setfacl -m u:1003:r f
	show f
	chmod 2770 f
	say setpriv --reuid 1001 --regid 1001 --groups 2001 setfacl -m u:1003:r f
	show f
	say setpriv --reuid 1002 --regid 1001 --groups 2001 setfacl -m u:1003:r f
	say setpriv --reuid 1002 --regid 1001 --groups 2001 setfacl -b f
	show f
}

"case_$1"
