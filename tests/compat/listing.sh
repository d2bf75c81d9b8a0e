#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
# Prints everything below DIR that is not content, a line for each name, sorted by bytes: type, mode,
# links, owner, size, time of change of content, target, and user xattrs.
export LC_ALL=C TZ=UTC
cd "$1" || exit 1
find . -mindepth 1 -type d -printf '%p %y %m %n %U:%G\n' -o \
	-mindepth 1 -printf '%p %y %m %n %U:%G %s %T+ %l\n' | sort
find . -type f -print0 | sort -z | xargs -0 getfattr -d --absolute-names 2>/dev/null
