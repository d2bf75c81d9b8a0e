#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
# The command line: every refusal with its exit code, its message and nothing changed; JSON that
# parses, with the same keys and values whether the daemon answers or the command itself; sizes,
# help, colours.
cd "$(dirname "$0")" || exit 1
# shellcheck source=tests/func/lib.sh
. ./lib.sh
cd "$work" || exit 1
export LC_ALL=C NO_COLOR=

dfs() { "$dynamicfs" "$@"; }

# Every byte of the disks and of pool.json, and all names.
picture()
{
	{
		find "$work"/disk* "$work"/other* -printf '%p %y %s\n' 2>/dev/null
		find "$work"/disk* "$work"/other* "$pool/pool.json" -type f -print0 2>/dev/null |
			sort -z | xargs -0r sha256sum
	} | sort
}

# unchanged NAME CODE PATTERN COMMAND...: refused, and nothing is different afterwards.
unchanged()
{
	local name=$1 before after

	before=$(picture)
	refuse "$@"
	after=$(picture)
	if [ "$before" = "$after" ]; then
		ok "$name: nothing changed"
	else
		not_ok "$name: nothing changed" "$(diff <(echo "$before") <(echo "$after") | head -4 | tr '\n' ' ')"
	fi
}

# json NAME JQ_EXPRESSION COMMAND...: stdout is one JSON object for which the expression is true.
json()
{
	local name=$1 expression=$2 said

	shift 2
	said=$("$@" 2>/dev/null)
	if python3 - "$expression" "$said" <<'PY'; then
import json, sys
r = json.loads(sys.argv[2])
assert isinstance(r, dict)
sys.exit(0 if eval(sys.argv[1], {"r": r}) else 1)
PY
		ok "$name"
	else
		not_ok "$name" "'$*' said $(head -c 300 <<<"$said" | tr '\n' ' ')"
	fi
}

# value EXPRESSION: of the JSON object r on stdin.
value() { python3 -c 'import json, sys; r = json.load(sys.stdin); print(eval(sys.argv[1]))' "$1"; }

# What differs by nature between the daemon's answer and the command's own is taken out.
steady()
{
	python3 -c '
import json, sys
r = json.load(sys.stdin)
for key in "mounted", "mountpoint", "metadata", "recovery", "counters", "warnings", "writes": # writes: since the mount
    r.pop(key, None)
for key in "available_bytes", "total_bytes":
    r.get("space", {}).pop(key, None)
for key in "raw_free_bytes", "stranded_bytes": # as far as the disks say at that moment
    r.get("space", {}).pop(key, None)
def untimed(o): # what counts down
    if isinstance(o, dict):
        o.pop("next_in_s", None)
        for v in o.values():
            untimed(v)
untimed(r)
for disk in r.get("disks", []):
    for key in "reads", "writes", "syncs", "read_bytes", "write_bytes", "free_bytes":
        del disk[key]
print(json.dumps(r, indent=1, sort_keys=True))'
}

# ---- without a pool ----
check "help" dfs help
check "help of a command" dfs help add-disk
check "--help" dfs mount --help
check "version" dfs version
json "version --json" 'r["program"] == "dynamicfs" and r["version"]' dfs version --json
refuse "no such command" 2 "no command" dfs frobnicate
refuse "no such option" 2 "no option --frob" dfs status --frob
refuse "option without its value" 2 "wants a value" dfs init --pool
refuse "a word too many" 2 "one word too many" dfs status --pool x y
refuse "no pool named" 2 "which pool" dfs status
refuse "no such pool" 3 "cannot open" dfs status --pool "$work/nothing"
refuse "a directory that is no pool" 3 "is not a pool" dfs status --pool "$work"
json "error as JSON" 'r["error"]["exit_code"] == 3 and r["error"]["code"] == "DFS_ENOTPOOL" and r["error"]["message"]' \
	dfs status --pool "$work/nothing" --json
