# SPDX-License-Identifier: Apache-2.0
"""What can be done with an immutable or append-only file or directory, tried in the working directory, as root. Prints a line for
each attempt: flags.sh compares them with those on ext4."""

import array
import ctypes
import errno
import fcntl
import os

GET, SET, VERSION = 0x80086601, 0x40086602, 0x80087601
FLAGS = {"-": 0, "i": 0x10, "a": 0x20}
NOBODY = 65534
OURS = os.environ.get("FLAGS_OURS") == "1"
libc = ctypes.CDLL(None, use_errno=True)


def flags(path, value=None):
    fd = os.open(path, os.O_RDONLY)
    try:
        word = array.array("i", [0, 0])
        fcntl.ioctl(fd, GET, word, True)
        if value is not None:
            word[0] = word[0] & ~0x30 | value
            fcntl.ioctl(fd, SET, word)
        return word[0] & 0x30
    finally:
        os.close(fd)


def tell(what, fn, *args, **kw):
    try:
        fn(*args, **kw)
        print(what, "yes")
    except OSError as e:
        print(what, errno.errorcode[e.errno])


def tell_or_refused(what, flag, fn, *args):
    """A descriptor that was opened before +a, without O_APPEND, writes on where ext4 has it. A FUSE server is not told when O_APPEND
    is cleared, so ours refuses both."""
    if flag != "a":
        tell(what, fn, *args)
        return
    try:
        fn(*args)
        refused = False
    except OSError as e:
        refused = e.errno == errno.EPERM
    print(what, "as expected" if refused == OURS else "not as expected")


def opened(path, how):
    os.close(os.open(path, how))


def put(path, data=b"0123456789"):
    with open(path, "wb") as f:
        f.write(data)


def libc_fallocate(fd, mode):
    if libc.fallocate(fd, mode, ctypes.c_long(0), ctypes.c_long(4)):
        raise OSError(ctypes.get_errno(), "fallocate")


def fallocate(path, mode):
    fd = os.open(path, os.O_WRONLY | os.O_APPEND)
    try:
        libc_fallocate(fd, mode)
    finally:
        os.close(fd)


def of_a_file(flag):
    def fresh():
        for name in ("f", "g", "h", "l"):
            if os.path.lexists(name):
                if name != "l":
                    flags(name, 0)
                os.unlink(name)
        put("f")
        put("g", b"other")
        os.setxattr("f", "user.there", b"1")
        flags("f", FLAGS[flag])

    def then(what, fn, *args, **kw):
        fresh()
        tell(f"{flag} file {what}", fn, *args, **kw)
        if os.path.exists("f"):
            print("  ", open("f", "rb").read(), oct(os.stat("f").st_mode), sorted(os.listxattr("f")), flags("f"))

    for name in ("O_RDONLY", "O_WRONLY", "O_RDWR", "O_APPEND", "O_TRUNC"):
        then(name, opened, "f", getattr(os, name) | (os.O_WRONLY if name in ("O_APPEND", "O_TRUNC") else 0))
    then("append and truncate", opened, "f", os.O_WRONLY | os.O_APPEND | os.O_TRUNC)
    then("create over it", opened, "f", os.O_WRONLY | os.O_CREAT)
    then("truncate", os.truncate, "f", 3)
    then("grow", os.truncate, "f", 30)
    then("unlink", os.unlink, "f")
    then("rename", os.rename, "f", "h")
    then("rename over it", os.rename, "g", "f")
    then("link", os.link, "f", "l")
    then("chmod", os.chmod, "f", 0o600)
    then("chown", os.chown, "f", 5, 5)
    then("touch", os.utime, "f")
    then("touch with a time", os.utime, "f", ns=(1, 1))
    then("setxattr", os.setxattr, "f", "user.new", b"1")
    then("removexattr", os.removexattr, "f", "user.there")
    then("setfacl", os.setxattr, "f", "system.posix_acl_access", bytes.fromhex("0200000001000600ffffffff04000400ffffffff20000400ffffffff"))
    for mode in (0, 1, 3, 16, 17):
        then(f"fallocate {mode}", fallocate, "f", mode)

    # descriptors from before
    fresh()
    flags("f", 0)
    at, end = os.open("f", os.O_RDWR), os.open("f", os.O_WRONLY | os.O_APPEND)
    cleared = os.open("f", os.O_WRONLY | os.O_APPEND)
    os.write(end, b"before")
    flags("f", FLAGS[flag])
    tell_or_refused(f"{flag} write through a descriptor from before", flag, os.pwrite, at, b"X", 0)
    tell(f"{flag} append through one", os.write, end, b"after")
    tell(f"{flag} pwrite to it", os.pwrite, end, b"after", 0)
    tell(f"{flag} ftruncate", os.ftruncate, at, 2)
    try:
        fcntl.fcntl(cleared, fcntl.F_SETFL, 0)
    except OSError:
        pass
    tell_or_refused(f"{flag} write where O_APPEND was cleared", flag, os.pwrite, cleared, b"Y", 0)
    for fd in (at, end, cleared):
        os.close(fd)
    print("  ", open("f", "rb").read()[1:21])
    fresh()
    flags("f", 0)


