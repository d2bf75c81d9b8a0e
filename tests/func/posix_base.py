# SPDX-License-Identifier: Apache-2.0
"""What the files of POSIX cases share: the list of cases, its runner, and words to write them in."""

import errno
import os
import random
import shutil
import sys
import time
import traceback

sys.path.insert(0, os.path.join(os.path.dirname(os.path.realpath(__file__)), ".."))
from libc import call, libc  # noqa: E402

MIB = 1 << 20
NOBODY = 65534
# Some limits are this filesystem's own.
ON_DYNAMICFS = os.environ.get("POSIX_DYNAMICFS") == "1"
cases = []


class Skip(Exception):
    pass


def case(fn):
    cases.append(fn)
    return fn


def fails(code, fn, *args, **kw):
    """fn must fail with one of the errno values."""
    codes = code if isinstance(code, tuple) else (code,)
    try:
        result = fn(*args, **kw)
    except OSError as e:
        names = "/".join(errno.errorcode[c] for c in codes)
        assert e.errno in codes, f"{fn.__name__}{args[:2]}: {errno.errorcode[e.errno]}, not {names}"
        return
    raise AssertionError(f"{fn.__name__}{args[:2]} did not fail but gave {result!r}")


def equal(got, want, what=""):
    if isinstance(want, bytes) and len(want) > 200:
        if got != want:
            at = next((i for i, (a, b) in enumerate(zip(got, want)) if a != b), min(len(got), len(want)))
            raise AssertionError(f"{what}: bytes differ from offset {at} on (length {len(got)}, not {len(want)})")
        return
    assert got == want, f"{what}: {got!r}, not {want!r}"


def put(path, data=b""):
    with open(path, "wb") as f:
        f.write(data)


def get(path):
    with open(path, "rb") as f:
        return f.read()


def drop(path):
    """Makes the kernel forget the file's pages, so that the filesystem itself is asked."""
    fd = os.open(path, os.O_RDONLY)
    try:
        os.fsync(fd)
        os.posix_fadvise(fd, 0, 0, os.POSIX_FADV_DONTNEED)
    finally:
        os.close(fd)


def need_root():
    if os.geteuid() != 0:
        raise Skip("needs root")


def as_user(fn, uid=NOBODY, gid=NOBODY, groups=()):
    """Runs fn in a child of another user; what it raises is raised here."""
    need_root()
    r, w = os.pipe()
    pid = os.fork()
    if pid == 0:
        code = 1
        try:
            os.close(r)
            os.setgroups(list(groups))
            os.setgid(gid)
            os.setuid(uid)
            fn()
            code = 0
        except BaseException as e:
            os.write(w, f"{type(e).__name__}: {e}".encode()[:4000])
        os._exit(code)
    os.close(w)
    said = os.read(r, 4096).decode()
    os.close(r)
    status = os.waitpid(pid, 0)[1]
    assert status == 0, f"as user {uid}: {said}"


def in_child(fn):
    pid = os.fork()
    if pid == 0:
        code = 1
        try:
            fn()
            code = 0
        except BaseException:
            traceback.print_exc()
        os._exit(code)
    return pid


def join(pids):
    for pid in pids:
        equal(os.waitpid(pid, 0)[1], 0, "a child's status")


def tick():
    time.sleep(0.012)


def later(path, before, *fields):
    """Asserts that exactly these of atime, mtime, ctime have grown since before (mtime and ctime)."""
    now = os.lstat(path)
    for f in ("st_mtime_ns", "st_ctime_ns"):
        grown = getattr(now, f) > getattr(before, f)
        assert grown == (f in fields), f"{path}: {f} {'changed' if grown else 'did not change'}"


M, C = "st_mtime_ns", "st_ctime_ns"


def pattern(n, seed=1):
    return random.Random(seed).randbytes(n)


def run():
    base = os.path.join(os.path.abspath(sys.argv[1]), "posix-cases")
    wanted = sys.argv[2:]
    failed = 0
    os.umask(0o022)
    for fn in cases:
        if wanted and fn.__name__ not in wanted:
            continue
        shutil.rmtree(base, ignore_errors=True)
        work = os.path.join(base, "case")
        os.makedirs(work)
        os.chdir(work)
        start = time.time()
        try:
            fn()
            line = f"ok {fn.__name__}"
        except Skip as e:
            line = f"skipped {fn.__name__}: {e}"
        except Exception as e:
            failed += 1
            frames = traceback.extract_tb(e.__traceback__)
            at = [f.lineno for f in frames if f.name not in ("equal", "fails", "call")][-1]
            text = f"{type(e).__name__}: {e}" if not isinstance(e, AssertionError) else str(e)
            line = f"not ok {fn.__name__}: line {at}: {text}".replace("\n", " ")
        if os.environ.get("POSIX_TIMES"):
            line += f"  # {time.time() - start:.2f} s"
        print(line, flush=True)
        os.chdir("/")
    shutil.rmtree(base, ignore_errors=True)
    return 1 if failed else 0