json "usage error as JSON" 'r["error"]["exit_code"] == 2' dfs status --frob --json
refuse "an empty path" 2 "is empty" dfs status --pool ""
for size in 10X 1.2.3G G -1 1e5 0x10 16E; do
	refuse "size '$size'" 2 "cannot use" dfs add-disk --pool x --disk y --capacity "$size"
done
refuse "geometry" 2 "cannot use '4\+'" dfs init --pool "$pool" --large 4+
refuse "geometry too wide" 2 "geometry" dfs init --pool "$pool" --large 17+2
refuse "policy" 2 "cannot use" dfs init --pool "$pool" --policy raid6
refuse "on or off" 2 "give on or off" dfs init --pool "$pool" --verify-writes maybe
refuse "copies" 2 "cannot keep 0" dfs init --pool "$pool" --copies 0
[ ! -e "$pool" ] && ok "no pool from refusals" || not_ok "no pool from refusals" "$pool exists"

# ---- init ----
mkdir -p "$work/other/full" "$work/other/locked"
echo mine >"$work/other/full/file"
unchanged "init on a foreign directory" 1 "not empty" dfs init --pool "$work/other/full"
refuse "init below nothing" 1 "does not exist" dfs init --pool "$work/none/pool"
refuse "init on a file" 1 "not a directory" dfs init --pool "$work/other/full/file"
if [ "$(id -u)" -eq 0 ] && mount -t tmpfs -o ro dynamicfs-test "$work/other/locked"; then
	tmpfs_mounted+=("$work/other/locked")
	refuse "init on a read-only filesystem" 1 "read-only" dfs init --pool "$work/other/locked"
	refuse "init in a read-only filesystem" 1 "read-only" dfs init --pool "$work/other/locked/pool"
elif [ "$(id -u)" -ne 0 ]; then
	chmod 555 "$work/other/locked"
	refuse "init on a read-only directory" 1 "permission denied" dfs init --pool "$work/other/locked"
	chmod 755 "$work/other/locked"
else
	skip "init on a read-only filesystem" "tmpfs can't be mounted here"
fi
# two at once: each would find it empty, and both would say that they have made a pool
mkdir "$work/other/two"
unchanged "init while another one is at it" 4 "another command is making a pool" \
	flock "$work/other/two" "$dynamicfs" init --pool "$work/other/two"
# Errors have names, not numbers, and the right ones.
long=$work/$(printf 'x%.0s' {1..300})
ln -s circle2 circle1 && ln -s circle1 circle2
for path in "$long:[Nn]ame too long" "$work/circle1:[Tt]oo many .*symbolic links"; do
	for command in init:pool:1 status:pool:1 mount:mountpoint:1 unmount:mountpoint:1 import:disk:3; do
		IFS=: read -r word option code <<<"$command"
		refuse "$word: ${path##*:}" "$code" "${path##*:}" \
			env DYNAMICFS_POOL="$work" "$dynamicfs" "$word" "--$option" "${path%:*}"
	done
done
refuse "init below a circle" 1 "[Tt]oo many .*symbolic links" dfs init --pool "$work/circle1/x"
make_disks "$work"
mkdir -p "$mnt"
json "init --json" 'r["settings"]["large"] == "rs:4+2" and r["settings"]["copies"] == 3' \
	dfs init --pool "$pool" --json
unchanged "init twice" 1 "a pool already" dfs init --pool "$pool"
check "status of an empty pool" dfs status --pool "$pool"
json "empty state" 'r["state"] == "empty"' dfs status --pool "$pool" --json
refuse "fsck of an empty pool" 3 "no disk yet" dfs fsck --pool "$pool"
refuse "mount of an empty pool" 3 "no disk" dfs mount --pool "$pool" --mountpoint "$mnt"
refuse "init with a policy" 0 "3 copies" dfs init --pool "$work/pool2" --policy replica:3
json "that policy" 'r["settings"]["large"] == "replica:3"' dfs status --pool "$work/pool2" --json

