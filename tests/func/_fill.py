#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Fills a directory, to the end or to a number of files, and checks what it holds.

usage: _fill.py fill DIR SIZE [COUNT]    prints how many files were written whole
       _fill.py check DIR SIZE COUNT     exit 1 when one of the first COUNT is not there, or is wrong
Files are DIR/NNN/NNNNNN, each with bytes of its own."""
import os
import sys


def content(i, size):
    return (b"%08d" % i * (size // 8 + 1))[:size]


def path(top, i):
    return "%s/%03d/%06d" % (top, i // 500, i)


def fill(top, size, count):
    for i in range(count):
        try:
            os.makedirs(os.path.dirname(path(top, i)), exist_ok=True)
            f = os.open(path(top, i), os.O_CREAT | os.O_WRONLY | os.O_TRUNC, 0o600)
            try:
                done = 0
                while done < size:
                    done += os.write(f, content(i, size)[done:])
            finally:
                os.close(f)
        except OSError as e:
            print(e, file=sys.stderr)
            return i
    return count


def check(top, size, count):
    for i in range(count):
        try:
            with open(path(top, i), "rb") as f:
                if f.read() != content(i, size):
                    sys.exit("%s is wrong" % path(top, i))
        except OSError as e:
            sys.exit(str(e))


if __name__ == "__main__":
    what, top, size = sys.argv[1], sys.argv[2], int(sys.argv[3])
    count = int(sys.argv[4]) if len(sys.argv) > 4 else 10**9
    if what == "fill":
        print(fill(top, size, count))
    else:
        check(top, size, count)
