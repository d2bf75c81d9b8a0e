# SPDX-License-Identifier: Apache-2.0
"""Writers of an SQLite database, and what must hold once they or the filesystem were killed.

usage: _sqlite.py write DATABASE JOURNAL_MODE WRITER ACKNOWLEDGED
       _sqlite.py verify DATABASE ACKNOWLEDGED...

A writer commits rows of its own, numbered, beside a sum that all writers share, and notes each number off the mount once
the commit has returned. All that is noted must be there, no row twice and none missing before another, and the sum right.
"""
import hashlib
import os
import random
import sqlite3
import sys


def connect(path):
    db = sqlite3.connect(path, timeout=60, isolation_level=None)
    db.execute("PRAGMA synchronous=EXTRA")
    return db


def digest(writer, n, content):
    return hashlib.sha256(b"%d %d " % (writer, n) + content).hexdigest()


def write(path, mode, writer, noted):
    writer = int(writer)
    db = connect(path)
    got = db.execute(f"PRAGMA journal_mode={mode}").fetchone()[0]
    if got != mode:
        sys.exit(f"the journal mode is {got}, not {mode}")
    db.execute("CREATE TABLE IF NOT EXISTS rows(writer, n, content BLOB, digest, PRIMARY KEY(writer, n))")
    db.execute("CREATE TABLE IF NOT EXISTS total(id INTEGER PRIMARY KEY, n, bytes)")
    db.execute("INSERT OR IGNORE INTO total VALUES(1, 0, 0)")
    out = os.open(noted, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o644)
    n = db.execute("SELECT coalesce(max(n), 0) FROM rows WHERE writer=?", (writer,)).fetchone()[0]
    while True:
        n += 1
        content = os.urandom(random.randrange(1, 20000))
        db.execute("BEGIN IMMEDIATE")
        db.execute("INSERT INTO rows VALUES(?, ?, ?, ?)", (writer, n, content, digest(writer, n, content)))
        db.execute("UPDATE total SET n = n + 1, bytes = bytes + ?", (len(content),))
        db.execute("COMMIT")
        os.write(out, b"%d %d\n" % (writer, n))


def verify(path, noted):
    db = connect(path)
    said = db.execute("PRAGMA integrity_check").fetchone()[0]
    if said != "ok":
        sys.exit(f"integrity_check: {said}")
    counts, total_bytes = {}, 0
    for writer, n, content, want in db.execute("SELECT writer, n, content, digest FROM rows ORDER BY writer, n"):
        if n != counts.get(writer, 0) + 1:
            sys.exit(f"writer {writer}: row {n} follows row {counts.get(writer, 0)}")
        if digest(writer, n, content) != want:
            sys.exit(f"writer {writer}: row {n} is another one's")
        counts[writer] = n
        total_bytes += len(content)
    if db.execute("SELECT n, bytes FROM total").fetchone() != (sum(counts.values()), total_bytes):
        sys.exit("the sum is not that of the rows")
    for name in noted:
        for line in open(name):
            writer, n = map(int, line.split())
            if n > counts.get(writer, 0):
                sys.exit(f"writer {writer}: row {n} was committed and is not there")
    print(f"{sum(counts.values())} rows")


if sys.argv[1] == "write":
    write(*sys.argv[2:])
else:
    verify(sys.argv[2], sys.argv[3:])
