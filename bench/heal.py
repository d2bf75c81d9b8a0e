#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""What healing costs: rebuilding lost disks, scrubbing, and users beside that.

Pools of six directories (RS 4+2, the default policy) that hold --mib of files:

* scrub: its rate as a part of the rate at which the same segments are read and hashed by a simple loop (readhash, as many
  threads as there are CPUs, 1 MiB or 16 KiB a hash: blocks of fragments are 16 KiB), alternated; median (least..most).
* rebuild: one or two disks are given up and as many added; seconds, rate and bytes read and written for each byte restored,
  unthrottled, nobody else there.
* users: a reader (128 KiB at random, past the page cache) and a writer (128 KiB and fdatasync), one process each, while a
  disk is rebuilt, at the default rate and unthrottled, and while that job is paused, alternated.

Prints Markdown tables. The machine's load is printed with them: on a busy one only ratios of one run say anything.
"""

import argparse
import json
import mmap
import multiprocessing
import os
import random
import re
import shutil
import statistics
import subprocess
import sys
import tempfile
import time

from bench import MIB, Failed, block, default_root, drop_caches, print_table, run

IO_BYTES = 128 << 10


class Pool:
    def __init__(self, binary, root, mib):
        self.binary, self.root, self.mib = binary, root, mib
        self.pool, self.top = os.path.join(root, "pool"), os.path.join(root, "files")
        self.disks = []
        os.makedirs(self.top)
        self.cli("init")
        for _ in range(6):
            self.add_disk()
        self.cli("set", "--rebuild-after", "off", "--background-rate", "unlimited")
        run(binary, "mount", "--pool", self.pool, "--mountpoint", self.top)
        self.is_up = True
        self.fill()

    def cli(self, command, *args):
        return run(self.binary, command, "--pool", self.pool, *args)

    def ask(self, command, *args):
        return json.loads(self.cli(command, *args, "--json"))

    def add_disk(self):
        path = os.path.join(self.root, f"disk{len(self.disks)}")
        os.makedirs(path)
        self.cli("add-disk", "--disk", path)
        self.disks.append(path)

    def fill(self):
        for index in range(0, self.mib, 64):
            with open(os.path.join(self.top, f"f{index}"), "wb", buffering=0) as file:
                for at in range(min(64, self.mib - index)):
                    file.write(block(index + at))
                os.fsync(file.fileno())

    def jobs(self, kind):
        return [job for job in self.ask("jobs")["jobs"] if job["kind"] == kind]

    def disk_bytes(self):
        """Read and written, by all disks, and restored."""
        totals = {"read": 0, "write": 0, "made": 0}
        for line in self.cli("metrics").splitlines():
            match = re.match(r'dynamicfs_disk_bytes_total\{.*operation="(read|write)"\} (\d+)', line)
            made = re.match(r"dynamicfs_repair_bytes_total (\d+)", line)
            if match:
                totals[match[1]] += int(match[2])
            elif made:
                totals["made"] = int(made[1])
        return totals

    def lose(self, count):
        """Gives disks up and adds as many; nothing is rebuilt until begin()."""
        for path in self.disks[:count]:
            self.cli("fail-disk", "--disk", path, "--force")
        for _ in range(count):
            self.add_disk()

    def begin(self):
        self.cli("set", "--rebuild-after", "1s")
        while not any(job["state"] == "running" for job in self.jobs("rebuild")):
            time.sleep(0.02)

    def down(self):
        if self.is_up:
            run(self.binary, "unmount", "--mountpoint", self.top)
            self.is_up = False
        shutil.rmtree(self.root)


# ---- scrub ----


def segments(pool):
    for disk in pool.disks:
        top = os.path.join(disk, "dynamicfs", "segments")
        yield from (os.path.join(top, name) for name in os.listdir(top))


def read_and_hash(options, pool, block_kib):
    files = sorted(segments(pool))
    threads = min(os.cpu_count(), len(pool.disks))
    words = run(options.readhash, str(threads), str(block_kib), *files).split()
    return int(words[0]) / float(words[1]) / 1e6


def scrub(pool):
    number = pool.ask("scrub")["job"]
    while True:
        job = next(j for j in pool.jobs("scrub") if j["id"] == number)
        if job["state"] == "done":
            seconds = (job["changed_ms"] - job["created_ms"]) / 1e3
            return job["scrub"]["bytes"] / seconds / 1e6
        time.sleep(0.1)


def spread(values):
    return f"{statistics.median(values):.2f} ({min(values):.2f}..{max(values):.2f})"


def bench_scrub(options, pool):
    loops = {1024: [], 16: []}
    rates = []
    for _ in range(options.rounds):
        for kib, of in loops.items():
            drop_caches()
            of.append(read_and_hash(options, pool, kib))
        drop_caches()
        rates.append(scrub(pool))
    yield ["scrub", "MB/s", "part of the loop's rate"]
    yield ["scrub", f"{statistics.median(rates):,.0f}", ""]
    for kib, of in loops.items():
        parts = [rate / loop for rate, loop in zip(rates, of)]
        yield [f"read and hash, {kib} KiB", f"{statistics.median(of):,.0f}", spread(parts)]


# ---- rebuild ----


def rebuild(pool, count):
    pool.lose(count)
    before = pool.disk_bytes()
    pool.begin()
    start = time.monotonic()
    while any(job["state"] != "done" for job in pool.jobs("rebuild")):
        if time.monotonic() - start > 3600:
            raise Failed(f"the rebuild does not end: {pool.jobs('rebuild')}")
        time.sleep(0.05)
    seconds = time.monotonic() - start
    after = pool.disk_bytes()
    made = after["made"] - before["made"]
    each = [f"{(after[what] - before[what]) / made:.2f}" for what in ("read", "write")]
    return [f"{seconds:.1f}", f"{made / MIB:,.0f}", f"{made / seconds / 1e6:,.0f}", *each]


def bench_rebuild(options):
    yield ["lost", "seconds", "MiB restored", "MB/s", "bytes read for each", "bytes written for each"]
    for count in (1, 2):
        pool = Pool(options.dynamicfs, tempfile.mkdtemp(prefix="heal-", dir=options.root), options.mib)
        try:
            yield [f"{count} of 6 disks", *rebuild(pool, count)]
        finally:
            pool.down()


# ---- users ----


def user(kind, path, size_bytes, seconds, answer):
    """Latencies in seconds of what one user does for so long."""
    chance, took = random.Random(kind), []
    buffer = mmap.mmap(-1, IO_BYTES)
    buffer.write(bytes(block(7, IO_BYTES)))
    is_reader = kind == "reader"
    fd = os.open(path, os.O_RDONLY | os.O_DIRECT if is_reader else os.O_RDWR)
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        offset = chance.randrange(size_bytes // IO_BYTES) * IO_BYTES
        begin = time.monotonic()
        if is_reader:
            os.preadv(fd, [buffer], offset)
        else:
            os.pwrite(fd, buffer, offset)
            os.fdatasync(fd)
        took.append(time.monotonic() - begin)
    os.close(fd)
    answer.put((kind, took))


def both_users(options, pool):
    answer, work = multiprocessing.Queue(), []
    size = min(64, options.mib) * MIB
    for kind, name in (("reader", "f0"), ("writer", "f64" if options.mib > 64 else "f0")):
        args = (kind, os.path.join(pool.top, name), size, options.seconds, answer)
        work.append(multiprocessing.Process(target=user, args=args))
        work[-1].start()
    figures = dict(answer.get() for _ in work)
    for process in work:
        process.join()
    return {
        kind: (len(took) / options.seconds, statistics.quantiles(took, n=100)[98] * 1e3)
        for kind, took in figures.items()
    }


def order(pool, what):
    for job in pool.jobs("rebuild"):
        if job["state"] not in ("done", "cancelled"):
            try:
                pool.cli("jobs", what, str(job["id"]))
            except Failed:
                pass  # it has just ended


def restored(pool):
    return sum(job["fragments"] for job in pool.jobs("rebuild"))


def beside(options, pool, rate):
    """Rounds of (idle, beside a rebuild), each (operations a second, p99 in ms), and fragments a second."""
    pool.cli("set", "--background-rate", rate)
    rounds, made = [], []
    for _ in range(options.rounds):
        order(pool, "pause")
        idle = both_users(options, pool)
        order(pool, "resume")
        before = restored(pool)
        busy = both_users(options, pool)
        if all(job["state"] == "done" for job in pool.jobs("rebuild")):
            print(f"users at {rate}: the rebuild ended before the round did", file=sys.stderr)
            break
        made.append((restored(pool) - before) / options.seconds)
        rounds.append((idle, busy))
    return rounds, made


def bench_users(options):
    yield ["rate", "user", "ops/s idle", "beside", "part", "p99 ms idle", "beside", "times", "restored/s"]
    for rate in ("64M", "unlimited"):
        pool = Pool(options.dynamicfs, tempfile.mkdtemp(prefix="heal-", dir=options.root), options.mib)
        try:
            pool.lose(1)
            pool.cli("set", "--background-rate", "64M")
            pool.begin()
            rounds, made = beside(options, pool, rate)
        finally:
            pool.down()
        for kind in ("reader", "writer") if rounds else ():
            cells = [rate, kind]
            for what, form in ((0, "{:,.0f}"), (1, "{:.1f}")):
                pairs = [(idle[kind][what], busy[kind][what]) for idle, busy in rounds]
                cells += [form.format(statistics.median(p[i] for p in pairs)) for i in (0, 1)]
                cells.append(spread([b / a for a, b in pairs]))
            yield [*cells, f"{statistics.median(made):.0f}"]


# ---- all ----


def parse():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--dynamicfs", default="build/dynamicfs")
    parser.add_argument("--readhash", default="build/readhash")
    parser.add_argument("--root", default=default_root(), help="where the pools are made")
    parser.add_argument("--mib", type=int, default=4096, help="files that a pool holds")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--seconds", type=float, default=4, help="of users, each time")
    parser.add_argument("--only", choices=("scrub", "rebuild", "users"))
    return parser.parse_args()


def main():
    options = parse()
    if options.only in (None, "scrub"):
        pool = Pool(options.dynamicfs, tempfile.mkdtemp(prefix="heal-", dir=options.root), options.mib)
        try:
            print_table(list(bench_scrub(options, pool)))
        finally:
            pool.down()
        print()
    for name, function in (("rebuild", bench_rebuild), ("users", bench_users)):
        if options.only in (None, name):
            print_table(list(function(options)))
            print()
    load = os.getloadavg()
    print(
        f"{options.mib} MiB in {options.root}, {os.cpu_count()} CPUs, load {load[0]:.1f}"
        f" (5 minutes: {load[1]:.1f})."
    )


if __name__ == "__main__":
    try:
        main()
    except Failed as error:
        sys.exit(f"heal: {error}")
