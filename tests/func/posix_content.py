# SPDX-License-Identifier: Apache-2.0
"""Content of files, xattrs, limits."""

import ctypes
import errno
import fcntl
import mmap
import os
import random
import resource
import shutil
import sqlite3
import struct
import subprocess
import time

from posix_base import *

# ---- content ----


@case
def sizes_around_a_mebibyte():
    sizes = [0, 1, 4095, 4096, 4097, 65536, MIB - 1, MIB, MIB + 1, 3 * MIB + 12345]
    for n in sizes:
        put(f"s{n}", pattern(n, n))
    for n in sizes:
        drop(f"s{n}")
        equal(get(f"s{n}"), pattern(n, n), f"file of {n} bytes")
        equal(os.stat(f"s{n}").st_size, n)


@case
def overwrites_and_appends():
    data = bytearray(pattern(2 * MIB + 77))
    put("f", data)
    with open("f", "r+b") as f:
        for at, n in ((0, 1), (MIB - 3, 7), (100_000, 300_000), (2 * MIB, 200)):
            new = pattern(n, at + 1)
            f.seek(at)
            f.write(new)
            data[at : at + n] = new
    drop("f")
    equal(get("f"), bytes(data))
    for i in range(50):
        with open("f", "ab") as f:
            f.write(b"line %d\n" % i)
        data += b"line %d\n" % i
    drop("f")
    equal(get("f"), bytes(data))


@case
def truncate_reads_zeros():
    data = pattern(3 * MIB)
    put("f", data)
    os.truncate("f", MIB + 500)
    os.truncate("f", 2 * MIB)
    want = data[: MIB + 500] + bytes(MIB - 500)
    equal(get("f"), want, "cached")
    drop("f")
    equal(get("f"), want, "not cached")
    os.truncate("f", 0)
    os.truncate("f", 10)
    equal(get("f"), bytes(10))
    put("small", b"abcdef")
    os.truncate("small", 3)
    os.truncate("small", 6)
    equal(get("small"), b"abc\0\0\0")
    drop("small")
    equal(get("small"), b"abc\0\0\0")
    with open("small", "rb") as f:
        fails((errno.EINVAL, errno.EBADF), os.ftruncate, f.fileno(), 1)
    fails(errno.EINVAL, os.truncate, "small", -1)
    fails(errno.EISDIR, os.truncate, ".", 1)


@case
def sparse_terabytes():
    fd = os.open("f", os.O_CREAT | os.O_RDWR)
    tib = 1 << 40
    os.pwrite(fd, b"start", 0)
    os.pwrite(fd, b"middle", 4 * tib)
    os.ftruncate(fd, 12 * tib)
    os.fsync(fd)
    equal(os.fstat(fd).st_size, 12 * tib)
    assert os.fstat(fd).st_blocks * 512 < 4 * MIB, os.fstat(fd).st_blocks
    equal(os.pread(fd, 8, 0), b"start\0\0\0")
    equal(os.pread(fd, 8, 4 * tib - 1), b"\0middle\0")
    equal(os.pread(fd, 4096, 9 * tib), bytes(4096))
    equal(os.pread(fd, 4096, 12 * tib), b"")
    at = os.lseek(fd, 1 << 20, os.SEEK_DATA)
    assert 4 * tib - MIB < at <= 4 * tib, at
    at = os.lseek(fd, 0, os.SEEK_HOLE)
    assert 5 <= at <= MIB, at
    equal(os.lseek(fd, 5 * tib, os.SEEK_HOLE), 5 * tib)
    fails(errno.ENXIO, os.lseek, fd, 12 * tib, os.SEEK_DATA)
    fails(errno.ENXIO, os.lseek, fd, 5 * tib, os.SEEK_DATA)
    os.ftruncate(fd, 4 * tib + 3)
    equal(os.pread(fd, 100, 4 * tib), b"mid")
    os.close(fd)
    fd = os.open("big", os.O_CREAT | os.O_RDWR)
    fails((errno.EFBIG, errno.EINVAL), os.pwrite, fd, b"x", (1 << 63) - 1)
    os.close(fd)


