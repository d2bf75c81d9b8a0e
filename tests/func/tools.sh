#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
# The checks can fail: the layer rule finds each kind of offence, and the runner of tests counts
# failures, crashes, silence and hangs, in a scratch tree.
set -u

repo=$(cd "$(dirname "$0")/../.." && pwd)
scratch=$(mktemp -d)
trap 'rm -rf "$scratch"' EXIT
failed=0

# expect NAME EXPECTED ACTUAL
expect()
{
	if [ "$2" = "$3" ]; then
		echo "ok $1"
	else
		echo "not ok $1: expected '$2', got '$3'"
		failed=1
	fi
}

# offence NAME FILE CONTENT EXPECTED_OUTPUT: what the layer rule says of that one file.
offence()
{
	rm -rf "$scratch/src"
	mkdir -p "$(dirname "$scratch/src/$2")"
	printf '%b\n' "$3" >"$scratch/src/$2"
	expect "layers: $1" "$4" "$("$repo/tools/check-layers.py" "$scratch")"
}

offence "allowed include" extent/a.c '#include "base/err.h"\n#include "dev/disk.h"' ""
offence "upward include" base/a.c '#include "format/x.h"' \
	"src/base/a.c:1: base/ lies below format/"
offence "sibling" dev/a.c '\n#include "codec/codec.h"' "src/dev/a.c:2: dev/ and codec/ are siblings"
offence "layer below" meta/a.c '#include "dev/dev.h"' ""
offence "layer above" dev/a.c '#include "meta/meta.h"' "src/dev/a.c:1: dev/ lies below meta/"
offence "cli sees little" cli/a.c '#include "pool/pool.h"' \
	"src/cli/a.c:1: cli/ sees only base, cli, ctl, not pool/"
offence "simulator" pool/a.c '#include "sim/x.h"' \
	'src/pool/a.c:1: "sim/x.h" is not LAYER/FILE.h of src/'
offence "library's header" extent/a.c '#include <blake3.h>' \
	"src/extent/a.c:1: <blake3.h> belongs to base/hash.c only"
offence "call" file/a.c 'int f(void)\n{\n\treturn fsync(3);\n}' \
	"src/file/a.c:3: fsync() is called by base, dev, meta only"
offence "not a call" file/a.c '/* fsync(3) */ int f(void) { return d->fsync(3) + g("open(x)"); }' ""
offence "thread-local" file/a.c 'static __thread int x;' \
	"src/file/a.c:1: thread-local state: the simulator's fibers share one thread"
offence "unknown layer" other/a.c 'int x;' "src/other/a.c:1: other/ is no layer"

# The runner, with tests that behave in each way.
mkdir -p "$scratch/tools" "$scratch/tests/func"
cp "$repo/tools/check.sh" "$scratch/tools"
printf '#!/bin/sh\nexit 0\n' >"$scratch/tools/build.sh"
chmod +x "$scratch/tools/build.sh"
cd "$scratch" || exit 1

# counts NAME SCRIPT EXPECTED_EXIT_AND_LAST_LINE
counts()
{
	printf '%s\n' "$2" >tests/func/case.sh
	out=$(BUILD=build tools/check.sh func 2>&1)
	expect "counts: $1" "$3" "$? $(tail -n 1 <<<"$out")"
}

counts "passes" 'echo "ok a"; echo "ok 2 - b"' "0 2 passed, 0 failed"
counts "skipped" 'echo "ok a"; echo "skipped b: no fuse"; echo "not ok 3 # SKIP c"' \
	"0 1 passed, 0 failed, 2 skipped"
counts "only skipped" 'echo "skipped b: no fuse"' "1 0 passed, 0 failed, 1 skipped"
counts "failure" 'echo "ok a"; echo "not ok b: why"; exit 1' "1 1 passed, 1 failed"
counts "failure that exits with 0" 'echo "not ok b: why"' "1 0 passed, 1 failed"
counts "crash" 'echo "ok a"; kill -SEGV $$' "1 1 passed, 1 failed"
counts "bad exit" 'echo "ok a"; exit 3' "1 1 passed, 1 failed"
counts "silence" 'echo okay' "1 0 passed, 1 failed"
rm tests/func/case.sh
out=$(tools/check.sh nosuch 2>&1)
expect "no such test" "2 no test is called 'nosuch'" "$? ${out%%:*}"

exit $failed
