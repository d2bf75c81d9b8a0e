# SPDX-License-Identifier: Apache-2.0
"""System calls that Python's os lacks, or hides something of."""

import ctypes
import errno
import fcntl
import mmap
import os
import struct
import sys

sys.path.insert(0, os.path.join(os.path.dirname(os.path.realpath(__file__)), ".."))
from libc import call  # noqa: E402

AT_FDCWD, AT_SYMLINK_NOFOLLOW, AT_EMPTY_PATH = -100, 0x100, 0x1000
NOREPLACE, EXCHANGE, WHITEOUT = 1, 2, 4
GETFLAGS, SETFLAGS = 0x80086601, 0x40086602
IMMUTABLE, APPEND = 0x10, 0x20
DIRECT_BYTES = 4096  # what offset, length and memory are multiples of
UTIME_NOW, UTIME_OMIT = (1 << 30) - 1, (1 << 30) - 2


def renameat2(old, new, flags):
    call("renameat2", AT_FDCWD, old, AT_FDCWD, new, flags)


def fallocate(fd, mode, offset, length):
    call("fallocate", fd, mode, ctypes.c_long(offset), ctypes.c_long(length))


def utimens(target, times, follow=True):
    """times: two of (seconds, nanoseconds), where the latter may be UTIME_NOW or UTIME_OMIT."""
    spec = (ctypes.c_long * 4)(*times[0], *times[1])
    if isinstance(target, int):
        call("futimens", target, spec)
    else:
        call("utimensat", AT_FDCWD, target, spec, 0 if follow else AT_SYMLINK_NOFOLLOW)


def flags(fd, value=None):
    """The immutable and append-only bits of chattr; the other bits stay."""
    word = bytearray(8)
    fcntl.ioctl(fd, GETFLAGS, word, True)
    had = struct.unpack_from("i", word)[0]
    if value is not None:
        struct.pack_into("i", word, 0, had & ~(IMMUTABLE | APPEND) | value)
        fcntl.ioctl(fd, SETFLAGS, bytes(word))
    return had & (IMMUTABLE | APPEND)


_statx = ctypes.create_string_buffer(256)
_field = struct.Struct("=IIQIIIHHQQQQqIiqIiqIiqIiII")


class Stat:
    """What statx says. born is None where it says none."""

    __slots__ = ("mode", "nlink", "uid", "gid", "size", "ino", "rdev", "atime", "mtime", "ctime", "born")


def lstat(path, fd=AT_FDCWD):
    """Of the descriptor where the path is empty."""
    call("statx", fd, path, AT_SYMLINK_NOFOLLOW | (0 if path else AT_EMPTY_PATH), 0xFFF, _statx)
    v = _field.unpack_from(_statx)
    s = Stat()
    s.nlink, s.uid, s.gid, s.mode, s.ino, s.size = v[3], v[4], v[5], v[6], v[8], v[9]
    s.atime, s.born, s.ctime, s.mtime = ((v[i], v[i + 1]) for i in (12, 15, 18, 21))
    s.rdev = (v[24], v[25])
    if not v[0] & 0x800:
        s.born = None
    return s


def _room(n):
    return mmap.mmap(-1, max(n, DIRECT_BYTES))


def direct_write(fd, data, offset=None):
    memory = _room(len(data))
    memory[: len(data)] = data
    with memoryview(memory)[: len(data)] as part:
        return os.writev(fd, [part]) if offset is None else os.pwritev(fd, [part], offset)


def direct_read(fd, n, offset=None):
    memory = _room(n)
    with memoryview(memory)[:n] as part:
        got = os.readv(fd, [part]) if offset is None else os.preadv(fd, [part], offset)
    return memory[:got]


def name_of(code):
    return errno.errorcode.get(code, str(code))
