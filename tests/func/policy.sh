#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
# A policy for which the metadata is too weak: the warning, its remedy, and what it is worth.
# shellcheck source=tests/func/lib.sh
. "$(dirname "$0")/lib.sh"

dfs() { "$dynamicfs" "$@"; }

mkdir "$mnt"
make_disks "$work"
dfs init --pool "$pool" --metadata-copies 2 --large 2+3 --copies 4 >/dev/null
for i in 1 2 3 4 5 6; do
	dfs add-disk --pool "$pool" --disk "$work/disk$i" >/dev/null 2>&1
done
dfs set --pool "$pool" --rebuild-after never >/dev/null 2>&1
start
head -c 3000000 /dev/urandom >"$work/file"
cp "$work/file" "$mnt/large"
head -c 3000 "$work/file" >"$mnt/small"
refuse "too weak metadata is told" 0 "set --metadata-copies 5" dfs status --pool "$pool"
refuse "it stays as it is while mounted" 4 "nothing was changed; unmount it first" \
	dfs set --pool "$pool" --metadata-copies 5
stop
check "unmounted it is changed" dfs set --pool "$pool" --metadata-copies 5
start
refuse "from the next mount on" 0 "journal on 5 disks, index on all: 4 more disks may be lost" \
	dfs status --pool "$pool"
stop
rm -r "$pool/index" "$work"/disk[135]/dynamicfs
check "the index is made anew from three disks of six" start --force
check "a large file is there" cmp "$work/file" "$mnt/large"
check "a small one is there" cmp -n 3000 "$work/file" "$mnt/small"
stop
exit "$failed"
