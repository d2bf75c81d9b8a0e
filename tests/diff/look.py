# SPDX-License-Identifier: Apache-2.0
"""What can be seen of a tree, by root and from outside, in a form that compares: {path: {field: value}}."""

import os
import stat
import time
import zlib

import calls
from ops import wrong_holes

NS = 10**9
TICK = 12_000_000  # ns: how coarse a filesystem's clock may be
FIELDS = ("atime", "mtime", "ctime")


def ns(t):
    return t[0] * NS + t[1]


class Eye:
    """Looks at one tree again and again: what changed since the last time is part of what it sees."""

    def __init__(self, root):
        self.root = os.fsencode(root)
        self.began = time.time_ns()
        self.times = {}  # inode -> its times when last looked at
        self.looked = 0

    def look(self, deep=False, content=True):
        self.before, self.times = self.times, {}
        since, self.looked = self.looked, time.time_ns()
        seen, names = {}, {}
        pending = [b""]
        while pending:
            path = pending.pop()
            whole = self.root + b"/" + path if path else self.root
            st = calls.lstat(whole)
            seen[path.decode("latin-1")] = entry = self.attributes(st, since)
            entry["same as"] = names.setdefault(st.ino, len(names))
            if stat.S_ISDIR(st.mode):
                pending += sorted(self.children(whole, path, entry), reverse=True)
            elif stat.S_ISLNK(st.mode):
                entry["target"] = os.readlink(whole).decode("latin-1")
            if deep:
                self.inside(whole, st, entry, content)
        return seen

    def attributes(self, st, since):
        entry = {
            "mode": oct(st.mode),
            "nlink": st.nlink,
            "uid": st.uid,
            "gid": st.gid,
            "size": None if stat.S_ISDIR(st.mode) else st.size,
            "rdev": st.rdev,
        }
        key = (st.ino, st.born)
        self.times[key] = st
        for field in FIELDS:
            entry[field] = self.told(getattr(st, field), getattr(self.before.get(key), field, None), since)
        if entry["mtime"][0] == "now" and st.mtime > st.ctime:
            entry["order"] = "mtime after ctime"
        return entry

    def told(self, t, before, since):
        """A time that a program set is a value; one of now has changed or not. "perhaps": so near to the last look that a coarse
        clock would not show it."""
        if abs(ns(t) - self.began) > 3600 * NS:
            return ["set", t]
        if before is None:
            return ["now", "new"]
        if t == before:
            return ["now", "perhaps" if ns(t) > since - TICK else "kept"]
        return ["now", "changed" if ns(t) > ns(before) or abs(ns(before) - self.began) > 3600 * NS else "went back"]

    def children(self, whole, path, entry):
        with os.scandir(whole) as entries:
            for e in entries:
                st = calls.lstat(e.path)
                if e.inode() != st.ino or stat.S_IFMT(st.mode) != kind(e):
                    entry["listing"] = f"{e.name} is another than stat says"
                yield path + b"/" + e.name if path else e.name

    def inside(self, whole, st, entry, content):
        entry["xattrs"] = {n: xattr(whole, n) for n in sorted(os.listxattr(whole, follow_symlinks=False))}
        if not stat.S_ISREG(st.mode) and not stat.S_ISDIR(st.mode):
            return
        fd = os.open(whole, os.O_RDONLY | os.O_NOATIME)
        try:
            entry["flags"] = calls.flags(fd)
            if stat.S_ISREG(st.mode) and content:
                entry["content"] = crc(fd)
                entry["holes"] = wrong_holes(fd, st.size, True)
                os.posix_fadvise(fd, 0, 0, os.POSIX_FADV_DONTNEED)
                if crc(fd) != entry["content"]:
                    entry["content"] = [entry["content"], "and read again", crc(fd)]
        finally:
            os.close(fd)


def xattr(path, name):
    try:
        return os.getxattr(path, name, follow_symlinks=False).hex()
    except OSError as e:
        return calls.name_of(e.errno)  # file capabilities that are none


def kind(e):
    if e.is_symlink():
        return stat.S_IFLNK
    if e.is_dir(follow_symlinks=False):
        return stat.S_IFDIR
    if e.is_file(follow_symlinks=False):
        return stat.S_IFREG
    return stat.S_IFMT(e.stat(follow_symlinks=False).st_mode)


def crc(fd):
    at = value = 0
    while part := os.pread(fd, 1 << 20, at):
        value = zlib.crc32(part, value)
        at += len(part)
    return [at, value]


def clear(path):
    """Removes a tree, whatever flags it has."""
    for whole, dirs, files in os.walk(path, topdown=True):
        for name in [b"."] + dirs + files:
            child = os.path.join(whole, name)
            if os.path.islink(child) or not (os.path.isdir(child) or os.path.isfile(child)):
                continue
            fd = os.open(child, os.O_RDONLY | os.O_NONBLOCK)
            calls.flags(fd, 0)
            os.close(fd)
    for whole, dirs, files in os.walk(path, topdown=False):
        for name in files:
            os.unlink(os.path.join(whole, name))
        for name in dirs:
            child = os.path.join(whole, name)
            (os.unlink if os.path.islink(child) else os.rmdir)(child)
    os.rmdir(path)
