# SPDX-License-Identifier: Apache-2.0
"""Seed -> steps. A step is [worker, operation, argument...], or ["look"] (attributes), ["look", "deep"] (all), or
["remount"] (workers begin anew, too).

Names, sizes and attributes come from small sets, so that operations meet each other. Of what exists the generator knows nothing,
but for which descriptors may be open; so each part of a sequence is a sequence, which shrinking needs."""

import os
import random
import stat
import struct

import calls
from ops import OPS, SLOTS

KIB, MIB = 1 << 10, 1 << 20
MODES = (0o644, 0o644, 0o600, 0o755, 0o755, 0o777, 0o777, 0o666, 0o700, 0o000, 0o444, 0o640, 0o2755, 0o2770, 0o4755, 0o6777, 0o2644, 0o1777, 0o1770)
NAMES = ("user.a", "user.a", "user.b", "user.long", "trusted.a", "security.a", "security.capability", "user.", "nonsense", "system.a", "security.", "user." + "n" * 251)
TIMES = ((0, 0), (1, 1), (-5, 999999999), (86400 * 365 * 40, 123456789), (5000000000, 5), (0, calls.UTIME_NOW), (0, calls.UTIME_NOW), (0, calls.UTIME_OMIT))
ODD = ("", ".", "n" * 255, "n" * 256, "\xff\xfe", "a//b", "a/./b", "a/../b", "/a", "/", "b/", "c/.", "d/..", "a/" + "x/" * 2100)


