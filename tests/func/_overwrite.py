# SPDX-License-Identifier: Apache-2.0
"""Random overwriting of one file, for overwrite.sh.

  _overwrite.py write FILE RECORD PIECE EVERY SECONDS   overwrites; RECORD gets what an fsync has promised
  _overwrite.py check FILE RECORD                       after a kill: each piece is as promised, or newer

RECORD holds the state as of the last fsync and the pieces written since, so that a kill at any time leaves
something to compare with.
"""

import os
import pickle
import random
import sys
import time

SIZE = 24 << 20


def save(path, what):
    with open(path + ".new", "wb") as f:
        pickle.dump(what, f)
    os.rename(path + ".new", path)


def write(path, record, piece, every, seconds):
    if os.path.exists(path):
        data = bytearray(open(path, "rb").read())
    else:
        data = bytearray(os.urandom(SIZE))
        with open(path, "wb") as f:
            f.write(data)
            f.flush()
            os.fsync(f.fileno())
    durable, since = bytes(data), []
    save(record, (durable, since))
    fd = os.open(path, os.O_RDWR)
    end = time.monotonic() + seconds
    log = open(record + ".log", "wb", buffering=0)
    while time.monotonic() < end:
        for _ in range(every):
            off = random.randrange((SIZE - piece) // piece) * piece
            b = os.urandom(piece)
            log.write(off.to_bytes(8, "little") + b)
            os.pwrite(fd, b, off)
            data[off : off + piece] = b
        os.fsync(fd)
        log.write((1 << 63).to_bytes(8, "little") + bytes(piece))
    os.close(fd)
    if open(path, "rb").read() != data:
        sys.exit("the file is not what was written")


def check(path, record, piece):
    durable, _ = pickle.load(open(record, "rb"))
    want = bytearray(durable)
    log = open(record + ".log", "rb").read()
    step = 8 + piece
    entries = [log[i : i + step] for i in range(0, len(log) - len(log) % step, step)]
    synced = max((i for i, e in enumerate(entries) if int.from_bytes(e[:8], "little") >> 63), default=-1)
    newer = {}
    for i, e in enumerate(entries):
        off = int.from_bytes(e[:8], "little")
        if off >> 63:
            continue
        if i < synced:
            want[off : off + piece] = e[8:]
        else:
            newer.setdefault(off, []).append(e[8:])
    got = open(path, "rb").read()
    if len(got) != SIZE:
        sys.exit(f"{len(got)} bytes")
    for off in range(0, SIZE, piece):
        g, w = got[off : off + piece], want[off : off + piece]
        if g == w or g in newer.get(off, []):
            continue
        # Several unsynced writes of one piece, or a part of one: byte by byte.
        for j in range(len(g)):
            if g[j] != w[j] and all(g[j] != n[j] for n in newer.get(off, [])):
                sys.exit(f"byte {off + j} is neither what was synced nor newer")


if sys.argv[1] == "write":
    write(sys.argv[2], sys.argv[3], int(sys.argv[4]), int(sys.argv[5]), float(sys.argv[6]))
else:
    check(sys.argv[2], sys.argv[3], int(sys.argv[4]))
