#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
# Mount options: each that mount(8) and FUSE know is taken, or refused in one line that says why;
# remounting; what fusermount3 has to say.
. "$(dirname "$0")/lib.sh"

mount_with() { "$dynamicfs" mount --pool "$pool" --mountpoint "$mnt" -o "$1"; }
shown() { awk -v m="$mnt" '$2 == m { print $4 }' /proc/mounts; }

# takes OPTIONS [WORD...]: it mounts; the mount table shows the words
takes()
{
	local options=$1 word said

	shift
	said=$(mount_with "$options" 2>&1) || { not_ok "takes $options" "$said"; return; }
	for word in "$@"; do
		[[ ,$(shown), == *,$word,* ]] || said="the table shows $(shown), not $word"
	done
	stop
	if [[ $said == Mounted* ]]; then ok "takes $options"; else not_ok "takes $options" "$said"; fi
}

# refuses OPTIONS PATTERN: exit code 2, one line, and nothing mounted
refuses()
{
	local said code

	said=$(mount_with "$1" 2>&1)
	code=$?
	if [ "$code" -ne 2 ] || [ "$(wc -l <<<"$said")" -ne 1 ] || ! grep -q -- "$2" <<<"$said" ||
		is_mounted "$mnt"; then
		not_ok "refuses ${1//$'\n'/?}" "exit code $code: $said"
		stop 2>/dev/null
	else
		ok "refuses ${1//$'\n'/?}"
	fi
}

make_pool || { not_ok "pool" "can't be made"; exit 1; }
takes atime,diratime,norelatime,nostrictatime,lazytime,nolazytime,relatime relatime
takes noacl,acl,user_xattr,noquota,nomand,symfollow,iversion,silent,default_permissions
takes defaults,auto,noauto,nofail,_netdev,user=me,users,owner,group,x-a.b=c,X-d,comment=e
takes noexec,suid,nodev,dev,nosuid noexec nosuid
takes sync sync
takes ''
takes ,
takes ro,,noatime, ro
refuses max_read=65536 "by itself"
refuses nonempty "hidden"
refuses uid=1000 "chown"
refuses dirsync "fsync"
refuses usrquota "quota"
refuses nosuchthing=1 "no option 'nosuchthing=1'"
refuses maxread "no option"
refuses 'flush_interval=never' "value"
refuses $'a\nb' "no option"
refuses remount,ro "not mounted there"
refuse "strictatime is as relatime, and says so" 0 "relatime" mount_with strictatime
stop

mount_with nodiratime >/dev/null
mkdir "$mnt/d"
touch "$mnt/d/f"
touch -a -d 2000-01-01 "$mnt/d" "$mnt/d/f"
ls "$mnt/d" >/dev/null
cat "$mnt/d/f"
check "nodiratime" test "$(stat -c %x "$mnt/d" | cut -c1-4)" = 2000
check "but files' times" test "$(stat -c %x "$mnt/d/f" | cut -c1-4)" != 2000
stop

if [ "$(id -u)" -eq 0 ]; then
	takes allow_root
	start
	echo x >"$mnt/file"
	check "remount,ro" mount_with remount,ro
	refuse "is read-only then" 1 "Read-only" touch "$mnt/no"
	check "and readable" grep -q x "$mnt/file"
	check "remount,rw, with all that mount(8) repeats" mount_with \
		rw,nosuid,nodev,relatime,user_id=0,group_id=0,default_permissions,allow_other,remount,rw
	check "is writable then" touch "$mnt/yes"
	check "remount,noexec" mount_with remount,noexec
	check "the flag is set, the others stay" test "$(shown | cut -d, -f1-4)" = rw,nosuid,nodev,noexec
	exec 3>"$mnt/open"
	refuse "not while a file is open for writing" 4 "open for writing" mount_with remount,ro
	exec 3>&-
	refuse "not with another pool" 2 "not mounted there" \
		"$dynamicfs" mount --pool "$work" --mountpoint "$mnt" -o remount,ro
	stop
	start -r
	refuse "what was opened read-only stays so" 1 "opened read-only" mount_with remount,rw
	stop
fi
finish