@case
def seek_data_and_hole():
    fd = os.open("f", os.O_CREAT | os.O_RDWR)
    os.pwrite(fd, b"d" * MIB, 2 * MIB)
    os.ftruncate(fd, 8 * MIB)
    for state in ("unsealed", "stored"):
        equal(os.lseek(fd, 0, os.SEEK_DATA), 2 * MIB, state)
        equal(os.lseek(fd, 2 * MIB, os.SEEK_HOLE), 3 * MIB, state)
        equal(os.lseek(fd, 0, os.SEEK_HOLE), 0, state)
        equal(os.lseek(fd, 4 * MIB, os.SEEK_HOLE), 4 * MIB, state)
        fails(errno.ENXIO, os.lseek, fd, 4 * MIB, os.SEEK_DATA)
        os.fsync(fd)
    put("full", b"x" * 100)
    full = os.open("full", os.O_RDONLY)
    equal(os.lseek(full, 5, os.SEEK_DATA), 5)
    equal(os.lseek(full, 5, os.SEEK_HOLE), 100)
    fails(errno.ENXIO, os.lseek, full, 100, os.SEEK_HOLE)
    os.close(full)
    os.close(fd)


@case
def times_of_allocations_and_of_no_change():
    put("f", b"x" * 9000)
    for change, fields in ((lambda fd: call("fallocate", fd, 0, ctypes.c_long(0), ctypes.c_long(5000)), (M, C)), (lambda fd: os.fchown(fd, -1, -1), (C,))):
        before = os.lstat("f")
        tick()
        with open("f", "r+b") as f:
            change(f.fileno())
        later("f", before, *fields)


@case
def fallocate_modes():
    KEEP, PUNCH, COLLAPSE, ZERO, INSERT, UNSHARE = 1, 2, 8, 16, 32, 64

    def falloc(fd, mode, off, n):
        call("fallocate", fd, mode, ctypes.c_longlong(off), ctypes.c_longlong(n))

    data = bytearray(pattern(3 * MIB))
    put("f", data)
    fd = os.open("f", os.O_RDWR)
    falloc(fd, PUNCH | KEEP, 1000, 2 * MIB)
    data[1000 : 1000 + 2 * MIB] = bytes(2 * MIB)
    equal(os.pread(fd, 4 * MIB, 0), bytes(data), "punched")
    drop("f")
    equal(os.pread(fd, 4 * MIB, 0), bytes(data), "punched, read anew")
    falloc(fd, ZERO, 3 * MIB - 10, 30)
    data[3 * MIB - 10 :] = bytes(30)
    equal(os.pread(fd, 4 * MIB, 0), bytes(data), "zeroed beyond the end")
    falloc(fd, 0, 0, 5 * MIB)
    equal(os.fstat(fd).st_size, 5 * MIB)
    equal(os.pread(fd, 10, 5 * MIB - 10), bytes(10))
    falloc(fd, KEEP, 0, 9 * MIB)
    equal(os.fstat(fd).st_size, 5 * MIB)
    falloc(fd, PUNCH | KEEP, 4 * MIB, 9 * MIB)
    equal(os.fstat(fd).st_size, 5 * MIB)
    falloc(fd, ZERO | KEEP, 0, 9 * MIB)
    equal(os.fstat(fd).st_size, 5 * MIB)
    equal(os.pread(fd, 6 * MIB, 0), bytes(5 * MIB))
    fails((errno.EOPNOTSUPP, errno.EINVAL), falloc, fd, PUNCH, 0, 10)
    if ON_DYNAMICFS:
        for mode in (COLLAPSE, INSERT, UNSHARE):
            fails(errno.EOPNOTSUPP, falloc, fd, mode, 0, MIB)
    fails(errno.EINVAL, falloc, fd, 0, 0, 0)
    ro = os.open("f", os.O_RDONLY)
    fails(errno.EBADF, falloc, ro, 0, 0, 10)
    os.close(ro)
    os.close(fd)