def of_a_directory(flag):
    def clear():
        for path, dirs, files in os.walk(".", topdown=True):
            if path != ".":
                flags(path, 0)
        os.system("rm -rf d e out*")

    def then(what, fn, *args, **kw):
        clear()
        os.mkdir("d")
        os.mkdir("d/sub")
        put("d/in")
        put("d/in2")
        put("out")
        os.mkdir("outdir")
        flags("d", FLAGS[flag])
        tell(f"{flag} directory {what}", fn, *args, **kw)
        print("  ", sorted(os.listdir("d")) if os.path.exists("d") else "gone")

    then("create", put, "d/new")
    then("mkdir", os.mkdir, "d/new")
    then("symlink", os.symlink, "x", "d/new")
    then("mkfifo", os.mkfifo, "d/new")
    then("link into", os.link, "out", "d/new")
    then("rename into", os.rename, "out", "d/new")
    then("rename a directory into", os.rename, "outdir", "d/new")
    then("replace in", os.rename, "out", "d/in")
    then("rename out of", os.rename, "d/in", "out2")
    then("rename in", os.rename, "d/in", "d/new")
    then("unlink in", os.unlink, "d/in")
    then("rmdir in", os.rmdir, "d/sub")
    then("rename", os.rename, "d", "e")
    then("chmod", os.chmod, "d", 0o700)
    then("touch", os.utime, "d")
    then("setxattr", os.setxattr, "d", "user.new", b"1")
    then("write in", put, "d/in")
    clear()
    os.mkdir("d")
    flags("d", FLAGS[flag])
    tell(f"{flag} directory rmdir", os.rmdir, "d")
    clear()


def as_nobody(fn):
    """What fn raises, in a process of that user."""
    r, w = os.pipe()
    if os.fork() == 0:
        os.setgroups([])
        os.setresgid(NOBODY, NOBODY, NOBODY)
        os.setresuid(NOBODY, NOBODY, NOBODY)
        try:
            fn()
            os.write(w, b"yes")
        except OSError as e:
            os.write(w, errno.errorcode[e.errno].encode())
        os._exit(0)
    os.close(w)
    os.wait()
    said = os.read(r, 100).decode()
    os.close(r)
    return said


def of_set_id_bits(flag):
    """A change takes them away; one that is refused does not."""
    def then(what, fn, who):
        if os.path.exists("f"):
            flags("f", 0)
            os.unlink("f")
        put("f")
        os.chown("f", NOBODY, NOBODY)
        os.chmod("f", 0o6777)
        at, end = os.open("f", os.O_RDWR), os.open("f", os.O_WRONLY | os.O_APPEND)
        flags("f", FLAGS[flag])
        said = as_nobody(lambda: fn(at, end)) if who == "nobody" else tell(f"{flag} {what}, set-id", fn, at, end)
        print(flag, what, "of a set-id file", said, oct(os.stat("f").st_mode))
        os.close(at)
        os.close(end)
        flags("f", 0)

    then("chown", lambda at, end: os.chown("f", 5, -1), "root")
    then("chgrp", lambda at, end: os.chown("f", -1, 5), "root")
    for who in ("root", "nobody"):
        then("append by " + who, lambda at, end: os.write(end, b"x"), who)
        then("truncate by " + who, lambda at, end: os.truncate("f", 3), who)
        then("ftruncate by " + who, lambda at, end: os.ftruncate(at, 3), who)
        then("open and truncate by " + who, lambda at, end: opened("f", os.O_WRONLY | os.O_TRUNC), who)
        for mode in (0, 3):
            then(f"fallocate {mode} by {who}", lambda at, end, mode=mode: libc_fallocate(end, mode), who)
    if flag != "a":  # see tell_or_refused
        then("write by nobody", lambda at, end: os.pwrite(at, b"x", 0), "nobody")


def of_others():
    put("f")
    os.chown("f", NOBODY, NOBODY)
    os.mkfifo("p")
    fd = os.open("f", os.O_RDONLY)
    tell("a flag that is none", fcntl.ioctl, fd, SET, array.array("i", [1 << 30, 0]))
    os.close(fd)
    flags("f", FLAGS["a"])
    os.setuid(NOBODY)
    tell("the owner, taking a flag", flags, "f", 0)
    tell("the owner, giving one", flags, "f", FLAGS["i"] | FLAGS["a"])
    tell("the owner, changing nothing", flags, "f", FLAGS["a"])
    tell("the owner, opening it", opened, "f", os.O_WRONLY)
    tell("the owner, appending", opened, "f", os.O_WRONLY | os.O_APPEND)
    print(flags("f"))


def version(path):
    fd = os.open(path, os.O_RDONLY)
    word = array.array("i", [0, 77])
    fcntl.ioctl(fd, VERSION, word, True)
    os.close(fd)
    assert word[1] == 77, "more was written than an int"
    return word[0]


for f in FLAGS:
    of_a_file(f)
    of_a_directory(f)
    of_set_id_bits(f)
put("v")
first = version("v")
assert first == version("v")
os.unlink("v")
put("v")
print("another file has another version", first != version("v"))
of_others()
