#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
# The pool exported over NFS by nfs-ganesha (user space), on the loopback, used by libnfs' tools: listing, copying in and out,
# handles that outlive what the kernel remembers. Needs root and the Debian packages nfs-ganesha nfs-ganesha-vfs libnfs-utils.
. "$(dirname "$0")/../func/lib.sh"

port=${NFS_PORT:-20490}
url() { echo "nfs://127.0.0.1/pool/$1?version=4&nfsport=$port&uid=0&gid=0"; }

up()
{
	cat >"$work/ganesha.conf" <<END
NFS_CORE_PARAM {
	NFS_Port = $port; Protocols = 4; Bind_addr = 127.0.0.1; Enable_NLM = false; Enable_RQUOTA = false; Enable_UDP = false;
	Plugins_Dir = /usr/lib/x86_64-linux-gnu/ganesha;
}
NFSv4 { Graceless = true; RecoveryRoot = $work/recovery; Minor_Versions = 0; }
EXPORT {
	Export_Id = 77; Path = $mnt; Pseudo = /pool; Access_Type = RW; Squash = No_Root_Squash; SecType = sys;
	Protocols = 4; Filesystem_Id = 7.7;
	FSAL { Name = VFS; }
}
END
	mkdir -p "$work/recovery"
	ganesha.nfsd -F -f "$work/ganesha.conf" -L "$work/ganesha.log" -p "$work/ganesha.pid" -N EVENT >/dev/null 2>&1 &
	echo $! >"$work/ganesha"
	wait_for 30 nfs-ls "$(url '')"
}

gone() { ! kill -0 "$1"; }
down()
{
	local pid

	pid=$(cat "$work/ganesha" 2>/dev/null) || return 0
	rm "$work/ganesha"
	kill -9 "$pid"
	wait_for 10 gone "$pid"
}
trap 'down; cleanup' EXIT

copy_in() { nfs-cp "$work/random" "$(url "$1")"; }
copy_out() { rm -f "$work/back"; nfs-cp "$(url "$1")" "$work/back" && cmp "$work/back" "$2"; }
lists() { [ "$(nfs-ls "$(url "$1")" | wc -l)" -eq "$2" ]; }
all_out()
{
	local i

	for i in $(seq 200); do
		rm -f "$work/back"
		nfs-cp "$(url "many/f$i")" "$work/back" >/dev/null && cmp "$work/back" "$mnt/many/f$i" || return 1
	done
}

command -v ganesha.nfsd nfs-ls nfs-cp >/dev/null && [ "$(id -u)" -eq 0 ] || { skip nfs "needs root, nfs-ganesha and libnfs-utils"; exit 0; }
make_pool && start -o inode_cache=16 || { not_ok nfs "no pool could be mounted"; exit 1; }
mkdir -p "$mnt/a/b/c" "$mnt/many"
echo text >"$mnt/a/b/c/file"
for i in $(seq 200); do echo "$i" >"$mnt/many/f$i"; done
head -c 100 /dev/urandom >"$work/random" # libnfs 4.0 fails to write 5,000 bytes by NFS 4, on any filesystem
head -c 5000000 /dev/urandom >"$mnt/large"
check "the pool is exported" up || tail -n 20 "$work/ganesha.log"
check "a listing" lists many 200
check "a file is read" copy_out a/b/c/file "$mnt/a/b/c/file"
check "a large one" copy_out large "$mnt/large"
check "a file is written" copy_in a/b/in
check "and is there" cmp "$work/random" "$mnt/a/b/in"
sync "$mnt"
echo 2 >/proc/sys/vm/drop_caches
check "it is read once the kernel has forgotten it" copy_out a/b/in "$work/random"
check "many files are read, with a small cache" all_out
down
finish
