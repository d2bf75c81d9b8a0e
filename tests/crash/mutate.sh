#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
# Each mutation of tests/mutate still has its place in the sources, and the fast ones are caught.
# (`make mutate` tries all.)
#
# environment: BUILD (build), MUTATE (fast)
cd "$(dirname "$0")/../.." || exit 1
tests/mutate/mutate.py check || exit 1
exec tests/mutate/mutate.py "${MUTATE:-fast}"
