# SPDX-License-Identifier: Apache-2.0
"""The operations: each a row (how often, the kinds of its arguments; gen.py chooses them) and what a worker does for it.

An operation gives a value that can be compared, or raises OSError. Paths are text of Latin-1, one character a byte."""

import errno
import fcntl
import mmap
import os
import random
import stat
import struct
import zlib

import calls

OPS = {}
SLOTS = 6  # open descriptors that a worker may have
CLOSED = 1000  # no descriptor is that high
SKIPPED = "not tried"  # what known.py's NOT_TRIED names
USERS = {0: (0, []), 1001: (1001, [2001]), 1002: (1002, [2001, 2002])}


def op(often, *kinds):
    def add(fn):
        OPS[fn.__name__.strip("_")] = (often, kinds, fn)
        return fn

    return add


def raw(path):
    return path.encode("latin-1")


def content(seed, n):
    """Seed 0: zeros."""
    return random.Random(seed).randbytes(n) if seed else bytes(n)


def value(name, seed, n):
    """Of an attribute; the kernel wants file capabilities to be such."""
    if name == "security.capability" and seed % 4:
        return struct.pack("<IIIII", 0x02000001, seed % 1024, 0, 0, 0)
    return content(seed, n)


def digest(data):
    return [len(data), zlib.crc32(data)]


def told(st):
    """Of a stat; times are for look.py. A directory's size is its filesystem's own."""
    size = None if stat.S_ISDIR(st.st_mode) else st.st_size
    return [oct(st.st_mode), st.st_nlink, st.st_uid, st.st_gid, size, st.st_rdev]


class Worker:
    """A process's state: its descriptors (None: closed)."""

    def __init__(self):
        self.fd = [None] * (SLOTS + 1)  # the last one stays closed

    def __getitem__(self, slot):
        return CLOSED if self.fd[slot] is None else self.fd[slot]

    def put(self, slot, fd):
        if self.fd[slot] is not None:
            os.close(self.fd[slot])
        self.fd[slot] = fd

    def how(self, slot):
        return fcntl.fcntl(self[slot], fcntl.F_GETFL)

    def direct(self, slot):
        return self.fd[slot] is not None and self.how(slot) & os.O_DIRECT

    def used(self, slot):
        """The first open one from there on, so that few steps are in vain."""
        if slot < SLOTS:
            return next((s for s in (*range(slot, SLOTS), *range(slot)) if self.fd[s] is not None), slot)
        return slot

    def do(self, name, args):
        kinds, fn = OPS[name][1:]
        try:
            return ["ok", fn(self, *(self.used(a) if kind == "used" else a for kind, a in zip(kinds, args)))]
        except OSError as e:
            return [calls.name_of(e.errno)]
        except Exception as e:
            return ["raised", f"{type(e).__name__}: {e}"]  # a mistake of ours: see diff.py


def aligned(n):
    return n // calls.DIRECT_BYTES * calls.DIRECT_BYTES


# ---- descriptors


@op(220, "slot", "path", "open", "mode")
def open_(w, slot, path, flags, mode):
    fd = os.open(raw(path), flags | os.O_NONBLOCK, mode)
    w.put(slot, fd)
    return told(os.fstat(fd))


@op(25, "used")
def close(w, slot):
    if w.fd[slot] is not None:
        w.put(slot, None)


@op(12, "used", "slot")
def dup(w, slot, to):
    w.put(to, os.dup(w[slot]))


@op(8, "used", "bool")
def setfl(w, slot, append):
    had = w.how(slot)
    fcntl.fcntl(w[slot], fcntl.F_SETFL, had | os.O_APPEND if append else had & ~os.O_APPEND)


@op(10, "used")
def fstat(w, slot):
    return told(os.fstat(w[slot]))


@op(10, "used")
def fsync(w, slot):
    os.fsync(w[slot])


@op(5, "used")
def fdatasync(w, slot):
    os.fdatasync(w[slot])


@op(10, "used")
def forget(w, slot):
    """The kernel's pages of it go, so that the filesystem is asked again."""
    os.fsync(w[slot])
    os.posix_fadvise(w[slot], 0, 0, os.POSIX_FADV_DONTNEED)


@op(0, "used")
def which(w, slot):
    """What the inode is called by crash.py."""
    st = calls.lstat(b"", w[slot])
    return [st.ino, st.born]


# ---- bytes


@op(30, "used", "length")
def read(w, slot, n):
    if w.direct(slot):
        if os.lseek(w[slot], 0, os.SEEK_CUR) % calls.DIRECT_BYTES:
            return SKIPPED
        return digest(calls.direct_read(w[slot], aligned(n)))
    return digest(os.read(w[slot], n))