@case
def programs_that_allocate():
    data = pattern(2 * MIB + 77)
    put("from", data)

    # It extends, and what is there stays; a descriptor that can't read will do.
    put("f", data)
    fd = os.open("f", os.O_WRONLY)
    os.posix_fallocate(fd, 0, 3 * MIB + 5)
    equal(os.fstat(fd).st_size, 3 * MIB + 5)
    os.posix_fallocate(fd, 5, 100)
    equal(os.fstat(fd).st_size, 3 * MIB + 5)
    # As a database fills a log allocated before: anywhere, in blocks, synced.
    want = bytearray(data + bytes(MIB + 5 - 77))
    for at in random.Random(1).sample(range(0, 3 * MIB, 8192), 40):
        want[at : at + 8192] = os.urandom(8192)
        equal(os.pwrite(fd, want[at : at + 8192], at), 8192)
        os.fdatasync(fd)
    os.close(fd)
    drop("f")
    equal(get("f"), bytes(want), "written where it was allocated")

    copies = [
        ("cp", "--sparse=always", "from", "to"),
        ("cp", "--sparse=never", "from", "to"),
        ("dd", "if=from", "of=to", "bs=64K", "conv=fsync", "status=none"),
        ("rsync", "--preallocate", "from", "to"),
        ("rsync", "--preallocate", "--inplace", "from", "to"),
    ]
    for argv in copies:
        if shutil.which(argv[0]):
            subprocess.run(argv, check=True)
            drop("to")
            equal(get("to"), data, " ".join(argv))
            os.unlink("to")

    db = sqlite3.connect("db")
    db.execute("pragma journal_mode=wal")
    db.execute("create table t(x)")
    db.executemany("insert into t values (?)", ((i,) for i in range(2000)))
    db.commit()
    equal(db.execute("select sum(x) from t").fetchone()[0], 1999000)
    equal(db.execute("pragma integrity_check").fetchone()[0], "ok")
    db.close()


@case
def shared_mmap():
    put("f", pattern(2 * MIB))
    data = bytearray(pattern(2 * MIB))
    fd = os.open("f", os.O_RDWR)
    with mmap.mmap(fd, 2 * MIB) as m:
        equal(m[:], bytes(data), "read through mmap")
        m[5000:5010] = b"mmap write"
        data[5000:5010] = b"mmap write"
        equal(os.pread(fd, 10, 5000), b"mmap write", "seen by read")
        os.pwrite(fd, b"file write", MIB - 5)
        data[MIB - 5 : MIB + 5] = b"file write"
        equal(m[MIB - 5 : MIB + 5], b"file write", "seen through mmap")
        m.flush()
        m[2 * MIB - 1 : 2 * MIB] = b"!"
        data[-1:] = b"!"
    os.close(fd)
    drop("f")
    equal(get("f"), bytes(data), "after munmap, read anew")
    fd = os.open("f", os.O_RDWR)
    os.ftruncate(fd, 5000)
    with mmap.mmap(fd, 5000) as m:
        m[4999:5000] = b"E"
    os.close(fd)
    drop("f")
    equal(get("f"), bytes(data[:4999]) + b"E")
    with open("f", "rb") as f, mmap.mmap(f.fileno(), 0, mmap.MAP_PRIVATE, mmap.PROT_READ | mmap.PROT_WRITE) as m:
        m[0:4] = b"mine"
    equal(get("f")[:4], bytes(data[:4]), "a private mapping's change")
    shutil.copy("/bin/true", "true")
    os.chmod("true", 0o755)
    equal(os.spawnl(os.P_WAIT, "./true", "true"), 0, "a program run from here")


@case
def direct_io():
    fd = os.open("f", os.O_CREAT | os.O_RDWR)
    os.write(fd, pattern(MIB))
    try:
        direct = os.open("f", os.O_RDWR | os.O_DIRECT)
    except OSError as e:
        raise Skip(f"no O_DIRECT here: {e}")
    buf = mmap.mmap(-1, 65536)
    buf[:] = b"D" * 65536
    equal(os.pwrite(direct, buf, 131072), 65536)
    equal(os.pread(fd, 65536, 131072), b"D" * 65536, "buffered read after direct write")
    os.pwrite(fd, b"B" * 4096, 131072)
    equal(os.preadv(direct, [buf], 131072), 65536)
    equal(buf[:4097], b"B" * 4096 + b"D", "direct read after buffered write")
    os.close(direct)
    os.close(fd)


