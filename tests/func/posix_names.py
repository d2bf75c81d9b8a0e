# SPDX-License-Identifier: Apache-2.0
"""Names, links, renames, times, owners, directories."""

import ctypes
import errno
import os
import shutil
import socket
import stat
import time

from posix_base import *

# ---- names ----


@case
def create_and_open_flags():
    fd = os.open("a", os.O_CREAT | os.O_EXCL | os.O_RDWR, 0o640)
    os.write(fd, b"hello")
    os.close(fd)
    fails(errno.EEXIST, os.open, "a", os.O_CREAT | os.O_EXCL | os.O_RDWR)
    fails(errno.ENOENT, os.open, "b", os.O_RDWR)
    fails(errno.ENOTDIR, os.open, "a/b", os.O_RDWR)
    fails(errno.ENOTDIR, os.open, "a", os.O_RDONLY | os.O_DIRECTORY)
    os.symlink("a", "link")
    fails(errno.ELOOP, os.open, "link", os.O_RDONLY | os.O_NOFOLLOW)
    os.close(os.open("a", os.O_CREAT | os.O_RDWR))
    equal(get("a"), b"hello")
    os.close(os.open("a", os.O_WRONLY | os.O_TRUNC))
    equal(os.stat("a").st_size, 0)
    os.mkdir("d")
    fails(errno.EISDIR, os.open, "d", os.O_WRONLY)
    fails(errno.EISDIR, os.open, "d", os.O_CREAT | os.O_RDWR)
    if ON_DYNAMICFS:
        fails((errno.EOPNOTSUPP, errno.EISDIR), os.open, ".", os.O_TMPFILE | os.O_RDWR)


@case
def umask_and_modes():
    old = os.umask(0o027)
    try:
        os.close(os.open("f", os.O_CREAT | os.O_WRONLY, 0o777))
        os.mkdir("d", 0o777)
        os.mkfifo("p", 0o666)
    finally:
        os.umask(old)
    equal(stat.S_IMODE(os.stat("f").st_mode), 0o750)
    equal(stat.S_IMODE(os.stat("d").st_mode), 0o750)
    equal(stat.S_IMODE(os.stat("p").st_mode), 0o640)
    os.chmod("f", 0o4711)
    equal(os.stat("f").st_mode, stat.S_IFREG | 0o4711)
    os.chmod("f", 0)
    equal(os.stat("f").st_mode, stat.S_IFREG)


@case
def unlink_and_rmdir_errors():
    os.mkdir("d")
    put("d/f")
    put("f")
    fails((errno.EISDIR, errno.EPERM), os.unlink, "d")
    fails(errno.ENOTDIR, os.rmdir, "f")
    fails((errno.ENOTEMPTY, errno.EEXIST), os.rmdir, "d")
    fails(errno.EINVAL, os.rmdir, "d/.")
    fails((errno.ENOTEMPTY, errno.EEXIST), os.rmdir, "d/..")
    fails(errno.ENOENT, os.unlink, "none")
    fails(errno.ENOENT, os.rmdir, "none")
    fails(errno.EEXIST, os.mkdir, "d")
    fails(errno.EEXIST, os.mkdir, "f")
    fails(errno.ENOENT, os.mkdir, "none/d")
    os.unlink("d/f")
    os.rmdir("d")
    fails(errno.ENOENT, os.stat, "d")


@case
def names_of_any_bytes():
    names = [b"n" * 255, b"\xff\xfe", b"a b\nc\td", "ä".encode(), "a\u0308".encode(), b"\\", b"...", b"~", b"-", b"*"]
    for n in names:
        put(n, n)
    equal(sorted(os.listdir(b".")), sorted(names))
    for n in names:
        equal(get(n), n)
    fails(errno.ENAMETOOLONG, put, b"n" * 256)
    fails(errno.ENAMETOOLONG, os.mkdir, b"n" * 256)
    fails(errno.ENAMETOOLONG, os.symlink, b"x", b"n" * 256)
    fails(errno.ENAMETOOLONG, os.rename, names[0], b"n" * 256)
    fails(errno.ENAMETOOLONG, os.link, names[0], b"n" * 256)
    fails(errno.ENAMETOOLONG, os.lstat, b"n" * 256)