@op(30, "used", "length", "offset")
def pread(w, slot, n, at):
    if w.direct(slot):
        return digest(calls.direct_read(w[slot], aligned(n), aligned(at)))
    return digest(os.pread(w[slot], n, at))


@op(70, "used", "length", "data")
def write(w, slot, n, seed):
    if w.direct(slot):
        end = w.how(slot) & os.O_APPEND
        at = os.fstat(w[slot]).st_size if end else os.lseek(w[slot], 0, os.SEEK_CUR)
        if at % calls.DIRECT_BYTES:
            return SKIPPED
        return calls.direct_write(w[slot], content(seed, aligned(n)))
    return os.write(w[slot], content(seed, n))


@op(80, "used", "length", "data", "offset")
def pwrite(w, slot, n, seed, at):
    if w.direct(slot):
        if w.how(slot) & os.O_APPEND:
            return SKIPPED
        return calls.direct_write(w[slot], content(seed, aligned(n)), aligned(at))
    return os.pwrite(w[slot], content(seed, n), at)


@op(15, "used", "length", "length", "data", "offset")
def pwritev(w, slot, n, m, seed, at):
    if w.direct(slot):
        return SKIPPED
    return os.pwritev(w[slot], [content(seed, n), b"", content(seed + 1, m)], at)


@op(12, "used", "offset", "whence")
def lseek(w, slot, at, whence):
    if stat.S_ISDIR(os.fstat(w[slot]).st_mode):
        return SKIPPED
    return os.lseek(w[slot], at, whence)


@op(12, "used")
def holes(w, slot):
    """Where holes are is a filesystem's own choice, but they must be of zeros, and the last one at the end."""
    st = os.fstat(w[slot])
    if not stat.S_ISREG(st.st_mode) or w.how(slot) & os.O_PATH:
        return SKIPPED
    had = os.lseek(w[slot], 0, os.SEEK_CUR)
    try:
        return wrong_holes(w[slot], st.st_size, w.how(slot) & (os.O_ACCMODE | os.O_DIRECT) in (os.O_RDONLY, os.O_RDWR))
    finally:
        os.lseek(w[slot], had, os.SEEK_SET)


def seek_data(fd, at, end):
    try:
        return os.lseek(fd, at, os.SEEK_DATA)
    except OSError as e:
        if e.errno != errno.ENXIO:
            raise
        return end


def wrong_holes(fd, size, readable):
    at, wrong = 0, []
    while at < size:
        data = seek_data(fd, at, size)
        if not at <= data <= size:
            return [f"data after {at} is at {data}"]
        while at < data and readable:
            part = os.pread(fd, min(data - at, 1 << 20), at)
            if not part or part.strip(b"\0"):
                wrong.append(f"a hole at {at} is none")
            at += len(part) or data
        at = os.lseek(fd, data, os.SEEK_HOLE) if data < size else size
        if data < size and not data < at <= size:
            return [f"the hole after {data} is at {at}"]
    if seek_data(fd, size, -1) != -1:
        wrong.append("data beyond the end")
    return wrong


@op(25, "path", "size")
def truncate(w, path, n):
    os.truncate(raw(path), n)


@op(25, "used", "size")
def ftruncate(w, slot, n):
    os.ftruncate(w[slot], n)


@op(30, "used", "fallocate", "offset", "length")
def fallocate(w, slot, mode, at, n):
    calls.fallocate(w[slot], mode, at, n)


@op(15, "used", "offset", "used", "offset", "length")
def copy_range(w, slot, at, to, to_at, n):
    if w.direct(slot) or w.direct(to):
        return SKIPPED
    return os.copy_file_range(w[slot], w[to], n, at, to_at)


@op(5, "used", "used", "offset", "length")
def sendfile(w, to, slot, at, n):
    if w.direct(slot) or w.direct(to):
        return SKIPPED
    return os.sendfile(w[to], w[slot], at, n)


@op(20, "used", "offset", "length", "data")
def map_write(w, slot, at, n, seed):
    fd = w[slot]
    st = os.fstat(fd)
    if not n or not stat.S_ISREG(st.st_mode) or at >= st.st_size or w.how(slot) & os.O_PATH or calls.flags(fd) & calls.IMMUTABLE:
        return SKIPPED
    start = aligned(at)
    end = min(at + n, st.st_size)
    with mmap.mmap(fd, end - start, mmap.MAP_SHARED, mmap.PROT_READ | mmap.PROT_WRITE, offset=start) as m:
        m[at - start :] = content(seed, end - at)
        m.flush()


