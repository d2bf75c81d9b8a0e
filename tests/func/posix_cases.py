#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""What POSIX and Linux promise of a filesystem, tried in one directory.

usage: posix_cases.py DIRECTORY [CASE...]    Prints ok/not ok/skipped lines; exits 1 when one fails.
Each case gets an empty directory of its own as the working directory. The cases hold on ext4, too:
run them there when one is in doubt. Environment: POSIX_DYNAMICFS=1 (its own limits, too), POSIX_SEED,
POSIX_RANDOM_SECONDS, POSIX_ENTRIES, POSIX_MILLION, POSIX_LINKS, POSIX_TIMES=1 (shows how long each took).
"""

import sys

import posix_content  # noqa: F401 (registers its cases)
import posix_edges  # noqa: F401
import posix_names  # noqa: F401
from posix_base import run

if __name__ == "__main__":
    sys.exit(run())