class Generator:
    def __init__(self, seed, workers, large=True, remounts=False):
        self.rng = random.Random(seed)
        self.workers = workers
        self.large = large  # files of more than some hundred KiB
        self.names = list(OPS)
        self.often = [OPS[n][0] for n in self.names]
        self.remounts = remounts
        self.near = 0  # steps that remain of a stretch that looks after each
        self.focus = None  # a path that this stretch likes

    def pick(self, *of):
        return self.rng.choice(of)

    def chance(self, p):
        return self.rng.random() < p

    # ---- kinds of arguments; w: the worker

    def slot(self, w):
        return self.rng.randrange(SLOTS)

    def used(self, w):
        return SLOTS if self.chance(0.01) else self.slot(w)

    def path(self, w):
        if self.chance(0.02):
            return self.rng.choice(ODD)
        if self.focus and self.chance(0.3):
            return self.focus
        return self.among(self.pick("abcdef", "cdef", "cdef"))

    def dir(self, w):
        return self.path(w) if self.chance(0.15) else self.among("abc")

    def among(self, leaves):
        """Directories are more often a, b and c than others, so that much is found."""
        depth = self.rng.choices((1, 2, 3), (50, 38, 12))[0]
        above = [self.rng.choice("aab" if i == 0 else "ab") for i in range(depth - 1)]
        return "/".join([*above, self.rng.choice(leaves)]) + ("/" if self.chance(0.01) else "")

    def target(self, w):
        return self.pick(self.path(w), "../" + self.path(w), "/" + self.path(w), "missing", "a", "l" * 4095, "l" * 4096)

    def open_flags(self, w):
        flags = self.pick(os.O_RDONLY, os.O_WRONLY, os.O_RDWR, os.O_RDWR, os.O_RDWR)
        for flag, p in (
            (os.O_CREAT, 0.8), (os.O_EXCL, 0.1), (os.O_TRUNC, 0.1), (os.O_APPEND, 0.15), (os.O_DIRECT, 0.08), (os.O_NOFOLLOW, 0.1),
            (os.O_DIRECTORY, 0.06), (os.O_SYNC, 0.05), (os.O_DSYNC, 0.05), (os.O_NOATIME, 0.05), (os.O_CLOEXEC, 0.1), (os.O_PATH, 0.02),
        ):  # fmt: skip
            if self.chance(p):
                flags |= flag
        return flags

    def mode(self, w):
        return self.rng.choice(MODES)

    def bool(self, w):
        return self.chance(0.5)

    def length(self, w):
        near = self.rng.choices((0, 1, 100, 4 * KIB, 64 * KIB, 200 * KIB), (2, 10, 40, 25, 18, 5))[0]
        return max(0, near + self.rng.randint(-3, 3)) if self.chance(0.4) else self.rng.randint(0, near)

    def offset(self, w):
        if self.chance(0.3):
            return 0
        near = self.rng.choices((100, 4 * KIB, 8 * KIB, 64 * KIB, 128 * KIB, MIB, 2 * MIB), (25, 20, 20, 15, 12, 6 * self.large, 2 * self.large))[0]
        return max(0, near + self.pick(0, 0, 1, -1, -4096, 4096)) if self.chance(0.6) else self.rng.randint(0, near)

    size = offset

    def data(self, w):
        return 0 if self.chance(0.1) else self.rng.randrange(1, 1 << 24)

    def short(self, w):
        return self.pick(0, 1, 20, 60, 100, 250)

    def whence(self, w):
        return self.pick(os.SEEK_SET, os.SEEK_SET, os.SEEK_CUR, os.SEEK_END)

    def fallocate_mode(self, w):
        return self.pick(0, 0, 1, 3, 3, 16, 17, 2, 18, 19)

    def access_mode(self, w):
        return self.rng.randrange(8)

    def rename_flags(self, w):
        return self.rng.choices((0, calls.NOREPLACE, calls.EXCHANGE, calls.WHITEOUT, 3, 6, 5), (60, 12, 14, 6, 1, 1, 1))[0]

    def node(self, w):
        return self.pick(stat.S_IFIFO, stat.S_IFIFO, stat.S_IFSOCK, stat.S_IFCHR, stat.S_IFREG)

    def uid(self, w):
        return self.pick(-1, 0, 1001, 1002, 1003)

    def gid(self, w):
        return self.pick(-1, 0, 1001, 2001, 2002)

    def time(self, w):
        return list(self.rng.choice(TIMES))

    def xattr(self, w):
        return self.rng.choice(NAMES)

    def xflags(self, w):
        return self.pick(0, 0, 0, os.XATTR_CREATE, os.XATTR_REPLACE)

    def chattr_flags(self, w):
        return self.pick(0, 0, 0, 0, calls.IMMUTABLE, calls.APPEND, calls.IMMUTABLE | calls.APPEND)

    def user(self, w):
        return self.pick(0, 0, 1001, 1002)

    def umask(self, w):
        return self.pick(0o022, 0o022, 0, 0o077, 0o027, 0o007)

    def acl(self, w):
        """Mostly a valid one. Entries: (tag, permissions, id)."""
        any_bits = lambda: self.rng.randrange(8)
        entries = [(1, self.pick(7, 6, any_bits()), -1)]
        named = [(2, any_bits(), u) for u in (1001, 1002) if self.chance(0.4)]
        named_groups = [(8, any_bits(), g) for g in (2001, 2002) if self.chance(0.3)]
        entries += named + [(4, any_bits(), -1)] + named_groups
        if named or named_groups or self.chance(0.3):
            entries.append((16, self.pick(7, any_bits()), -1))
        entries.append((32, any_bits(), -1))
        if self.chance(0.06):
            entries.pop(self.rng.randrange(len(entries)))
        if self.chance(0.03):
            self.rng.shuffle(entries)
        if self.chance(0.03):
            entries = []
        return (struct.pack("<I", 2) + b"".join(struct.pack("<HHI", t, p, i & 0xFFFFFFFF) for t, p, i in entries)).hex()

    # ---- steps

    def step(self):
        w = self.rng.randrange(self.workers)
        name = self.rng.choices(self.names, self.often)[0]
        how = {"open": self.open_flags, "fallocate": self.fallocate_mode, "access": self.access_mode, "rename": self.rename_flags, "chattr": self.chattr_flags}
        args = [(how.get(kind) or getattr(self, kind))(w) for kind in OPS[name][1]]
        return [w, name, *args]

    def begin(self):
        """Who the workers are."""
        for w, uid in zip(range(self.workers), (0, 1001, 1002, 0)):
            yield [w, "user", uid]

    def steps(self, count, deep=250):
        yield from self.begin()
        for i in range(count):
            if i % 40 == 0:
                self.focus = self.path(0) if self.chance(0.7) else None
                self.near = 40 if self.chance(0.6) else 0
            yield self.step()
            if self.near or i % 10 == 9:
                yield ["look"]
            self.near = max(0, self.near - 1)
            if i % deep == deep - 1:
                yield ["look", "deep"]
            if self.remounts and self.chance(0.001):
                yield from (["look", "deep"], ["remount"], ["look", "deep"])
                yield from self.begin()
        yield ["look", "deep"]