@op(8, "used", "offset", "length")
def map_read(w, slot, at, n):
    st = os.fstat(w[slot])
    if not n or not stat.S_ISREG(st.st_mode) or at >= st.st_size:
        return SKIPPED
    start = aligned(at)
    with mmap.mmap(w[slot], min(at + n, st.st_size) - start, mmap.MAP_PRIVATE, mmap.PROT_READ, offset=start) as m:
        return digest(m[:])


# ---- names


@op(20, "path", "bool")
def stat_(w, path, follow):
    return told(os.stat(raw(path), follow_symlinks=follow))


@op(12, "path", "access")
def access(w, path, how):
    return os.access(raw(path), how, effective_ids=True)


@op(10, "dir")
def listdir(w, path):
    with os.scandir(raw(path)) as entries:
        return sorted([e.name.decode("latin-1"), e.is_dir(follow_symlinks=False), e.is_symlink()] for e in entries)


@op(5, "used")
def flistdir(w, slot):
    return sorted(os.listdir(w[slot]))


@op(5, "path")
def readlink(w, path):
    return os.readlink(raw(path)).decode("latin-1")


@op(30, "dir", "mode")
def mkdir(w, path, mode):
    os.mkdir(raw(path), mode)


@op(22, "dir")
def rmdir(w, path):
    os.rmdir(raw(path))


@op(30, "path")
def unlink(w, path):
    os.unlink(raw(path))


@op(60, "path", "path", "rename")
def rename(w, path, to, flags):
    calls.renameat2(raw(path), raw(to), flags)


@op(25, "path", "path", "bool")
def link(w, path, to, follow):
    os.link(raw(path), raw(to), follow_symlinks=follow)


@op(18, "target", "path")
def symlink(w, target, path):
    os.symlink(raw(target), raw(path))


@op(10, "path", "node", "mode")
def mknod(w, path, kind, mode):
    os.mknod(raw(path), kind | mode, 0)


# ---- attributes


@op(30, "path", "mode")
def chmod(w, path, mode):
    os.chmod(raw(path), mode)


@op(8, "used", "mode")
def fchmod(w, slot, mode):
    os.fchmod(w[slot], mode)


@op(20, "path", "uid", "gid", "bool")
def chown(w, path, uid, gid, follow):
    os.chown(raw(path), uid, gid, follow_symlinks=follow)


@op(6, "used", "uid", "gid")
def fchown(w, slot, uid, gid):
    os.fchown(w[slot], uid, gid)


@op(15, "path", "time", "time", "bool")
def utimens(w, path, atime, mtime, follow):
    calls.utimens(raw(path), (atime, mtime), follow)


@op(6, "used", "time", "time")
def futimens(w, slot, atime, mtime):
    calls.utimens(w[slot], (atime, mtime))


@op(22, "path", "xattr", "short", "data", "xflags", "bool")
def setxattr(w, path, name, n, seed, flags, follow):
    os.setxattr(raw(path), raw(name), value(name, seed, n), flags, follow_symlinks=follow)


@op(8, "used", "xattr", "short", "data", "xflags")
def fsetxattr(w, slot, name, n, seed, flags):
    os.setxattr(w[slot], raw(name), value(name, seed, n), flags)


@op(8, "path", "xattr", "bool")
def getxattr(w, path, name, follow):
    return os.getxattr(raw(path), raw(name), follow_symlinks=follow).hex()


@op(8, "path", "bool")
def listxattr(w, path, follow):
    return sorted(os.listxattr(raw(path), follow_symlinks=follow))


@op(10, "path", "xattr", "bool")
def removexattr(w, path, name, follow):
    os.removexattr(raw(path), raw(name), follow_symlinks=follow)


@op(4, "used", "xattr")
def fremovexattr(w, slot, name):
    os.removexattr(w[slot], raw(name))


@op(22, "path", "bool", "acl")
def setacl(w, path, default, acl):
    os.setxattr(raw(path), "system.posix_acl_" + ("default" if default else "access"), bytes.fromhex(acl))


@op(6, "path", "bool")
def removeacl(w, path, default):
    os.removexattr(raw(path), "system.posix_acl_" + ("default" if default else "access"))


@op(12, "path", "chattr")
def chattr(w, path, flags):
    fd = os.open(raw(path), os.O_RDONLY | os.O_NONBLOCK)
    try:
        return calls.flags(fd, flags)
    finally:
        os.close(fd)


# ---- the process


@op(10, "user")
def user(w, uid):
    gid, groups = USERS[uid]
    os.seteuid(0)
    os.setegid(0)
    os.setgroups(groups)
    os.setegid(gid)
    os.seteuid(uid)


@op(5, "umask")
def umask(w, mask):
    return os.umask(mask)
