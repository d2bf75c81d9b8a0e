#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
# git with thousands of commits, worktrees that commit at once, commits up to a kill of the daemon; this project, built.
. "$(dirname "$0")/_lib.sh"

commits=$((1000 * more))

# A history for git fast-import: each commit changes four of a thousand files.
history()
{
	awk -v commits="$commits" 'BEGIN {
		srand(7)
		for (c = 1; c <= commits; c++) {
			message = "change " c "\n"
			printf "commit refs/heads/main\ncommitter test <test@localhost> %d +0000\ndata %d\n%s\n", 1700000000 + 60 * c, length(message), message
			for (k = 0; k < 4; k++) {
				f = int(rand() * 1000)
				text = ""
				for (l = 0; l < 20 + f % 90; l++)
					text = text int(rand() * 1000000000) " is line " l "\n"
				printf "M 100644 inline d%d/s%d/f%d\ndata %d\n%s\n", f % 20, f % 7, f, length(text), text
			}
		}
		print "done"
	}'
}

settings()
{
	export GIT_CONFIG_NOSYSTEM=1 HOME=$work
	git config --global user.name test && git config --global user.email test@localhost &&
		git config --global --add safe.directory '*' && git config --global init.defaultBranch main &&
		git config --global gc.auto 0 && git config --global advice.detachedHead false
}

import()
{
	history >"$work/history" && git init -q --bare "$mnt/origin" && git -C "$mnt/origin" fast-import --quiet --done <"$work/history" &&
		git init -q --bare "$work/origin" && git -C "$work/origin" fast-import --quiet --done <"$work/history" &&
		[ "$(git -C "$mnt/origin" rev-parse main)" = "$(git -C "$work/origin" rev-parse main)" ]
}

clones()
{
	git clone -q "$mnt/origin" "$mnt/clone" && git clone -q "file://$mnt/origin" "$mnt/far" && git clone -q "$work/origin" "$work/clone" &&
		[ "$(git -C "$mnt/far" rev-list --count HEAD)" -eq "$commits" ] && git -C "$mnt/clone" fsck --full --strict &&
		git -C "$mnt/far" fsck --full --strict
}

# Loose objects first, of a tenth of the history, so that there is something to collect.
collect()
{
	git init -q "$mnt/loose" && echo "main~$((commits * 9 / 10))" | git -C "$work/origin" pack-objects -q --revs --stdout |
		git -C "$mnt/loose" unpack-objects -q && git -C "$mnt/loose" reset -q --hard "$(git -C "$work/origin" rev-parse "main~$((commits * 9 / 10))")" &&
		git -C "$mnt/loose" gc -q --prune=now && git -C "$mnt/loose" fsck --full --strict && [ -z "$(git -C "$mnt/loose" status -s)" ] &&
		git -C "$mnt/clone" repack -q -a -d && git -C "$mnt/far" gc -q --prune=now && git -C "$mnt/origin" gc -q --prune=now &&
		git -C "$mnt/clone" fsck --full --strict && git -C "$mnt/far" fsck --full --strict && git -C "$mnt/origin" fsck --full --strict
}

checkouts()
{
	local back

	for back in 1 $((commits / 5)) 50 $((commits - 2)) $((commits / 2)) 0; do
		git -C "$mnt/clone" checkout -q "main~$back" && git -C "$work/clone" checkout -q "main~$back" &&
			diff -r -x .git "$mnt/clone" "$work/clone" && [ -z "$(git -C "$mnt/clone" status -s)" ] || return 1
	done
	git -C "$mnt/clone" checkout -q main
}

# Four worktrees of one repository commit at once.
worktrees()
{
	local i k

	for i in 1 2 3 4; do
		git -C "$mnt/clone" worktree add -q -b "b$i" "$mnt/tree$i" main || return 1
	done
	for i in 1 2 3 4; do
		(
			cd "$mnt/tree$i" || exit
			for k in $(seq 25); do
				echo "$i $k" >>new && git add new && git commit -qm "$k" || exit
			done
		) &
	done
	wait
	for i in 1 2 3 4; do
		[ "$(git -C "$mnt/clone" rev-list --count "main..b$i")" -eq 25 ] && [ "$(wc -l <"$mnt/tree$i/new")" -eq 25 ] || return 1
	done
	git -C "$mnt/clone" fsck --full --strict
}

# Commits that git has synced, up to a kill of the daemon.
commit_until_it_ends()
{
	local k

	cd "$mnt/crash" || return
	for k in $(seq 100000); do
		echo "$k" >>"f$((k % 10))" && git add . && git commit -qm "$k" && git rev-parse HEAD >>"$work/acknowledged" || return 0
	done
}

killed()
{
	local committer last

	git init -q "$mnt/crash" && git -C "$mnt/crash" config core.fsync all && git -C "$mnt/crash" config core.fsyncMethod fsync || return
	commit_until_it_ends >"$work/committer" 2>&1 &
	committer=$!
	sleep $((4 * more))
	if [ -n "${REAL_PLAIN:-}" ]; then kill -9 "$committer"; fi
	crash
	wait "$committer"
	last=$(tail -n 1 "$work/acknowledged")
	rm -f "$mnt"/crash/.git/*.lock "$mnt"/crash/.git/refs/heads/*.lock
	git -C "$mnt/crash" fsck --full --strict && git -C "$mnt/crash" merge-base --is-ancestor "$last" HEAD &&
		[ "$(git -C "$mnt/crash" rev-list --count "$last")" -eq "$(wc -l <"$work/acknowledged")" ]
}

build()
{
	mkdir "$mnt/project" && cp -r "$repo"/{src,sim,tests,tools,docs,bench,Makefile,meson.build,meson_options.txt} "$mnt/project/" &&
		make -C "$mnt/project" BUILD=build NINJA_FLAGS="-j$(nproc)" && "$mnt/project/build/dynamicfs" version &&
		"$mnt/project/build/tests/test_base" && make -C "$mnt/project" BUILD=build | grep -q 'no work to do'
}

need git git
settings
pool_for git
check "git: a history of $commits commits" import
check "git: clones, whole" clones
check "git: repack, gc, fsck" collect
check "git: what is checked out is the same as elsewhere" checkouts
check "git: worktrees commit at once" worktrees
check "git: what was committed is there after a kill -9 of the daemon" killed
with meson "this project is built on the mount" build
finish