@case
def deep_paths():
    top = os.getcwd()
    for i in range(60):
        os.mkdir("d" * 200)
        os.chdir("d" * 200)
    put("bottom", b"x")
    equal(get("bottom"), b"x")
    os.chdir(top)
    shutil.rmtree("d" * 200)


@case
def symlinks():
    for n in (1, 100, 4095):
        target = "t" * n
        os.symlink(target, f"l{n}")
        equal(os.readlink(f"l{n}"), target)
        st = os.lstat(f"l{n}")
        equal(st.st_size, n)
        assert stat.S_ISLNK(st.st_mode)
    fails((errno.ENAMETOOLONG, errno.ENOENT), os.symlink, "t" * 4096, "long")
    fails(errno.ENOENT, os.stat, "l1")
    fails(errno.EINVAL, os.readlink, ".")
    os.symlink("loop", "loop")
    fails(errno.ELOOP, os.stat, "loop")
    os.mkdir("d")
    put("d/f", b"via")
    os.symlink("d", "dl")
    equal(get("dl/f"), b"via")
    fails(errno.EEXIST, os.symlink, "x", "dl")


@case
def hard_links():
    put("a", b"1")
    os.link("a", "b")
    os.mkdir("d")
    os.link("a", "d/c")
    equal(os.stat("b").st_nlink, 3)
    equal(os.stat("a").st_ino, os.stat("d/c").st_ino)
    put("d/c", b"other")
    equal(get("a"), b"other")
    fails(errno.EEXIST, os.link, "a", "b")
    fails(errno.EPERM, os.link, "d", "e")
    fails(errno.ENOENT, os.link, "none", "e")
    os.unlink("a")
    equal(os.stat("b").st_nlink, 2)
    os.unlink("b")
    os.unlink("d/c")
    os.symlink("nowhere", "s")
    os.link("s", "s2", follow_symlinks=False)
    equal(os.readlink("s2"), "nowhere")
    equal(os.lstat("s").st_nlink, 2)


@case
def directory_link_counts():
    os.mkdir("d")
    equal(os.stat("d").st_nlink, 2)
    for n in "abc":
        os.mkdir("d/" + n)
    put("d/file")
    equal(os.stat("d").st_nlink, 5)
    os.mkdir("e")
    os.rename("d/a", "e/a")
    equal((os.stat("d").st_nlink, os.stat("e").st_nlink), (4, 3))
    os.rmdir("d/b")
    os.mkdir("empty")
    os.rename("d/c", "empty")
    equal(os.stat("d").st_nlink, 2)
    equal(os.stat("e/a/..").st_ino, os.stat("e").st_ino)


@case
def special_files():
    os.mkfifo("fifo")
    assert stat.S_ISFIFO(os.stat("fifo").st_mode)
    pid = in_child(lambda: put("fifo", b"through"))
    equal(get("fifo"), b"through")
    join([pid])
    s = socket.socket(socket.AF_UNIX)
    s.bind("sock")
    s.listen(1)
    assert stat.S_ISSOCK(os.stat("sock").st_mode)
    c = socket.socket(socket.AF_UNIX)
    c.connect("sock")
    c.close()
    s.close()
    if os.geteuid() == 0:
        os.mknod("null", stat.S_IFCHR | 0o666, os.makedev(1, 3))
        equal(os.stat("null").st_rdev, os.makedev(1, 3))
        os.mknod("blk", stat.S_IFBLK | 0o600, os.makedev(259, 70000))
        equal(os.stat("blk").st_rdev, os.makedev(259, 70000))


