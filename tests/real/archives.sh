#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
# tar and rsync with a part of /usr, and with all that a file can have: hard links, holes, ACLs, attributes, odd names.
. "$(dirname "$0")/_lib.sh"

mib=$((120 * more))
[ "$mib" -le 1024 ] || mib=1024

# The first so many MiB of /usr, without names that have a newline, as a list for tar.
part_of_usr()
{
	find /usr/include /usr/share /usr/lib /usr/bin -xdev \( -type f -o -type l -o -type d \) ! -name '*
*' -printf '%s %P %H\n' 2>/dev/null | LC_ALL=C awk -v most=$((mib * 1048576)) '
		{ size = $1; root = $NF; path = substr($0, length($1) + 2, length($0) - length($1) - length(root) - 2) }
		size > most / 20 || path == "" { next }
		(sum += size + 4096) > most { exit }
		{ print substr(root, 2) "/" path }' >"$work/list" && tar -C / --no-recursion --verbatim-files-from --no-unquote -T "$work/list" -cf "$work/usr.tar"
}

extract() { mkdir "$mnt/usr" && tar -C "$mnt/usr" -xf "$work/usr.tar"; }
compare() { tar -C "$mnt/usr" --compare -f "$work/usr.tar"; }
again() { stop && start && compare; }
packed_there() { tar -C "$mnt/usr" -cf "$mnt/packed.tar" . && mkdir "$work/unpacked" && tar -C "$work/unpacked" -xf "$mnt/packed.tar" && diff -r --no-dereference "$mnt/usr" "$work/unpacked"; }

whole_tar()
{
	local options=(--acls --xattrs '--xattrs-include=*' --sparse --numeric-owner -p)

	tar -C "$work/tree" "${options[@]}" -cf "$work/tree.tar" . && mkdir "$mnt/tar" "$work/tar" &&
		tar -C "$mnt/tar" "${options[@]}" -xf "$work/tree.tar" && same_trees "$work/tree" "$mnt/tar" &&
		tar -C "$mnt/tar" "${options[@]}" -cf - . | tar -C "$work/tar" "${options[@]}" -xf - && same_trees "$work/tree" "$work/tar"
}

# sync FROM TO: then a dry run that compares contents, and has nothing to do.
sync_trees()
{
	rsync -aHAXS --numeric-ids "$1/" "$2/" && [ -z "$(rsync -aHAXS --numeric-ids -c -n -i --delete "$1/" "$2/" | tee /dev/stderr)" ]
}

there() { sync_trees "$work/tree" "$mnt/tree" && same_trees "$work/tree" "$mnt/tree" && few_blocks "$mnt/tree/sparse"; }
back() { sync_trees "$mnt/tree" "$work/back" && same_trees "$work/tree" "$work/back"; }
within() { sync_trees "$mnt/tree" "$mnt/tree2" && same_trees "$work/tree" "$mnt/tree2"; }
copied() { cp -a --sparse=auto "$mnt/tree" "$mnt/tree3" && same_trees "$work/tree" "$mnt/tree3" && few_blocks "$mnt/tree3/sparse"; }
few_blocks() { [ "$(du -k "$1" | cut -f 1)" -lt 4096 ]; }

# A file that changes is synced into the middle of what is there.
in_place()
{
	printf changed | dd of="$work/tree/large" bs=1 seek=1500000 conv=notrunc status=none && rm "$work/tree/many/20" &&
		mv "$work/tree/many/21" "$work/tree/dir/" && rsync -aHAX --modify-window=-1 --numeric-ids --inplace --no-whole-file --delete "$work/tree/" "$mnt/tree/" &&
		same_trees "$work/tree" "$mnt/tree"
}
still() { stop && start && same_trees "$work/tree" "$mnt/tree"; }

need archives tar rsync setfacl setfattr
pool_for archives
check "tar: a part of /usr, at most $mib MiB" part_of_usr
check "tar: extracted" extract
check "tar: compared" compare
check "tar: compared after a remount" again
check "tar: from the mount and back" packed_there
if special "$work/tree" 2>"$work/said"; then
	check "tar: hard links, holes, ACLs, attributes" whole_tar
	check "rsync -aHAXS to the mount, and nothing left to do" there
	check "rsync -aHAXS from the mount" back
	check "rsync -aHAXS within the mount" within
	check "cp -a within the mount" copied
	check "rsync --inplace --delete of what changed" in_place
	check "the same after a remount" still
else
	skip "rsync" "the filesystem of $work can't have such a tree: $(tail -n 1 "$work/said")"
fi
finish
