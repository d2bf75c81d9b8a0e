#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
# metrics: each figure is named once, in the sources and in docs/METRICS.md; what is counted is what was done.
. "$(dirname "$0")/lib.sh"

dfs() { "$dynamicfs" "$@"; }
look() { dfs metrics --pool "$pool" >"$work/text" && dfs metrics --pool "$pool" --json >"$work/json"; }
# sum NAME [LABEL=VALUE]...: over all samples with these labels
sum() { python3 - "$work/json" "$@" <<'EOF2'
import json, sys
m = {x['name']: x for x in json.load(open(sys.argv[1]))['metrics']}['dynamicfs_' + sys.argv[2]]
want = dict(x.split('=') for x in sys.argv[3:])
print(int(sum(s.get('value', s.get('count')) for s in m['samples'] if want.items() <= s['labels'].items())))
EOF2
}
over() { test "$(sum "${@:2}")" -gt "$1"; }

make_pool || exit 1
check "of a pool that is not mounted" look
check "its disks" test "$(sum disk_present)" -eq 6
start || exit 1
head -c 8M /dev/urandom >"$mnt/a"
for i in 1 2 3 4 5; do mkdir "$mnt/dir$i"; echo text >"$mnt/dir$i/file"; done
sync "$mnt"
echo 3 2>/dev/null >/proc/sys/vm/drop_caches
cat "$mnt/a" >/dev/null
ls "$mnt/nothing" 2>/dev/null
check "while it is in use" look
check "requests by kind" test "$(sum fuse_operations_total operation=mkdir)" -eq 5
check "writes" over 7 fuse_operations_total operation=write
check "errors" over 0 fuse_errors_total
check "each disk was written to" eval 'for i in 1 2 3 4 5 6; do over 1000000 disk_bytes_total disk=disk$i operation=write || exit 1; done'
check "and synced" eval 'for i in 1 2 3 4 5 6; do over 0 disk_operations_total disk=disk$i operation=sync || exit 1; done'
check "no errors there" test "$(sum disk_errors_total)" -eq 0
check "latencies are of all calls" test "$(sum disk_latency_seconds disk=disk1)" -eq "$(sum disk_operations_total disk=disk1)"
check "extents" test "$(sum extents health=full)" -ge 8
check "none is lost" test "$(sum extents health=lost)" -eq 0
check "the cache" over 0 cache_hits_total
check "the journal" over 0 journal_syncs_total
check "inodes" test "$(sum inodes)" -eq 12
dfs set --pool "$pool" --rebuild-after 1s --background-rate unlimited >/dev/null
mkdir "$work/disk7"
dfs add-disk --pool "$pool" --disk "$work/disk7" >/dev/null 2>&1
dfs fail-disk --pool "$pool" --disk disk6 >/dev/null
rebuilt() { look; over 0 rebuild_successes_total && test "$(sum jobs state=done)" -eq 1; }
check "a rebuild" wait_for 20 rebuilt
check "its bytes" over 1000000 rebuild_bytes_total
check "its job" test "$(sum jobs_begun_total)-$(sum jobs_done_total)-$(sum rebuild_failures_total)" = 1-1-0
check "repairs count it, too" test "$(sum repair_bytes_total)" -ge "$(sum rebuild_bytes_total)"

if dfs help scrub >/dev/null 2>&1; then
	check "a scrub" dfs scrub --pool "$pool" --wait --rate unlimited
	look
	check "is counted, with nothing found" test "$(sum scrub_completions_total)-$(sum scrub_issues_total)" = 1-0
fi

# ---- the text
cat >"$work/judge.py" <<'EOF2'
import re, sys
types, seen = {}, {}
for line in open(sys.argv[1]):
    if line.startswith('# TYPE '):
        _, _, name, kind = line.split()
        assert name not in types, name
        types[name] = kind
    elif not line.startswith('# HELP '):
        m = re.fullmatch(r'([a-z_]+)(\{([a-z]+="[^"\n]*",?)+\})? -?[0-9.e+-]+\n', line)
        assert m, line
        base = re.sub('_(bucket|sum|count)$', '', m[1])
        assert m[1] in types or types.get(base) == 'histogram', line
        assert (m[1], m[2]) not in seen, line
        seen[m[1], m[2]] = 1
assert len(types) > 40 and len(seen) > 200
EOF2
check "is well-formed" python3 "$work/judge.py" "$work/text"
names() { grep -o '^# TYPE [a-z_]*' "$work/text" | cut -d' ' -f3 | sort; }
check "docs/METRICS.md names them all, and no others" diff <(names) \
	<(sed -n 's/^| `\(dynamicfs_[a-z_]*\)`.*/\1/p' "$repo/docs/METRICS.md" | sort)
check "each has a sample" eval '! python3 -c "
import json
print([x[\"name\"] for x in json.load(open(\"$work/json\"))[\"metrics\"] if not x[\"samples\"]])" | grep dynamicfs'
finish