@case
def inode_numbers():
    put("a")
    put("b")
    os.mkdir("d")
    inos = {os.stat(n).st_ino for n in ("a", "b", "d", ".")}
    equal(len(inos), 4)
    equal({os.stat(n).st_dev for n in ("a", "b", "d", ".")}, {os.stat(".").st_dev})
    with os.scandir(".") as it:
        for e in it:
            equal(e.inode(), os.lstat(e.name).st_ino, e.name)
            equal(e.is_dir(follow_symlinks=False), e.name == "d", e.name)


# ---- rename ----

NOREPLACE, EXCHANGE, WHITEOUT = 1, 2, 4


def renameat2(a, b, flags):
    call("renameat2", -100, os.fsencode(a), -100, os.fsencode(b), flags)


@case
def rename_plain():
    put("a", b"A")
    put("b", b"B")
    ino = os.stat("a").st_ino
    with open("b", "rb") as old:
        os.rename("a", "b")
        equal(get("b"), b"A")
        equal(os.stat("b").st_ino, ino)
        equal(old.read(), b"B", "the replaced file's open handle")
        equal(os.fstat(old.fileno()).st_nlink, 0)
    fails(errno.ENOENT, os.stat, "a")
    fails(errno.ENOENT, os.rename, "a", "c")
    os.mkdir("d")
    put("d/x")
    os.mkdir("e")
    fails(errno.EISDIR, os.rename, "b", "d")
    fails(errno.ENOTDIR, os.rename, "d", "b")
    fails((errno.ENOTEMPTY, errno.EEXIST), os.rename, "e", "d")
    os.rename("d", "e")
    equal(os.listdir("e"), ["x"])
    fails(errno.EINVAL, os.rename, "e", "e/inside")
    fails((errno.EINVAL, errno.EBUSY), os.rename, "e/.", "f")
    os.link("b", "b2")
    os.rename("b", "b2")  # two names of one file: nothing happens
    equal((os.path.exists("b"), os.stat("b").st_nlink), (True, 2))
    os.rename("b", "b")
    equal(get("b"), b"A")


@case
def rename_flags():
    put("a", b"A")
    put("b", b"B")
    os.mkdir("d")
    put("d/x", b"X")
    os.mkdir("e")
    fails(errno.EEXIST, renameat2, "a", "b", NOREPLACE)
    equal((get("a"), get("b")), (b"A", b"B"))
    renameat2("a", "c", NOREPLACE)
    equal(get("c"), b"A")
    renameat2("c", "b", EXCHANGE)
    equal((get("c"), get("b")), (b"B", b"A"))
    fails(errno.ENOENT, renameat2, "b", "none", EXCHANGE)
    renameat2("b", "d", EXCHANGE)
    equal((get("d"), get("b/x")), (b"A", b"X"))
    links = os.stat(".").st_nlink, os.stat("e").st_nlink
    renameat2("b", "e", EXCHANGE)
    equal(get("e/x"), b"X")
    renameat2("d", "e/x", EXCHANGE)
    equal((get("d"), get("e/x")), (b"X", b"A"))
    equal((os.stat(".").st_nlink, os.stat("e").st_nlink), links)
    os.mkdir("p")
    os.mkdir("p/q")
    put("f")
    renameat2("p/q", "f", EXCHANGE)  # a directory leaves p, a file comes
    equal((os.stat("p").st_nlink, os.stat("f/..").st_ino), (2, os.stat(".").st_ino))
    fails(errno.EINVAL, renameat2, "p", "p/q", EXCHANGE)
    fails((errno.EINVAL, errno.EOPNOTSUPP, errno.EPERM), renameat2, "d", "zz", NOREPLACE | EXCHANGE)


