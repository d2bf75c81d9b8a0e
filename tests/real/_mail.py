# SPDX-License-Identifier: Apache-2.0
"""Delivers messages: _mail.py maildir DIR WHO COUNT | collect DIR COUNT | spool FILE WHO COUNT LOCK... UNLOCK...

maildir   as its users do: a file in tmp/, synced, renamed into new/
collect   a reader beside them: new/ to cur/, until COUNT messages came, none twice
spool     appends to one file under a lock of other programs (LOCK -- UNLOCK: their command lines), by reading its size first,
          then writing there: two at once would overwrite each other
"""
import os
import socket
import subprocess
import sys
import time


def maildir(path, who, count):
    for i in range(int(count)):
        name = f"{time.time():.6f}.{os.getpid()}_{i}.{socket.gethostname()}"
        with open(f"{path}/tmp/{name}", "x") as out:
            out.write(f"Subject: {who} {i}\n\n" + "text\n" * (i % 50))
            out.flush()
            os.fsync(out.fileno())
        os.link(f"{path}/tmp/{name}", f"{path}/new/{name}")
        os.unlink(f"{path}/tmp/{name}")


def collect(path, count):
    seen, end = set(), time.time() + 120
    while len(seen) < int(count):
        if time.time() > end:
            sys.exit(f"only {len(seen)} of {count} messages came")
        for name in os.listdir(f"{path}/new"):
            os.rename(f"{path}/new/{name}", f"{path}/cur/{name}:2,S")
            lines = open(f"{path}/cur/{name}:2,S").read().split("\n")
            subject = lines[0]
            if subject in seen or lines.count("text") != int(subject.split()[-1]) % 50:
                sys.exit(f"{name}: '{subject}' came twice, or not whole")
            seen.add(subject)
    left = os.listdir(f"{path}/new") + os.listdir(f"{path}/tmp")
    if left or len(os.listdir(f"{path}/cur")) != int(count):
        sys.exit(f"not all is where it belongs: {left[:3]}")


def spool(path, who, count, *commands):
    at = commands.index("--")
    lock, unlock = commands[:at], commands[at + 1:]
    for i in range(int(count)):
        subprocess.run(lock, check=True)
        size = os.stat(path).st_size
        fd = os.open(path, os.O_RDWR)
        os.pwrite(fd, f"From {who} {i}\n\n{'text' * (i % 100)}\n\n".encode(), size)
        os.close(fd)
        subprocess.run(unlock, check=True)


globals()[sys.argv[1]](*sys.argv[2:])