class Aio:
    """One asynchronous write at a time, by the kernel's own calls (x86-64 and those with its numbers: else skipped)."""

    SETUP, DESTROY, GETEVENTS, SUBMIT = 206, 207, 208, 209

    def __init__(self):
        if os.uname().machine != "x86_64":
            raise Skip("the numbers of io_submit are those of x86-64")
        self.context = ctypes.c_ulong(0)
        call("syscall", self.SETUP, 8, ctypes.byref(self.context))

    def start(self, fd, buf, offset):
        at = ctypes.addressof(ctypes.c_char.from_buffer(buf))
        # struct iocb: data, key and flags, opcode (PWRITE 1), priority, descriptor, buffer, bytes, offset
        self.iocb = ctypes.create_string_buffer(struct.pack("<QIIHhIQQqQII", 0, 0, 0, 1, 0, fd, at, len(buf), offset, 0, 0, 0))
        list_of_one = (ctypes.c_void_p * 1)(ctypes.addressof(self.iocb))
        equal(call("syscall", self.SUBMIT, self.context, ctypes.c_long(1), list_of_one), 1, "io_submit")

    def wait(self):
        event = ctypes.create_string_buffer(32)
        equal(call("syscall", self.GETEVENTS, self.context, ctypes.c_long(1), ctypes.c_long(1), event, None), 1, "io_getevents")
        return struct.unpack("<QQqq", event.raw)[2]

    def end(self):
        call("syscall", self.DESTROY, self.context)


@case
def asynchronous_direct_writes_beside_readers():
    size, seconds = 640 * 1024, 4
    put("f", b"\0" * size)
    fd, direct = os.open("f", os.O_RDONLY), os.open("f", os.O_RDWR | os.O_DIRECT)
    buf, aio = mmap.mmap(-1, size), Aio()
    stop = mmap.mmap(-1, 1)

    def reader():
        f = os.open("f", os.O_RDONLY)
        while not stop[0]:
            os.pread(f, size, 0)

    readers = [in_child(reader) for _ in range(2)]
    end, n = time.monotonic() + seconds, 0
    try:
        while time.monotonic() < end:
            n += 1
            buf[:] = bytes([n % 255 + 1]) * size
            aio.start(direct, buf, 0)
            equal(aio.wait(), size, "written")
            equal(os.pread(fd, size, 0), buf[:], f"what a buffered read gives after write {n} is complete")
    finally:
        stop[0] = 1
        join(readers)
    aio.end()
    os.close(fd)
    os.close(direct)


@case
def synchronous_writes():
    for flag in (os.O_SYNC, os.O_DSYNC):
        fd = os.open("f", os.O_CREAT | os.O_RDWR | flag)
        equal(os.write(fd, b"durable"), 7)
        os.close(fd)
    fd = os.open("f", os.O_RDWR)
    os.fsync(fd)
    os.fdatasync(fd)
    os.close(fd)
    d = os.open(".", os.O_RDONLY)
    os.fsync(d)
    os.close(d)
    os.sync()


@case
def vectors_and_copies():
    fd = os.open("f", os.O_CREAT | os.O_RDWR)
    equal(os.pwritev(fd, [b"one", b"", b"two", b"three" * 50000], 3), 250006)
    equal(os.pread(fd, 9, 0), b"\0\0\0onetwo")
    out = os.open("g", os.O_CREAT | os.O_RDWR)
    equal(os.sendfile(out, fd, 0, 250009), 250009)
    equal(get("g"), get("f"))
    copied = 0
    third = os.open("h", os.O_CREAT | os.O_RDWR)
    while copied < 250009:
        n = os.copy_file_range(fd, third, 250009 - copied, copied, copied)
        assert n > 0
        copied += n
    equal(get("h"), get("f"))
    for x in (fd, out, third):
        os.close(x)