@case
def rename_leaves_a_whiteout():
    need_root()  # mknod of a device
    put("a", b"A")
    put("b", b"B")
    os.mkdir("d")
    entries = os.stat(".").st_size
    renameat2("a", "c", WHITEOUT)
    w = os.lstat("a")
    equal((stat.S_IFMT(w.st_mode), w.st_rdev, w.st_nlink), (stat.S_IFCHR, 0, 1), "what is left")
    equal((get("c"), sorted(os.listdir("."))), (b"A", ["a", "b", "c", "d"]))
    renameat2("c", "b", WHITEOUT)
    equal((get("b"), stat.S_ISCHR(os.lstat("c").st_mode)), (b"A", True))
    fails(errno.EEXIST, renameat2, "b", "a", WHITEOUT | NOREPLACE)
    links = os.stat(".").st_nlink
    renameat2("d", "e", WHITEOUT)
    equal((os.stat(".").st_nlink, os.path.isdir("e")), (links, True))
    if ON_DYNAMICFS:
        equal(os.stat(".").st_size, entries + 2, "entries")
    fails(errno.EINVAL, renameat2, "a", "b", WHITEOUT | EXCHANGE)


@case
def rename_loops_are_refused():
    os.makedirs("a/b/c")
    fails(errno.EINVAL, os.rename, "a", "a/b/c/d")
    fails((errno.ENOTEMPTY, errno.EINVAL, errno.EEXIST), os.rename, "a/b/c", "a")
    pids = []
    os.makedirs("x/1")
    os.makedirs("y/2")

    def swap(frm, to, n):
        for _ in range(n):
            try:
                os.rename(frm, to)
                os.rename(to, frm)
            except OSError as e:
                assert e.errno in (errno.EINVAL, errno.ENOENT, errno.ENOTEMPTY), e

    for frm, to in (("x", "y/2/x"), ("y", "x/1/y")):
        pids.append(in_child(lambda frm=frm, to=to: swap(frm, to, 100)))
    join(pids)
    found = sum(len(dirs) for _, dirs, _ in os.walk("."))
    equal(found, 7, "directories that can be reached")


# ---- times ----


@case
def times_of_changes():
    put("f", b"1")
    os.mkdir("d")
    before = os.stat("f"), os.stat("d"), os.stat(".")
    tick()
    with open("f", "r+b") as f:
        f.write(b"2")
    later("f", before[0], M, C)
    before = (os.stat("f"),) + before[1:]
    tick()
    os.chmod("f", 0o600)
    later("f", before[0], C)
    later(".", before[2])
    before = (os.stat("f"),) + before[1:]
    tick()
    os.link("f", "d/g")
    later("f", before[0], C)
    later("d", before[1], M, C)
    before = os.stat("f"), os.stat("d"), os.stat(".")
    tick()
    os.rename("d/g", "h")
    later("d", before[1], M, C)
    later(".", before[2], M, C)
    before = os.stat("f"), os.stat("d"), os.stat(".")
    tick()
    os.unlink("h")
    later("f", before[0], C)
    later(".", before[2], M, C)
    before = os.stat("f"), os.stat("d"), os.stat(".")
    tick()
    os.truncate("f", 100)
    later("f", before[0], M, C)
    before = os.stat("f"), os.stat("d"), os.stat(".")
    tick()
    os.setxattr("f", "user.x", b"1")
    later("f", before[0], C)
    put("d/new")
    later("d", before[1], M, C)
    before = os.stat("f"), os.stat("d"), os.stat(".")
    tick()
    with open("d/new", "wb"):
        pass
    later("d", before[1])
    get("f")
    later("f", before[0])


@case
def times_of_access():
    put("f", b"data")
    os.mkdir("d")
    put("d/x")
    for path, read in (("f", lambda: get("f")), ("d", lambda: os.listdir("d"))):
        before = os.stat(path)
        tick()
        read()
        after = os.stat(path)
        assert after.st_atime_ns > before.st_atime_ns, f"{path}: atime did not change"
        equal((after.st_mtime_ns, after.st_ctime_ns), (before.st_mtime_ns, before.st_ctime_ns), path)
        again = after.st_atime_ns
        tick()
        read()
        equal(os.stat(path).st_atime_ns, again, f"{path}: atime, though nothing has changed since")
    put("quiet", b"data")
    before = os.stat("quiet")
    tick()
    fd = os.open("quiet", os.O_RDONLY | os.O_NOATIME)
    equal(os.read(fd, 4), b"data")
    os.close(fd)
    equal(os.stat("quiet").st_atime_ns, before.st_atime_ns, "atime of what was opened with O_NOATIME")


