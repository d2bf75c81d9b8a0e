#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Checks src/ against the layer rule of docs/DESIGN.md; prints each offence, exits 1 when any.

An include points only to lower layers or to the file's own; siblings never include each other.
Some headers of libraries, and the calls that the simulator must be able to replace, belong to
certain layers only. usage: check-layers.py [DIRECTORY holding src/]
"""

import os
import re
import sys

# Lower first; those in one row are siblings.
ROWS = [
    ["base"],
    ["format"],
    ["dev", "codec", "place"],
    ["meta"],
    ["extent"],
    ["pool"],
    ["file", "jobs"],
    ["fuse", "ctl", "web"],
    ["daemon", "cli"],
    ["main"],
]
RANK = {layer: rank for rank, row in enumerate(ROWS) for layer in row}

# A layer that sees less than all that is below it.
ONLY = {"cli": {"base", "ctl", "cli"}}

# What docs/DESIGN.md names: the commands mount and unmount, which need FUSE, are made of the cli's
# table.
EXCEPTIONS = {("daemon", "cli/command.h")}

# A library's header -> the layers (or single files) that may include it.
HEADERS = [
    (r"fuse.*\.h", {"fuse"}),
    (r"(isa-l.*|erasure_code|gf_vect_mul|raid)\.h|isa-l/.*", {"codec"}),
    (r"blake3\.h", {"base/hash.c"}),
    (r"rocksdb/.*", {"meta/index_rocks.c", "meta/index_rocks_read.c", "meta/index_rocks.h"}),
    (r"zstd\.h", {"codec", "meta"}),
    (r"jansson\.h", {"format", "meta", "pool", "ctl", "web", "cli", "daemon"}),
]

# Calls that go to the machine. Engine code reaches it through base/env.h, dev/ and the index.
# fuse/, ctl/ and daemon/ open the mountpoint, sockets, logs and /dev/null, and become daemons: they
# never run in the simulator. Time, chance and threads are env.h's there, too.
ENGINE = {"base", "dev", "meta"}
PROCESS = ENGINE | {"fuse", "ctl", "web", "daemon", "main"}
# What rescue writes are ordinary files below a directory that a person named.
RESCUE = {f"pool/rescue{part}.c" for part in ("", "_out", "_scan", "_tree")}
CALLS = [
    (r"pthread_(?!sigmask\b)\w+", ENGINE),
    (r"time|gettimeofday|clock_gettime|sleep|usleep|nanosleep|clock_nanosleep", ENGINE),
    (r"random|srandom|rand|srand|rand_r|drand48|getrandom|getentropy", ENGINE),
    (r"fsync|fdatasync|sync_file_range", ENGINE),
    (r"open|openat|creat", PROCESS | RESCUE),
    (r"socket|bind|listen|accept|accept4|connect", PROCESS),
]

INCLUDE = re.compile(r'^\s*#\s*include\s*([<"])([^>"]+)[>"]')


def without_comments_and_strings(text):
    """Blanks comments, strings and characters, keeping line breaks."""

    def blank(match):
        return re.sub(r"[^\n]", " ", match.group(0))

    return re.sub(
        r"//[^\n]*|/\*.*?\*/|\"(?:\\.|[^\"\\\n])*\"|'(?:\\.|[^'\\\n])*'",
        blank,
        text,
        flags=re.DOTALL,
    )


def check_include(layer, path, kind, header):
    if kind == "<":
        for pattern, allowed in HEADERS:
            if re.fullmatch(pattern, header) and layer not in allowed and path not in allowed:
                return f"<{header}> belongs to {', '.join(sorted(allowed))} only"
        return None
    target = header.split("/")[0] if "/" in header else None
    if target not in RANK:
        return f'"{header}" is not LAYER/FILE.h of src/'
    if target == layer or (layer, header) in EXCEPTIONS:
        return None
    if layer in ONLY and target not in ONLY[layer]:
        return f"{layer}/ sees only {', '.join(sorted(ONLY[layer]))}, not {target}/"
    if RANK[target] == RANK[layer]:
        return f"{layer}/ and {target}/ are siblings"
    if RANK[target] > RANK[layer]:
        return f"{layer}/ lies below {target}/"
    return None


def check_file(root, path):
    layer = path.split("/")[0] if "/" in path else "main"
    with open(os.path.join(root, path), encoding="utf-8") as file:
        text = file.read()
    if layer not in RANK:
        yield 1, f"{layer}/ is no layer"
        return
    for number, line in enumerate(text.splitlines(), 1):
        match = INCLUDE.match(line)
        if match:
            why = check_include(layer, path, match.group(1), match.group(2))
            if why:
                yield number, why
    for number, line in enumerate(without_comments_and_strings(text).splitlines(), 1):
        if re.match(r"\s*#", line):
            continue
        if re.search(r"\b(_Thread_local|__thread|thread_local)\b", line):
            yield number, "thread-local state: the simulator's fibers share one thread"
        for pattern, allowed in CALLS:
            match = re.search(rf"(?<![\w.>])({pattern})\s*\(", line)
            if match and layer not in allowed and path not in allowed:
                yield number, f"{match.group(1)}() is called by {', '.join(sorted(allowed))} only"


def main():
    here = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
    root = os.path.join(sys.argv[1] if len(sys.argv) > 1 else here, "src")
    files = offences = 0
    for directory, _, names in sorted(os.walk(root)):
        for name in sorted(names):
            if not name.endswith((".c", ".h")):
                continue
            files += 1
            path = os.path.relpath(os.path.join(directory, name), root)
            for number, why in check_file(root, path):
                offences += 1
                print(f"src/{path}:{number}: {why}")
    if files == 0:
        print(f"cannot check the layers: no source files in {root}")
        return 1
    return 1 if offences else 0


if __name__ == "__main__":
    sys.exit(main())