@case
def unlinked_but_open():
    fd = os.open("f", os.O_CREAT | os.O_RDWR)
    os.write(fd, b"before")
    os.fsync(fd)
    os.unlink("f")
    equal(os.fstat(fd).st_nlink, 0)
    put("f", b"another")
    big = pattern(3 * MIB)
    os.pwrite(fd, big, 100)
    os.fsync(fd)
    os.posix_fadvise(fd, 0, 0, os.POSIX_FADV_DONTNEED)
    equal(os.pread(fd, 6, 0), b"before")
    equal(os.pread(fd, 4 * MIB, 100), big)
    os.ftruncate(fd, 3)
    os.fchmod(fd, 0o600)
    os.setxattr(fd, "user.a", b"1")
    equal(os.getxattr(fd, "user.a"), b"1")
    equal((os.pread(fd, 9, 0), os.fstat(fd).st_size), (b"bef", 3))
    os.close(fd)
    equal(get("f"), b"another")


@case
def removed_working_directory():
    os.mkdir("d")
    top = os.getcwd()
    os.chdir("d")
    fd = os.open(".", os.O_RDONLY)
    os.rmdir(os.path.join(top, "d"))
    fails(errno.ENOENT, put, "f")
    fails(errno.ENOENT, os.mkdir, "e")
    assert os.listdir(fd) == [] or True
    equal(os.fstat(fd).st_nlink, 0)
    os.close(fd)
    os.chdir(top)


@case
def append_by_many():
    def writer(w):
        fd = os.open("log", os.O_CREAT | os.O_WRONLY | os.O_APPEND)
        for i in range(300):
            os.write(fd, b"%02d %05d %s\n" % (w, i, b"x" * (i % 90)))
        os.close(fd)

    join([in_child(lambda w=w: writer(w)) for w in range(6)])
    drop("log")
    seen = {}
    for line in get("log").splitlines():
        w, i, rest = line.split(b" ")
        equal((int(i), len(rest)), (seen.get(w, 0), int(i) % 90), "a record")
        seen[w] = int(i) + 1
    equal(sorted(seen.values()), [300] * 6)


@case
def appending_or_not():
    """RWF_APPEND and RWF_NOAPPEND (Linux 6.9) say for one write what O_APPEND says for all."""
    rwf_append, rwf_noappend = 0x10, 0x20
    put("f", b"0123456789")
    fd, at_end = os.open("f", os.O_RDWR), os.open("f", os.O_RDWR | os.O_APPEND)
    equal(os.pwritev(fd, [b"ab"], 3, rwf_append), 2)
    equal(get("f"), b"0123456789ab")
    try:
        equal(os.pwritev(at_end, [b"XY"], 2, rwf_noappend), 2)
        drop("f")
        equal(get("f"), b"01XY456789ab")
        equal(os.pwritev(at_end, [b"Z"], 14, rwf_noappend), 1)
        drop("f")
        equal(get("f"), b"01XY456789ab\0\0Z")
    except OSError as e:
        if e.errno != errno.EOPNOTSUPP:
            raise
    os.write(at_end, b"end")
    drop("f")
    equal(get("f")[-3:], b"end")
    os.close(fd)
    os.close(at_end)