@case
def times_are_near_now():
    lo = time.time_ns() - 20_000_000
    put("f", b"x")
    os.mkdir("d")
    hi = time.time_ns() + 20_000_000
    for n in ("f", "d"):
        st = os.stat(n)
        for v in (st.st_atime_ns, st.st_mtime_ns, st.st_ctime_ns):
            assert lo <= v <= hi, f"{n}: {v} is not between {lo} and {hi}"


@case
def times_can_be_set():
    put("f")
    for a, m in (
        (1_234_567_890_123_456_789, 987_654_321_987_654_321),
        (0, 1),
        (4_102_444_800_000_000_001, 253_402_300_799_999_999_999 // 100),
        (-1, -1_500_000_000_000_000_001),
    ):
        os.utime("f", ns=(a, m))
        st = os.stat("f")
        equal((st.st_atime_ns, st.st_mtime_ns), (a, m))
    ctime = os.stat("f").st_ctime_ns
    tick()
    os.utime("f", ns=(5, 6))
    assert os.stat("f").st_ctime_ns > ctime
    put("g")
    os.utime("g")
    assert abs(os.stat("g").st_mtime_ns - time.time_ns()) < 2_000_000_000
    # UTIME_OMIT and UTIME_NOW
    ts = (ctypes.c_long * 4)(0, 0x3FFFFFFE, 77, 88)
    call("utimensat", -100, b"f", ts, 0)
    st = os.stat("f")
    equal((st.st_atime_ns, st.st_mtime_ns), (5, 77_000_000_088))
    ts = (ctypes.c_long * 4)(0, 0x3FFFFFFF, 0, 0x3FFFFFFE)
    call("utimensat", -100, b"f", ts, 0)
    st = os.stat("f")
    assert abs(st.st_atime_ns - time.time_ns()) < 2_000_000_000
    equal(st.st_mtime_ns, 77_000_000_088)
    os.symlink("f", "s")
    os.utime("s", ns=(1, 2), follow_symlinks=False)
    equal(os.lstat("s").st_mtime_ns, 2)


# ---- permissions ----


@case
def owners_and_access():
    need_root()
    put("mine", b"secret")
    os.chmod("mine", 0o600)
    os.chmod(".", 0o755)
    as_user(lambda: fails(errno.EACCES, os.open, "mine", os.O_RDONLY))
    as_user(lambda: fails(errno.EACCES, os.open, "new", os.O_CREAT | os.O_WRONLY))
    as_user(lambda: fails(errno.EPERM, os.chmod, "mine", 0o777))
    as_user(lambda: fails(errno.EPERM, os.chown, "mine", NOBODY, NOBODY))
    as_user(lambda: fails(errno.EPERM, os.utime, "mine", ns=(1, 1)))
    os.chown("mine", NOBODY, 100)
    st = os.stat("mine")
    equal((st.st_uid, st.st_gid), (NOBODY, 100))
    as_user(lambda: equal(get("mine"), b"secret"))
    as_user(lambda: fails(errno.EPERM, os.chown, "mine", 0, -1))
    as_user(lambda: os.chown("mine", -1, 7), groups=(7,))
    equal(os.stat("mine").st_gid, 7)
    os.symlink("mine", "s")
    os.lchown("s", 1, 2)
    equal((os.lstat("s").st_uid, os.stat("s").st_uid), (1, NOBODY))
    os.chmod(".", 0o777)
    as_user(lambda: put("made"), uid=1234, gid=4321)
    st = os.stat("made")
    equal((st.st_uid, st.st_gid), (1234, 4321))


@case
def sticky_directory():
    need_root()
    os.mkdir("t")
    os.chmod("t", 0o1777)
    as_user(lambda: put("t/one"), uid=1001)
    as_user(lambda: put("t/two"), uid=1002)
    as_user(lambda: fails((errno.EPERM, errno.EACCES), os.unlink, "t/one"), uid=1002)
    as_user(lambda: fails((errno.EPERM, errno.EACCES), os.rename, "t/one", "t/x"), uid=1002)
    as_user(lambda: fails((errno.EPERM, errno.EACCES), os.rename, "t/two", "t/one"), uid=1002)
    as_user(lambda: os.unlink("t/one"), uid=1001)
    equal(os.listdir("t"), ["two"])


@case
def setgid_directory():
    need_root()
    os.mkdir("g")
    os.chown("g", 0, 55)
    os.chmod("g", 0o2777)
    as_user(lambda: (put("g/f"), os.mkdir("g/d"), os.symlink("x", "g/s"), os.mkfifo("g/p")), uid=1001, gid=1001)
    equal([os.lstat("g/" + n).st_gid for n in "fdsp"], [55] * 4)
    equal(os.stat("g/d").st_mode & stat.S_ISGID, stat.S_ISGID, "setgid of the new directory")
    equal(os.stat("g/f").st_mode & stat.S_ISGID, 0)


@case
def setuid_is_cleared():
    need_root()

    def fresh():
        put("f", b"12345")
        os.chown("f", 1001, 1001)
        os.chmod("f", 0o6777)

    def bits():
        return stat.S_IMODE(os.stat("f").st_mode)

    def write():
        with open("f", "r+b") as f:
            f.write(b"x")

    def trunc():
        os.close(os.open("f", os.O_WRONLY | os.O_TRUNC))

    def allocate(mode):
        fd = os.open("f", os.O_WRONLY)
        r = libc.fallocate(fd, mode, ctypes.c_long(0), ctypes.c_long(4))
        assert r == 0 or ctypes.get_errno() == errno.EOPNOTSUPP, os.strerror(ctypes.get_errno())
        os.close(fd)

    punch_keeping_size, zero = 3, 0x10
    for change in (
        write,
        trunc,
        lambda: os.truncate("f", 2),
        lambda: allocate(punch_keeping_size),
        lambda: allocate(zero),
    ):
        fresh()
        as_user(change, uid=1002)
        equal(bits(), 0o777)
        for gid, after in ((1002, 0o767), (88, 0o2767)):
            fresh()
            os.chown("f", 1001, 88)
            os.chmod("f", 0o2767)
            as_user(change, uid=1002, gid=gid)
            equal(bits(), after, f"setgid of a file that its group can't execute, by one of group {gid}")
    for kind in (os.mkfifo, os.mknod):
        kind("p")
        os.chmod("p", 0o6777)
        os.chown("p", 5, 5)
        equal(stat.S_IMODE(os.stat("p").st_mode), 0o777, "after chown of a fifo or an empty file")
        os.unlink("p")
    fresh()
    write()
    equal(bits(), 0o6777, "after a write by root")
    os.chown("f", 5, 5)
    equal(bits(), 0o777, "after chown")
    os.chown("f", 1001, 88)
    as_user(lambda: os.chmod("f", 0o2770), uid=1001, gid=1001)
    equal(bits(), 0o770, "setgid of a group that one isn't in")


# ---- directories ----


@case
def listing_and_seeking():
    names = {f"f{i:04}" for i in range(700)}
    for n in names:
        put(n)
    libc.opendir.restype = ctypes.c_void_p
    libc.readdir.restype = ctypes.c_void_p
    libc.telldir.restype = ctypes.c_long
    for f in ("readdir", "telldir", "rewinddir", "closedir"):
        getattr(libc, f).argtypes = [ctypes.c_void_p]
    libc.seekdir.argtypes = [ctypes.c_void_p, ctypes.c_long]
    d = libc.opendir(b".")

    def read():
        e = libc.readdir(d)
        return ctypes.string_at(e + 19).decode() if e else None

    order, places = [], []
    while True:
        places.append(libc.telldir(d))
        n = read()
        if n is None:
            break
        order.append(n)
    equal(len(order), len(set(order)), "entries listed twice")
    equal(set(order), names | {".", ".."})
    for i in (0, 1, 2, 3, 350, 699, 701):
        libc.seekdir(d, places[i])
        equal(read(), order[i], f"after seekdir to entry {i}")
    libc.rewinddir(d)
    equal(read(), order[0])
    libc.closedir(d)


@case
def listing_while_entries_come_and_go():
    stay = [f"stay{i:05}" for i in range(int(os.environ.get("POSIX_ENTRIES", "5000")))]
    for n in stay:
        os.mknod(n)
    stop = os.path.join(os.path.dirname(os.getcwd()), "stop-churn")

    def churn(w):
        i = 0
        while not os.path.exists(stop):
            os.mknod(f"go{w}-{i}")
            if i >= 50:
                os.unlink(f"go{w}-{i - 50}")
            if i % 7 == 0:
                os.rename(f"go{w}-{i}", f"went{w}-{i}")
                os.rename(f"went{w}-{i}", f"go{w}-{i}")
            i += 1

    pids = [in_child(lambda w=w: churn(w)) for w in range(2)]
    try:
        for turn in range(8):
            got = os.listdir(".")
            kept = sorted(n for n in got if n.startswith("stay"))
            equal(len(kept), len(set(kept)), f"turn {turn}: entries that stay, listed more than once")
            equal(len(kept), len(stay), f"turn {turn}: entries that stay")
            got.sort()
            twice = [a for a, b in zip(got, got[1:]) if a == b]
            equal(twice, [], f"turn {turn}: listed twice")
    finally:
        put(stop)
        join(pids)
        os.unlink(stop)
    before = os.stat(".")
    for n in os.listdir("."):
        os.unlink(n)
    equal(os.listdir("."), [])
    equal(os.stat(".").st_nlink, before.st_nlink)


@case
def removing_while_listing():
    for i in range(3000):
        os.mknod(f"f{i}")
    removed = 0
    with os.scandir(".") as it:
        for e in it:
            os.unlink(e.name)
            removed += 1
    equal((removed, os.listdir(".")), (3000, []))
    os.makedirs("t/a/b/c")
    for i in range(300):
        put(f"t/a/b/f{i}", b"x")
    shutil.rmtree("t")


@case
def creating_by_many():
    def worker(w):
        for i in range(300):
            put(f"w{w}-{i}", b"%d" % i)
            if i % 3 == 0:
                os.unlink(f"w{w}-{i}")
            # all of them fight for this one
            try:
                os.close(os.open(f"prize{i}", os.O_CREAT | os.O_EXCL | os.O_WRONLY))
                put(f"won{i}-by{w}")
            except FileExistsError:
                pass

    join([in_child(lambda w=w: worker(w)) for w in range(4)])
    names = os.listdir(".")
    equal(len([n for n in names if n.startswith("w") and not n.startswith("won")]), 4 * 200)
    equal(len([n for n in names if n.startswith("won")]), 300, "winners of O_EXCL")


@case
def a_million_entries():
    count = int(os.environ.get("POSIX_MILLION", "0"))
    if count == 0:
        raise Skip("asked for by POSIX_MILLION=1000000")
    start = time.time()
    for i in range(count):
        os.mknod(f"entry-{i:07}")
    made = time.time()
    equal(sum(1 for _ in os.scandir(".")), count)
    listed = time.time()
    equal(len(set(os.listdir("."))), count)
    again = time.time()
    for i in range(count):
        os.unlink(f"entry-{i:07}")
    print(
        f"# {count} entries: made in {made - start:.1f} s, listed in {listed - made:.1f} s, "
        f"again in {again - listed:.1f} s, removed in {time.time() - again:.1f} s"
    )
