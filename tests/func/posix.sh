#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
# POSIX behaviour through a real mount. `posix.sh CASE...` runs only these of posix_*.py.
# usage: posix.sh [CASE...]    POSIX_MILLION=1000000 adds the directory of a million entries
. "$(dirname "$0")/lib.sh"

make_pool && start || { not_ok posix "no pool could be mounted"; exit 1; }
chmod 1777 "$mnt"
export POSIX_DYNAMICFS=1 POSIX_RANDOM_SECONDS=${POSIX_RANDOM_SECONDS:-5}
python3 -B "$repo/tests/func/posix_cases.py" "$mnt" "$@" || failed=1
check "everything is gone from the mount" test -z "$(ls -A "$mnt")"
finish
