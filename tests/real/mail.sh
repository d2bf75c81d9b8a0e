#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
# Mail: a maildir with several that deliver and one that collects, and one spool under dotlocks; nothing is lost.
. "$(dirname "$0")/_lib.sh"

py=$(dirname "$(realpath "$0")")/_mail.py
messages=$((100 * more))

delivered()
{
	local i reader

	mkdir -p "$mnt/maildir"/{tmp,new,cur}
	python3 "$py" collect "$mnt/maildir" $((4 * messages)) &
	reader=$!
	for i in 1 2 3 4; do
		python3 "$py" maildir "$mnt/maildir" "$i" "$messages" &
	done
	wait "$reader"
}

# spooled COUNT LOCK... -- UNLOCK...: three that deliver at once to $mnt/spool/mbox
spooled()
{
	local i count=$1 pids=()

	shift
	mkdir -p "$mnt/spool"
	: >"$mnt/spool/mbox"
	for i in 1 2 3; do
		python3 "$py" spool "$mnt/spool/mbox" "$i" "$count" "$@" &
		pids+=($!)
	done
	for i in "${pids[@]}"; do
		wait "$i" || return 1
	done
	[ "$(grep -c '^From ' "$mnt/spool/mbox")" -eq $((3 * count)) ] && [ "$(ls "$mnt/spool")" = mbox ] &&
		[ "$(sort -u "$mnt/spool/mbox" | grep -c '^From [123] [0-9]*$')" -eq $((3 * count)) ]
}

procmailed()
{
	local i k pids=()

	mkdir -p "$mnt/procmail"
	printf 'MAILDIR=%s\nLOGFILE=%s\nLOCKSLEEP=1\n:0c:\nmbox\n:0\nbox/\n' "$mnt/procmail" "$work/procmail.log" >"$work/procmailrc"
	for i in 1 2 3; do
		(
			for k in $(seq 20); do
				printf 'From a@localhost Thu Jan  1 00:00:00 2026\nSubject: %s %s\n\ntext\n\n' "$i" "$k" | procmail "$work/procmailrc" || exit
			done
		) &
		pids+=($!)
	done
	for i in "${pids[@]}"; do
		wait "$i" || return 1
	done
	[ "$(grep -c '^Subject: ' "$mnt/procmail/mbox")" -eq 60 ] && [ "$(find "$mnt/procmail/box/new" -type f | wc -l)" -eq 60 ] &&
		[ "$(cat "$mnt"/procmail/box/new/* | grep '^Subject' | sort -u | wc -l)" -eq 60 ]
}

need mail python3
pool_for mail
lock=$mnt/spool/mbox.lock
check "a maildir: 4 deliver, one collects" delivered
with dotlockfile "a spool: dotlockfile" spooled 20 dotlockfile -i 1 -r 100 -l "$lock" -- dotlockfile -u "$lock"
with lockfile "a spool: procmail's lockfile" spooled 10 lockfile -1 -r 100 "$lock" -- rm -f "$lock"
with mutt_dotlock "a spool: mutt_dotlock" spooled 10 mutt_dotlock -r 100 "$mnt/spool/mbox" -- mutt_dotlock -u "$mnt/spool/mbox"
with procmail "procmail: a spool and a maildir" procmailed
finish
