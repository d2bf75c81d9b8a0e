#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
# Programs that people use, on a real mount: git, SQLite, tar, rsync, cp, a build, find.
. "$(dirname "$0")/lib.sh"

git_clone()
{
	export GIT_CONFIG_NOSYSTEM=1 HOME=$work
	git config --global user.name test && git config --global user.email test@localhost
	git config --global --add safe.directory '*'
	git init -q "$mnt/origin" && cd "$mnt/origin" && cp -r "$repo/src" "$repo/docs" . &&
		find src docs -type d -empty -delete && cp -r src "$work/src" && git add . && git commit -qm one && sed -i 's/the/THE/' docs/*.md &&
		git commit -qam two && git gc -q && cd / && git clone -q "$mnt/origin" "$mnt/clone" &&
		git -C "$mnt/clone" fsck --full --strict && git -C "$mnt/clone" checkout -q HEAD~1 &&
		diff -r "$work/src" "$mnt/clone/src" && test -z "$(git -C "$mnt/clone" status -s)" &&
		git clone -q --no-hardlinks "file://$mnt/origin" "$work/out" &&
		git -C "$work/out" fsck --full
}

sqlite_use()
{
	local mode

	for mode in delete wal; do
		sqlite3 "$mnt/$mode.db" <<END || return 1
PRAGMA journal_mode=$mode;
CREATE TABLE t(id INTEGER PRIMARY KEY, v TEXT);
WITH RECURSIVE c(x) AS (SELECT 1 UNION ALL SELECT x + 1 FROM c WHERE x < 20000)
INSERT INTO t SELECT x, hex(randomblob(40)) FROM c;
UPDATE t SET v = 'changed' WHERE id % 3 = 0;
DELETE FROM t WHERE id % 5 = 0;
VACUUM;
END
		for i in 1 2 3; do
			sqlite3 "$mnt/$mode.db" ".timeout 20000" "INSERT INTO t(v) VALUES ('p$i');" &
		done
		wait
		test "$(sqlite3 "$mnt/$mode.db" 'PRAGMA integrity_check; SELECT count(*) FROM t;' |
			tr '\n' ' ')" = "ok 16003 " || return 1
	done
}

tar_there_and_back()
{
	tar -C /usr/include -cf "$work/include.tar" --exclude='c++' . &&
		mkdir "$mnt/tar" && tar -C "$mnt/tar" -xf "$work/include.tar" &&
		tar -C "$mnt/tar" --compare -f "$work/include.tar" && stop && start &&
		tar -C "$mnt/tar" --compare -f "$work/include.tar"
}

rsync_there_and_back()
{
	rsync -aHX --inplace "$repo/src/" "$mnt/rsync/" && rsync -aHXc "$repo/src/" "$mnt/rsync/" &&
		test -z "$(rsync -aHXcni "$repo/src/" "$mnt/rsync/")"
}

compile()
{
	mkdir "$mnt/build" && cd "$mnt/build" || return 1
	printf '#include <stdio.h>\nint value(void);\nint main(void){printf("%%d\\n", value());}\n' >main.c
	printf 'int value(void){return 42;}\n' >value.c
	printf 'prog: main.o value.o\n\tcc -o $@ $^\n%%.o: %%.c\n\tcc -O2 -g -c -o $@ $<\n' >Makefile
	make -s -j2 && test "$(./prog)" = 42 && make -s -q && sleep 0.02 && touch value.c &&
		! make -s -q && make -s && ar rcs lib.a value.o && test "$(./prog)" = 42
}

sparse_copies()
{
	truncate -s 3G "$mnt/sparse" && printf data | dd of="$mnt/sparse" bs=1 seek=1G conv=notrunc \
		status=none && cp --sparse=auto "$mnt/sparse" "$mnt/sparse2" &&
		test "$(du -k "$mnt/sparse2" | cut -f1)" -lt 4096 &&
		cmp <(tail -c +1073741825 "$mnt/sparse2" | head -c 4) <(printf data) &&
		cp --sparse=always /bin/bash "$mnt/bash" && cmp /bin/bash "$mnt/bash" &&
		cp --reflink=auto "$mnt/bash" "$mnt/bash2" && cmp /bin/bash "$mnt/bash2"
}

big_file()
{
	head -c 100000000 /dev/urandom >"$work/100M" && dd if="$work/100M" of="$mnt/100M" bs=1M \
		conv=fsync status=none && cmp "$work/100M" "$mnt/100M" &&
		dd if="$mnt/100M" of="$mnt/direct" bs=1M oflag=direct count=20 status=none &&
		cmp -n 20971520 "$work/100M" "$mnt/direct" && stop && start && cmp "$work/100M" "$mnt/100M"
}

tree_of_files()
{
	mkdir "$mnt/tree" && (cd "$mnt/tree" && for d in 1 2 3 4 5; do
		mkdir $d && for f in $(seq 200); do echo "$d $f" >$d/$f; done
	done) && test "$(find "$mnt/tree" -type f | wc -l)" -eq 1000 &&
		test "$(cat "$mnt"/tree/*/* | wc -l)" -eq 1000 && mv "$mnt/tree" "$mnt/tree2" &&
		cp -a "$mnt/tree2" "$mnt/tree3" && diff -r "$mnt/tree2" "$mnt/tree3" &&
		find "$mnt/tree2" -delete && test ! -e "$mnt/tree2" && rm -r "$mnt/tree3"
}

make_pool && start || { not_ok programs "no pool could be mounted"; exit 1; }
with git "git: commit, gc, clone, fsck" git_clone
with sqlite3 "sqlite: rollback journal and WAL" sqlite_use
with tar "tar: extract, compare, remount, compare" tar_there_and_back
with rsync "rsync: there, and nothing left to do" rsync_there_and_back
with cc "cc and make" compile
check "cp of sparse files" sparse_copies
check "dd of 100 MB, direct, after remount" big_file
check "find, mv, cp -a, rm" tree_of_files
cd /
rm -rf "${mnt:?}"/*
check "all is gone" test -z "$(ls -A "$mnt")"
finish
