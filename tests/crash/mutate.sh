#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
# Each mutation of tests/mutate still has its place in the sources, and the fast ones are caught by the tests that
# they name.
# (`make mutate` tries all.)
#
# environment: BUILD (build), MUTATE (fast)
cd "$(dirname "$0")/../.." || exit 1
tests/mutate/mutate.py check || exit 1
MUTATE_LIKELY=1 exec tests/mutate/mutate.py "${MUTATE:-fast}"