# ---- add-disk ----
unchanged "add-disk --dry-run" 0 "Would add" dfs add-disk --pool "$pool" --disk "$work/disk1" --dry-run
for i in 1 2 3 4 5; do
	check "add disk$i" dfs add-disk --pool "$pool" --disk "disk$i" --label "disk$i"
done
json "dry run says the room" 'r["usable_after_bytes"] > r["usable_before_bytes"] > 0' \
	dfs add-disk --pool "$pool" --disk "$work/disk6" --dry-run --json
promised=$(dfs add-disk --pool "$pool" --disk "$work/disk6" --dry-run --json |
	value 'r["usable_after_bytes"]')
check "add disk6" dfs add-disk --pool "$pool" --disk "$work/disk6" --label disk6 --domain shelf
json "the room that was promised" "abs(r['space']['total_bytes'] - $promised) <= $promised / 100" \
	dfs status --pool "$pool" --json
unchanged "add-disk twice" 1 "already" dfs add-disk --pool "$pool" --disk "$work/disk1"
unchanged "a directory within a disk" 2 "cannot add" \
	dfs add-disk --pool "$pool" --disk "$work/disk1/dynamicfs"
mkdir "$pool/sub"
unchanged "a directory within the pool" 2 "cannot add" dfs add-disk --pool "$pool" --disk "$pool/sub"
rmdir "$pool/sub"
unchanged "the pool itself" 1 "cannot add" dfs add-disk --pool "$pool" --disk "$pool"
unchanged "a directory that holds disks" 2 "cannot add" dfs add-disk --pool "$pool" --disk "$work"
unchanged "a name that is too long" 3 "[Nn]ame too long" dfs add-disk --pool "$pool" --disk "$long"
unchanged "a circle of links" 3 "[Tt]oo many .*symbolic links" \
	dfs add-disk --pool "$pool" --disk "$work/circle2"
refuse "a circle to be searched" 1 "[Tt]oo many .*symbolic links" \
	dfs set --pool "$pool" --search "$work/circle2"
unchanged "no such directory" 3 "cannot add" dfs add-disk --pool "$pool" --disk "$work/none"
unchanged "a file as a disk" 1 "cannot add" dfs add-disk --pool "$pool" --disk "$work/other/full/file"
unchanged "a disk of another pool" 1 "another pool" dfs add-disk --pool "$work/pool2" --disk "$work/disk2"
mkdir -p "$work/other/foreign/dynamicfs"
echo mine >"$work/other/foreign/dynamicfs/file"
unchanged "a foreign dynamicfs directory" 1 "cannot add" \
	dfs add-disk --pool "$pool" --disk "$work/other/foreign"
mkdir "$work/other/spare"
unchanged "a label twice" 1 "has the label disk1" \
	dfs add-disk --pool "$pool" --disk "$work/other/spare" --label disk1
