#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
# `make demo` at a small size: it compares four times, leaves the pool mounted, is stopped without a
# trace; and it fails when a file is not what it was.
cd "$(dirname "$0")" || exit 1
# shellcheck source=tests/func/lib.sh
. ./lib.sh

build=$work/build
mkdir "$build"
# Stands between demo and program: after the restart it changes one file (the demo's other half can't).
cat >"$build/dynamicfs" <<EOF
#!/bin/sh
"$dynamicfs" "\$@" || exit
if [ -n "\${SPOIL:-}" ] && [ "\$1" = fsck ]; then
	echo spoilt >"$work/spoil"
fi
if [ -e "$work/spoil" ] && [ "\$1" = mount ]; then
	echo x >>"$build/demo/mnt/large.bin"
fi
EOF
chmod +x "$build/dynamicfs"

demo()
{
	env -u DEMO_DIR BUILD="$build" DEMO_TREE_MIB=2 DEMO_LARGE_MIB=12 "$@" >"$work/said" 2>&1
}

stopped()
{
	demo "$repo/tools/demo.sh" --stop && [ ! -e "$build/demo" ] &&
		! grep -q " $build/demo/" /proc/mounts
}

if demo "$repo/tools/demo.sh"; then
	ok "demo"
else
	not_ok "demo" "$(tail -n 3 "$work/said" | tr '\n' ' ')"
fi
[ "$(grep -c 'read back right' "$work/said")" -eq 6 ] && ok "six comparisons" ||
	not_ok "six comparisons" "$(grep -c 'read back right' "$work/said")"
grep -qE "^ *RS 4\+2 .* 0  2 more" "$work/said" && ok "the redundancy is back" ||
	not_ok "the redundancy is back" "$(grep "more$" "$work/said" | tail -2 | tr "\n" " ")"
check "it is left mounted" is_mounted "$build/demo/mnt"
check "and readable" test -s "$build/demo/mnt/large.bin"
check "stopped without a trace" stopped
check "stopped twice" demo "$repo/tools/demo.sh" --stop
if demo env SPOIL=1 "$repo/tools/demo.sh"; then
	not_ok "a changed file is found" "the demo did not notice"
elif grep -q 'DIFFERENT after the restart' "$work/said"; then
	ok "a changed file is found"
else
	not_ok "a changed file is found" "$(tail -n 3 "$work/said" | tr '\n' ' ')"
fi
check "stopped after a failure" stopped
exit "$failed"