@case
def many_writers_of_one_file():
    size, writers = 6 * MIB, 6
    put("f")

    def writer(w):
        rng = random.Random(w)
        fd = os.open("f", os.O_RDWR)
        blocks = list(range(w, size // 4096, writers))
        rng.shuffle(blocks)
        for n, b in enumerate(blocks):
            os.pwrite(fd, bytes([w + 1]) * 4096, b * 4096)
            if n % 100 == 0:
                os.fdatasync(fd)
        os.close(fd)

    join([in_child(lambda w=w: writer(w)) for w in range(writers)])
    drop("f")
    equal(get("f"), b"".join(bytes([b % writers + 1]) * 4096 for b in range(size // 4096)))


@case
def random_operations_against_a_model():
    seed = int(os.environ.get("POSIX_SEED", time.time_ns() % 1_000_000))
    rng = random.Random(seed)
    model = bytearray()
    limit = 3 * MIB
    fd = os.open("f", os.O_CREAT | os.O_RDWR)
    end = time.time() + float(os.environ.get("POSIX_RANDOM_SECONDS", "5"))
    step, op = 0, ""

    def grow(n):
        if len(model) < n:
            model.extend(bytes(n - len(model)))

    try:
        while time.time() < end:
            step += 1
            op = rng.choice(("write",) * 6 + ("append", "truncate", "punch", "zero", "read", "read", "sync", "drop", "mmap", "reopen"))
            at = rng.choice((rng.randrange(limit), rng.randrange(0, limit, 4096), rng.randrange(20000)))
            n = rng.choice((rng.randrange(1, 9000), rng.randrange(1, 300_000), 4096, 1))
            if op == "append":
                at = len(model)
            if op in ("write", "append") and at + n <= limit:
                data = bytes([step % 255 + 1]) * n
                equal(os.pwrite(fd, data, at), n)
                grow(at)
                model[at : at + n] = data
            elif op == "truncate":
                os.ftruncate(fd, at)
                del model[at:]
                grow(at)
            elif op == "punch":
                call("fallocate", fd, 3, ctypes.c_longlong(at), ctypes.c_longlong(n))
                n = min(n, max(0, len(model) - at))
                model[at : at + n] = bytes(n)
            elif op == "zero" and at + n <= limit:
                call("fallocate", fd, 16, ctypes.c_longlong(at), ctypes.c_longlong(n))
                grow(at + n)
                model[at : at + n] = bytes(n)
            elif op == "read":
                equal(os.pread(fd, n, at), bytes(model[at : at + n]), f"read {n} at {at}")
            elif op == "sync":
                os.fsync(fd)
            elif op == "drop":
                drop("f")
            elif op == "mmap" and len(model) > 0:
                at = min(at, len(model) - 1)
                n = min(n, len(model) - at)
                with mmap.mmap(fd, len(model)) as m:
                    m[at : at + n] = b"M" * n
                model[at : at + n] = b"M" * n
            elif op == "reopen":
                os.close(fd)
                fd = os.open("f", os.O_RDWR)
                equal(os.fstat(fd).st_size, len(model))
        drop("f")
        equal(get("f"), bytes(model), "the whole file at the end")
    except AssertionError as e:
        raise AssertionError(f"POSIX_SEED={seed}, step {step} ({op}): {e}")
    finally:
        os.close(fd)


@case
def kernel_locks():
    put("f", b"x" * 10)
    fd = os.open("f", os.O_RDWR)
    fcntl.lockf(fd, fcntl.LOCK_EX, 5)
    fcntl.flock(fd, fcntl.LOCK_EX)

    def other():
        o = os.open("f", os.O_RDWR)
        fails((errno.EAGAIN, errno.EACCES), fcntl.lockf, o, fcntl.LOCK_EX | fcntl.LOCK_NB, 5)
        fcntl.lockf(o, fcntl.LOCK_EX | fcntl.LOCK_NB, 5, 5)
        fails(errno.EAGAIN, fcntl.flock, o, fcntl.LOCK_SH | fcntl.LOCK_NB)

    join([in_child(other)])
    os.close(fd)


# ---- xattrs ----


@case
def xattrs():
    put("f")
    os.mkdir("d")
    for n in ("f", "d"):
        equal(os.listxattr(n), [a for a in os.listxattr(n) if not a.startswith("user.")])
        os.setxattr(n, "user.one", b"1")
        os.setxattr(n, "user.empty", b"")
        os.setxattr(n, "user.bytes", bytes(range(256)))
        equal(os.getxattr(n, "user.bytes"), bytes(range(256)))
        equal(os.getxattr(n, "user.empty"), b"")
        equal(sorted(a for a in os.listxattr(n) if a.startswith("user.")), ["user.bytes", "user.empty", "user.one"])
        fails(errno.EEXIST, os.setxattr, n, "user.one", b"2", os.XATTR_CREATE)
        fails(errno.ENODATA, os.setxattr, n, "user.two", b"2", os.XATTR_REPLACE)
        os.setxattr(n, "user.one", b"22", os.XATTR_REPLACE)
        equal(os.getxattr(n, "user.one"), b"22")
        os.removexattr(n, "user.one")
        fails(errno.ENODATA, os.getxattr, n, "user.one")
        fails(errno.ENODATA, os.removexattr, n, "user.one")
        fails(errno.EOPNOTSUPP, os.setxattr, n, "nonsense.x", b"1")
        fails(errno.EOPNOTSUPP, os.getxattr, n, "nonsense.x")
        fails(errno.EINVAL, os.setxattr, n, "user.", b"1")
        fails(errno.EINVAL, os.getxattr, n, "user.")
        fails(errno.EINVAL, os.removexattr, n, "user.")
    small = ctypes.create_string_buffer(10)
    fails(errno.ERANGE, call, "getxattr", b"f", b"user.bytes", small, 10)
    os.rename("f", "g")
    equal(os.getxattr("g", "user.bytes"), bytes(range(256)))
    if os.geteuid() == 0:
        os.setxattr("g", "trusted.t", b"t")
        os.setxattr("g", "security.s", b"s")
        os.symlink("g", "s")
        os.setxattr("s", "trusted.link", b"l", follow_symlinks=False)
        equal(os.listxattr("s", follow_symlinks=False).count("trusted.link"), 1)
        equal(os.getxattr("g", "trusted.t"), b"t")


@case
def xattrs_large():
    put("f")
    fails(errno.ERANGE, os.setxattr, "f", "user." + "n" * 251, b"1")
    os.setxattr("f", "user." + "n" * 250, b"1")
    fails((errno.E2BIG, errno.ENOSPC), os.setxattr, "f", "user.big", bytes(65537))
    if not ON_DYNAMICFS:
        return
    os.setxattr("f", "user.big", pattern(65536))
    equal(os.getxattr("f", "user.big"), pattern(65536), "value of 64 KiB")
    for i in range(200):
        os.setxattr("f", f"user.n{i:04}", b"%d" % i)
    names = os.listxattr("f")
    equal(len([n for n in names if n.startswith("user.n0")]), 200)
    equal(os.getxattr("f", "user.n0123"), b"123")


# ---- the filesystem ----


@case
def statfs_is_sane():
    v = os.statvfs(".")
    assert 0 < v.f_bavail <= v.f_bfree <= v.f_blocks, v
    equal(v.f_namemax, 255)
    assert v.f_files >= v.f_ffree > 0, v
    assert v.f_files - v.f_ffree < 1000, f"{v.f_files - v.f_ffree} inodes are said to be in use"
    for attempt in range(5):  # what earlier cases deleted may come back at the same time
        v = os.statvfs(".")
        free = v.f_bavail * v.f_frsize
        n = min(8 * MIB, free // 4)
        put(f"f{attempt}", pattern(n))
        equal(os.stat(f"f{attempt}").st_blocks * 512 >= n, True, "st_blocks covers the content")
        fd = os.open(f"f{attempt}", os.O_RDONLY)
        os.fsync(fd)
        os.close(fd)
        time.sleep(0.3)
        v2 = os.statvfs(".")
        if v2.f_bavail * v2.f_frsize <= free - n // 2:
            return
        time.sleep(2)
    raise AssertionError("free space did not shrink")


@case
def write_limits():
    fd = os.open("f", os.O_CREAT | os.O_RDWR)
    os.write(fd, b"x")
    equal(os.write(fd, b""), 0)
    equal(os.pread(fd, 10, 1 << 50), b"")
    fails(errno.EINVAL, os.pread, fd, 10, -1)
    ro = os.open("f", os.O_RDONLY)
    fails(errno.EBADF, os.write, ro, b"x")
    os.close(ro)
    pid = os.fork()
    if pid == 0:
        import signal

        signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
        resource.setrlimit(resource.RLIMIT_FSIZE, (4096, 4096))
        try:
            fails(errno.EFBIG, os.pwrite, fd, b"x" * 10, 5000)
            os._exit(0)
        except BaseException:
            os._exit(1)
    join([pid])
    os.close(fd)
