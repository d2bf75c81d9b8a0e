#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""File handles that outlive what the kernel and the daemon remember: name_to_handle_at(2), open_by_handle_at(2).

_handles.py take DIR FILE    writes the handles of all below DIR, with what each is, to FILE
_handles.py open DIR FILE    opens all of them by handle and compares
_handles.py stale DIR FILE   none of them may be opened: ESTALE
_handles.py gone DIR         what has no name any more, and is stood in, open, or held by O_PATH
_handles.py listed DIR       likewise, where a listing alone has told the kernel of it
"""
import ctypes
import errno
import json
import os
import stat
import sys

libc = ctypes.CDLL(None, use_errno=True)
AT_FDCWD = -100
HANDLE_MAX = 128


class FileHandle(ctypes.Structure):
    _fields_ = [("bytes", ctypes.c_uint), ("type", ctypes.c_int), ("data", ctypes.c_ubyte * HANDLE_MAX)]


def take_handle(path):
    handle, mount_id = FileHandle(bytes=HANDLE_MAX), ctypes.c_int()
    if libc.name_to_handle_at(AT_FDCWD, os.fsencode(path), ctypes.byref(handle), ctypes.byref(mount_id), 0):
        raise OSError(ctypes.get_errno(), "name_to_handle_at " + path)
    return handle.type, bytes(handle.data[: handle.bytes]).hex()


def open_handle(mount, kind, text, flags):
    data = bytes.fromhex(text)
    handle = FileHandle(bytes=len(data), type=kind)
    ctypes.memmove(handle.data, data, len(data))
    fd = libc.open_by_handle_at(mount, ctypes.byref(handle), flags)
    if fd < 0:
        raise OSError(ctypes.get_errno(), "open_by_handle_at")
    return fd


def what(st):
    return [st.st_ino, st.st_mode, st.st_nlink, st.st_uid, st.st_size, st.st_mtime_ns]


def everything(top):
    for dir_name, dirs, files in os.walk(top):
        yield dir_name
        for name in files + [d for d in dirs if os.path.islink(os.path.join(dir_name, d))]:
            yield os.path.join(dir_name, name)


def take(top, out):
    rows = []
    for path in everything(top):
        st = os.lstat(path)
        row = {"handle": take_handle(path), "what": what(st)}
        if stat.S_ISREG(st.st_mode):
            with open(path, "rb") as f:
                row["content"] = f.read().hex()
        if stat.S_ISDIR(st.st_mode):
            row["names"] = sorted(os.listdir(path))
        rows.append(row)
    with open(out, "w") as f:
        json.dump(rows, f)


def compare(mount, row):
    mode = row["what"][1]
    plain = stat.S_ISREG(mode) or stat.S_ISDIR(mode)
    fd = open_handle(mount, *row["handle"], os.O_RDONLY if plain else os.O_PATH)
    try:
        assert what(os.fstat(fd)) == row["what"], (what(os.fstat(fd)), row["what"])
        if "content" in row:
            assert os.read(fd, 1 << 20).hex() == row["content"]
        if "names" in row:
            assert sorted(os.listdir(fd)) == row["names"]
            # connected to the root: the kernel has asked for the parents
            assert os.stat(os.readlink(f"/proc/self/fd/{fd}")).st_ino == row["what"][0]
            up = os.open("..", os.O_RDONLY | os.O_DIRECTORY, dir_fd=fd)
            assert row["what"][0] in [e.inode() for e in os.scandir(up)] + [os.fstat(up).st_ino]
            os.close(up)
    finally:
        os.close(fd)


def each(top, path, fn):
    mount = os.open(top, os.O_RDONLY | os.O_DIRECTORY)
    with open(path) as f:
        rows = json.load(f)
    for row in rows:
        fn(mount, row)
    os.close(mount)
    return len(rows)


def is_stale(mount, row):
    try:
        os.close(open_handle(mount, *row["handle"], os.O_PATH))
    except OSError as e:
        assert e.errno == errno.ESTALE, e
        return
    raise AssertionError(f"inode {row['what'][0]} could be opened")


def gone(top):
    for name in ("open", "path"):
        with open(os.path.join(top, name), "w") as f:
            f.write("content of " + name)
    os.mkdir(os.path.join(top, "stood"))
    fd = os.open(os.path.join(top, "open"), os.O_RDWR)
    path = os.open(os.path.join(top, "path"), os.O_PATH)
    os.chdir(os.path.join(top, "stood"))
    os.unlink("../open")
    os.unlink("../path")
    os.rmdir("../stood")
    for i in range(200):  # others push them out of any cache
        with open(os.path.join(top, f"other{i}"), "w") as f:
            f.write("x")
    for i in range(200):
        os.stat(os.path.join(top, f"other{i}"))
    assert os.stat(".").st_nlink == 0 and os.listdir(".") == []
    assert os.fstat(path).st_nlink == 0 and os.fstat(fd).st_nlink == 0
    assert os.pread(fd, 100, 0) == b"content of open"
    os.pwrite(fd, b"CONTENT", 0)
    os.fsync(fd)
    assert os.pread(fd, 100, 0) == b"CONTENT of open"
    for what_fails, expected in (
        (lambda: open("new", "w"), errno.ENOENT),
        (lambda: os.open(f"/proc/self/fd/{path}", os.O_RDONLY), errno.ESTALE),
    ):
        try:
            what_fails()
        except OSError as e:
            assert e.errno == expected, e
        else:
            raise AssertionError("it worked")
    os.close(fd)
    os.close(path)
    os.chdir("/")


def listed(top):
    names = os.listdir(top)
    fds = [os.open(os.path.join(top, name), os.O_PATH) for name in names]
    for name in names:
        os.unlink(os.path.join(top, name))
    for name in os.listdir(os.path.join(top, "..")):
        os.lstat(os.path.join(top, "..", name))
    for fd in fds:
        assert os.fstat(fd).st_nlink == 0
        os.close(fd)


def main():
    word, top, rest = sys.argv[1], sys.argv[2], sys.argv[3:]
    if word == "take":
        take(top, *rest)
    elif word == "open":
        assert each(top, rest[0], compare) > 0
    elif word == "stale":
        assert each(top, rest[0], is_stale) > 0
    elif word == "listed":
        listed(top)
    else:
        gone(top)


main()