if [ ${#tmpfs_mounted[@]} -gt 1 ]; then
	mkdir "$work/disk1/twin"
	check "a pool whose disks share a filesystem" dfs init --pool "$work/pool3"
	mkdir "$work/other/a" "$work/other/b"
	check "its first disk" dfs add-disk --pool "$work/pool3" --disk "$work/other/a" --capacity 1G
	refuse "its second disk: warned" 0 "warning: .*same filesystem" \
		dfs add-disk --pool "$work/pool3" --disk "$work/other/b" --capacity 1.5GiB
	json "status warns, too" 'any("share a filesystem" in w for w in r["warnings"])' \
		dfs status --pool "$work/pool3" --json
	json "capacities" '[d["capacity_bytes"] for d in r["disks"]] == [1 << 30, 3 << 29]' \
		dfs list-disks --pool "$work/pool3" --json
	rmdir "$work/disk1/twin"
fi

# ---- names of any bytes ----
odd=$work/other/$'p\xff \n\e[31mq'
mkdir "$work/other/"$'d\xff'
check "a pool with an odd name" dfs init --pool "$odd"
check "a disk with an odd name" dfs add-disk --pool "$odd" --disk "$work/other/"$'d\xff' --capacity 1G
json "status of it" 'r["path"].endswith("p\\xff \\x0a\\x1b[31mq") and r["disks"][0]["label"] == "d_"' \
	dfs status --pool "$odd" --json
json "fsck of it" 'r["clean"]' dfs fsck --pool "$odd" --json
refuse "a disk of it by its name" 6 "cannot fail disk d_" dfs fail-disk --pool "$odd" --disk d_
refuse "an output that is full" 1 "cannot write the output" \
	bash -c "'$dynamicfs' status --pool '$pool' >/dev/full"

# ---- questions change nothing ----
before=$(picture)
for command in status list-disks show-redundancy list-extents inspect fsck "inspect roots --disk disk1" \
	"inspect journal --disk disk1" "inspect disk disk1" "inspect table disk"; do
	# shellcheck disable=SC2086 # words
	check "$command" dfs $command --pool "$pool"
done
[ "$before" = "$(picture)" ] && ok "questions change nothing" ||
	not_ok "questions change nothing" "the disks differ"

# ---- the environment ----
DYNAMICFS_POOL=$pool check "DYNAMICFS_POOL" dfs status
DYNAMICFS_POOL=$work/nothing check "--pool beats DYNAMICFS_POOL" dfs status --pool "$pool"
[ -z "$(dfs status --pool "$pool" | tr -d '\n' | tr -d '[:print:]')" ] && ok "no colour in a pipe" ||
	not_ok "no colour in a pipe" "control bytes in the output"

# ---- settings ----
check "set" dfs set --pool "$pool" --copies 2 --large 3+2 --verify-writes on
json "settings are kept" 'r["settings"] == {"large": "rs:3+2", "copies": 2, "metadata_copies": 4, "verify_writes": True}' \
	dfs status --pool "$pool" --json
unchanged "set nothing" 2 "nothing to set" dfs set --pool "$pool"
unchanged "set nonsense" 2 "cannot keep 50" dfs set --pool "$pool" --copies 50
check "set back" dfs set --pool "$pool" --copies 3 --large 4+2 --verify-writes off

# ---- mount ----
refuse "mount without a place" 2 "where" dfs mount --pool "$pool"
refuse "no such mountpoint" 1 "cannot mount" dfs mount --pool "$pool" --mountpoint "$work/none"
touch "$mnt/there"
unchanged "a mountpoint that is not empty" 1 "not empty" dfs mount --pool "$pool" --mountpoint "$mnt"
rm "$mnt/there"
refuse "no such pool to mount" 3 "cannot" dfs mount --pool "$work/nothing" --mountpoint "$mnt"
json "mount --json" 'r["mountpoint"]' dfs mount --pool "$pool" --mountpoint "$mnt" --json
mkdir "$work/mnt2"
refuse "a pool already mounted" 4 "mounted" dfs mount --pool "$pool" --mountpoint "$work/mnt2"
refuse "a mountpoint in use" 4 "cannot mount" dfs mount --pool "$work/pool2" --mountpoint "$mnt"
refuse "fsck while mounted" 4 "unmount it first" dfs fsck --pool "$pool"
json "fsck while mounted, JSON" 'r["error"]["exit_code"] == 4' dfs fsck --pool "$pool" --json
[ "$(stat -c %a "$pool/control.sock")" = 600 ] && ok "socket mode" ||
	not_ok "socket mode" "$(stat -c %A "$pool/control.sock")"

# ---- the same answers from the daemon ----
head -c 3500000 /dev/urandom >"$mnt/large"
echo small >"$mnt/small"
mkdir "$mnt/dir"
head -c 100000 /dev/urandom >"$mnt/dir/medium"
: >"$mnt/empty"
printf 'x' >"$mnt/umlaut-ä"
sync "$mnt"
json "status while mounted" 'r["mounted"] and r["mountpoint"].endswith("/mnt") and r["state"] == "healthy"' \
	dfs status --pool "$pool" --json
json "a file by its path in the pool" 'len(r["extents"]) == 4 and r["extents"][0]["geometry"] == "rs:4+2" and len(r["extents"][0]["fragments"]) == 6 and r["extents"][3]["geometry"] == "replica:3"' \
	dfs list-extents --pool "$pool" /large --json
json "a file by its path in the mount" 'len(r["extents"]) == 4' dfs list-extents --pool "$pool" "$mnt/large" --json
json "the pool is found by the mount" 'len(r["extents"]) == 4' dfs list-extents "$mnt/large" --json
json "what was just written is listed" 'r["size_bytes"] == 200000 and sum(e["length"] for e in r["extents"]) == 200000' \
	bash -c "head -c 200000 /dev/urandom >'$mnt/new' && '$dynamicfs' list-extents '$mnt/new' --json"
json "limit and continuation" 'len(r["extents"]) == 2 and r["next_from"] == 2097152' \
	dfs list-extents --pool "$pool" /large --limit 2 --json
json "from there" 'len(r["extents"]) == 2 and r["next_from"] is None' \
	dfs list-extents --pool "$pool" /large --from 2097152 --json
json "an inline file" 'r["inline"] and r["inline_bytes"] == 6 and not r["extents"]' \
	dfs list-extents --pool "$pool" /small --json
refuse "extents of a directory" 1 "is a directory" dfs list-extents --pool "$pool" /dir
refuse "extents of nothing" 1 "cannot find /nope" dfs list-extents --pool "$pool" /nope
refuse "a file as a directory" 1 "not a directory" dfs list-extents --pool "$pool" /large/x
json "redundancy of a tree" 'r["files"] == 6 and len(r["rows"]) == 6 and r["lost"] == 0 and r["losses_left"] == 2' \
	dfs show-redundancy --pool "$pool" / --json
json "redundancy of the pool" 'r["extents"] == r["full"] > 4 and r["losses_left"] == 2' \
	dfs show-redundancy --pool "$pool" --json
json "redundancy of the metadata" 'r["metadata_losses_left"] == r["metadata_losses_wanted"] == 3' \
	dfs show-redundancy --pool "$pool" --json
json "where it is" 'len(r["metadata"]["journals_on"]) == 4 and r["metadata"]["losses_left"] == 3 and r["metadata"]["tables_short"] == 0 and r["state"] == "healthy"' \
	dfs status --pool "$pool" --json
json "inspect a path" 'r["records"][0]["fields"]["size_bytes"] == 3500000 and len(r["records"]) == 5' \
	dfs inspect path /large --pool "$pool" --json
extent=$(dfs list-extents --pool "$pool" /large --json | value 'r["extents"][0]["extent"]')
json "inspect an extent" 'r["fragments_good"] == 6 and all(f["hash_matches_index"] and f["state"] == "good" and f["header"]["index"] == f["index"] for f in r["fragments"])' \
	dfs inspect extent "$extent" --pool "$pool" --json
refuse "inspect nonsense" 2 "cannot inspect" dfs inspect nonsense x --pool "$pool"
refuse "inspect a foreign extent" 1 "cannot read extent" \
	dfs inspect extent 00000000-0000-7000-8000-000000000000 --pool "$pool"
read -r disk segment < <(dfs list-extents --pool "$pool" /large --json |
	value '"{label} {segment}".format(**r["extents"][0]["fragments"][0])')
json "inspect a segment" 'any(x["use"] == "live" for x in r["records"]) and all(not x["error"] for x in r["records"])' \
	dfs inspect segment "$segment" --disk "$disk" --pool "$pool" --json
json "inspect roots" 'len(r["roots"]) > 2 and all(not x["error"] for x in r["roots"])' \
	dfs inspect roots --disk disk1 --pool "$pool" --json
json "inspect the journal" 'r["records"] and all(not x["error"] and x["op_count"] for x in r["records"])' \
	dfs inspect journal --disk disk1 --pool "$pool" --json

# Mounted and unmounted give the same object.
questions=("status" "list-disks" "show-redundancy" "show-redundancy /" "list-extents" "list-extents /large"
	"inspect path /dir" "inspect extent $extent" "inspect table dentry" "set --copies 3")
n=0
for q in "${questions[@]}"; do
	# shellcheck disable=SC2086 # words
	dfs $q --pool "$pool" --json | steady >"$work/online.$n"
	n=$((n + 1))
done
refuse "open files" 4 "open" bash -c "cd '$mnt' && '$dynamicfs' unmount --mountpoint '$mnt'"
check "unmount by the pool's name" dfs unmount --pool "$pool"
n=0
for q in "${questions[@]}"; do
	# shellcheck disable=SC2086 # words
	dfs $q --pool "$pool" --json | steady >"$work/offline.$n"
	if [ -s "$work/online.$n" ] && cmp -s "$work/online.$n" "$work/offline.$n"; then
		ok "same answer: $q"
	else
		not_ok "same answer: $q" "$(diff "$work/online.$n" "$work/offline.$n" | head -5 | tr '\n' ' ')"
	fi
	n=$((n + 1))
done
refuse "unmount twice" 1 "cannot unmount" dfs unmount --mountpoint "$mnt"
refuse "unmount by name, not mounted" 1 "not mounted" dfs unmount --pool "$pool"

refuse "inspect of no known kind" 2 "there are inode, path" dfs inspect nonsense --pool "$pool"
refuse "no capacity" 2 "more than 0" dfs add-disk --pool "$pool" --disk "$work" --capacity 0

# ---- names that are no text: they are shown, and found again ----
strange=$work/$'a \xff\npool'
mkdir "$work/strange disk"
check "init of a strange name" dfs init --pool "$strange"
check "a disk with a blank" dfs add-disk --pool "$strange" --disk "$work/strange disk"
mkdir "$work/"$'m\xff\n t'
check "mount at a strange name" dfs mount --pool "$strange" --mountpoint "$work/"$'m\xff\n t'
echo x >"$work/"$'m\xff\n t/f\xfe'
check "a strange file" dfs list-extents "$work/"$'m\xff\n t/f\xfe'
json "status is JSON all the same" 'r["mounted"] and r["state"] == "healthy"' \
	dfs status --pool "$strange" --json
check "unmount by the pool's strange name" dfs unmount --pool "$strange"
rm -rf "$strange" "$work/strange disk"

# ---- disks while mounted; failing ----
check "mount again" start
settled() { local was; was=$(picture); sleep 1; [ "$was" = "$(picture)" ]; }
wait_for 20 settled # the daemon notes the new opening in each disk.json
unchanged "fail no such disk" 3 "cannot find a disk 'nope'.*disk1, disk2" \
	dfs fail-disk --pool "$pool" --disk nope
dfs set --pool "$pool" --rebuild-after never >/dev/null # what is lost stays lost here
mkdir "$work/disk7"
check "add a disk while mounted" dfs add-disk --pool "$pool" --disk "$work/disk7" --capacity 400M
json "it is there" 'len(r["disks"]) == 7 and r["disks"][6]["label"] == "disk7"' \
	dfs list-disks --pool "$pool" --json
json "fail-disk --dry-run" 'r["dry_run"] and r["redundancy_after"]["lost"] == 0' \
	dfs fail-disk --pool "$pool" --disk disk2 --dry-run --json
json "and it is healthy still" 'r["disks"][1]["state"] == "healthy"' dfs list-disks --pool "$pool" --json
check "fail a disk by label" dfs fail-disk --pool "$pool" --disk disk2
refuse "fail it twice" 1 "failed already" dfs fail-disk --pool "$pool" --disk disk2
check "fail a disk by directory" dfs fail-disk --pool "$pool" --disk "$work/disk3"
uuid=$(dfs list-disks --pool "$pool" --json | value 'r["disks"][3]["uuid"]')
refuse "fail one too many, by uuid" 6 "use --force" dfs fail-disk --pool "$pool" --disk "$uuid"
json "degraded" 'r["state"] == "degraded" and r["redundancy"]["endangered"] > 0 and r["disks_failed"] == 2' \
	dfs status --pool "$pool" --json
check "files are read all the same" cmp <(head -c 10 "$mnt/large") <(head -c 10 "$mnt/large")
check "stop" stop
unchanged "fail one too many, offline" 6 "use --force" dfs fail-disk --pool "$pool" --disk disk4
json "degraded, offline" 'r["state"] == "degraded" and r["disks_failed"] == 2' dfs status --pool "$pool" --json

# ---- a daemon that died, a pool that another process has ----
check "start" start
daemon=$(daemon_pid "$pool")
echo synced >"$mnt/synced"
sync "$mnt/synced"
kill -9 "$daemon"
wait_for 10 daemon_gone "$pool"
[ -S "$pool/control.sock" ] && ok "its socket is left" || not_ok "its socket is left" "there is none"
json "status after kill -9" 'not r["mounted"] and not r["recovery"]["was_clean"] and r["recovery"]["replayed_transactions"]' \
	dfs status --pool "$pool" --json
check "unmount what it left" dfs unmount --mountpoint "$mnt"
check "start over the old socket" start
json "asked over the new one" 'r["mounted"]' dfs status --pool "$pool" --json
check "stop again" stop
flock "$pool/lock" sleep 60 &
locker=$!
wait_for 10 bash -c "! flock -n '$pool/lock' true"
refuse "a pool in use" 4 "in use by process.*wait until it has ended" dfs status --pool "$pool"
refuse "a pool in use, to mount" 4 "in use" dfs mount --pool "$pool" --mountpoint "$mnt"
pkill -P "$locker" 2>/dev/null
kill "$locker" 2>/dev/null
wait "$locker" 2>/dev/null

# ---- import ----
mv "$pool" "$work/lost"
refuse "import without disks" 2 "disk is missing" dfs import --pool "$pool"
refuse "import of no disk" 3 "not a disk" dfs import --pool "$pool" --disk "$work/other"
refuse "import of a disk twice" 1 "given twice" dfs import --pool "$pool" --disk "$work/disk1" "$work/disk1"
refuse "import of a minority" 6 "force" dfs import --pool "$pool" --disk "$work/disk1"
[ ! -e "$pool" ] && ok "no pool from a refused import" || not_ok "no pool from a refused import" "$(ls "$pool")"
flock "$work/disk4/dynamicfs" sleep 1 &
refuse "import waits for a daemon that is ending" 0 "Rebuilt" \
	dfs import --pool "$pool" --disk "$work"/disk[145678]
wait $!
json "the imported pool" 'r["state"] == "degraded" and r["inodes"] == 9' dfs status --pool "$pool" --json
unchanged "import over a pool" 1 "a pool already" dfs import --pool "$pool" --disk "$work/disk1"

# ---- damage ----
read -r label segment offset < <(dfs list-extents --pool "$pool" /large --json |
	value '"{label} {segment} {offset}".format(
		**[f for f in r["extents"][0]["fragments"] if f["state"] == "present"][0])')
printf '\377\376\375' | dd of="$work/$label/dynamicfs/segments/$(printf %08x "$segment")" bs=1 \
	seek=$((offset + 5000)) conv=notrunc status=none
unchanged "fsck finds damage" 5 "." dfs fsck --pool "$pool"
json "fsck finds damage, JSON" 'not r["clean"] and r["problems"] and r["error"]["exit_code"] == 5' \
	dfs fsck --pool "$pool" --json
exit "$failed"
