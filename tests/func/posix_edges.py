# SPDX-License-Identifier: Apache-2.0
"""Where this filesystem ends: what FUSE does not carry, and limits. docs/POSIX.md names these cases."""

import ctypes
import errno
import fcntl
import os
import stat

from posix_base import *

FICLONE, FIEMAP = 0x40049409, 0xC020660B
SYS_STATX, STATX_BTIME = 332, 0x800


@case
def unnamed_files():
    if not ON_DYNAMICFS:
        raise Skip("other filesystems have them")
    fails(errno.EOPNOTSUPP, os.open, ".", os.O_TMPFILE | os.O_RDWR, 0o600)
    # What programs do instead.
    fd = os.open("f", os.O_CREAT | os.O_EXCL | os.O_RDWR, 0o600)
    os.unlink("f")
    os.write(fd, b"unnamed")
    equal(os.pread(fd, 10, 0), b"unnamed")
    os.close(fd)


@case
def birth_time_is_not_told():
    if not ON_DYNAMICFS or os.uname().machine != "x86_64":
        raise Skip("of this filesystem, by the number that statx has on x86-64")
    put("f")
    buf = ctypes.create_string_buffer(256)
    call("syscall", SYS_STATX, -100, b"f", 0, ctypes.c_uint(0xFFF), buf)
    mask = int.from_bytes(buf.raw[:4], "little")
    equal(mask & STATX_BTIME, 0, "what statx says that it knows")
    assert mask & 0x7FF == 0x7FF, hex(mask)


@case
def clones_and_maps_are_refused():
    if not ON_DYNAMICFS:
        raise Skip("other filesystems have some of it")
    put("f", b"x" * 4096)
    put("g")
    f, g = os.open("f", os.O_RDONLY), os.open("g", os.O_RDWR)
    fails((errno.EOPNOTSUPP, errno.ENOTTY), fcntl.ioctl, g, FICLONE, f)
    fails((errno.EOPNOTSUPP, errno.ENOTTY), fcntl.ioctl, f, FIEMAP, bytes(32))
    fails(errno.ENOTTY, fcntl.ioctl, f, 0x5401, bytes(64))  # TCGETS: isatty(3)
    os.close(f)
    os.close(g)


@case
def trusted_attributes_are_roots():
    need_root()
    put("f")
    os.chmod("f", 0o666)
    os.setxattr("f", "trusted.t", b"1")
    os.setxattr("f", "user.u", b"1")
    equal(sorted(a for a in os.listxattr("f") if a != "security.selinux"), ["trusted.t", "user.u"])

    def other():
        equal([a for a in os.listxattr("f") if a != "security.selinux"], ["user.u"])
        fails(errno.ENODATA, os.getxattr, "f", "trusted.t")
        fails(errno.EPERM, os.setxattr, "f", "trusted.x", b"1")
        equal(os.getxattr("f", "user.u"), b"1")

    as_user(other)
    os.mkfifo("p")
    fails(errno.EPERM, os.setxattr, "p", "user.u", b"1")


@case
def largest_file():
    if not ON_DYNAMICFS:
        raise Skip("other filesystems end before")
    fd = os.open("f", os.O_CREAT | os.O_RDWR)
    os.ftruncate(fd, (1 << 63) - 1)
    equal(os.fstat(fd).st_size, (1 << 63) - 1)
    os.pwrite(fd, b"far", 1 << 62)
    os.fsync(fd)
    drop("f")
    equal(os.pread(fd, 5, (1 << 62) - 1), b"\0far\0")
    fails((errno.EFBIG, errno.EINVAL), os.pwrite, fd, b"xx", (1 << 63) - 2)
    os.close(fd)


@case
def many_links():
    """ext4 ends at 65,000 links (EMLINK); here it is 2^31 - 1."""
    count = int(os.environ.get("POSIX_LINKS", "0"))
    if count == 0 or not ON_DYNAMICFS:
        raise Skip("asked for by POSIX_LINKS=66000")
    put("f")
    os.mkdir("d")
    for i in range(count):
        os.link("f", f"d/{i}")
    equal(os.stat("f").st_nlink, count + 1)
    for i in range(count):
        os.unlink(f"d/{i}")


@case
def open_flags_of_linux():
    put("f", b"data")
    os.symlink("f", "s")
    fd = os.open("s", os.O_PATH | os.O_NOFOLLOW)
    assert stat.S_ISLNK(os.fstat(fd).st_mode)
    fails(errno.EBADF, os.read, fd, 1)
    os.close(fd)
    fd = os.open("f", os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK | os.O_NOCTTY)
    equal(os.read(fd, 9), b"data")
    os.close(fd)
    d = os.open(".", os.O_RDONLY | os.O_DIRECTORY)
    fails(errno.EISDIR, os.read, d, 1)
    os.close(os.open("f", os.O_RDONLY, dir_fd=d))
    os.close(d)
