#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""The same work on a plain directory, on libfuse's passthrough example and on DynamicFS.

The plain directory is what lies below; passthrough is what FUSE itself costs (compiled here from
the example that libfuse3-dev brings; left out where that can't be done). DynamicFS runs over six
directories with its default policy. The rounds are interleaved; the median counts, and of ratios the
least and the most are printed, too, for rounds differ with what else the machine does. "Cold" is
after unmount, dropped caches (as root) and mount. Prints a Markdown table: rates, ratios, and
the CPU seconds of the work and the filesystem's process together; below it the peak RSS.
"""

import argparse
import gzip
import json
import os
import random
import resource
import shutil
import statistics
import subprocess
import sys
import sysconfig
import tarfile
import tempfile
import time

MIB = 1 << 20
EXAMPLES = "/usr/share/doc/libfuse3-dev/examples"
DATA = memoryview(random.Random(1).randbytes(9 * MIB))  # incompressible


def block(index, size_bytes=MIB):
    """The index-th block: neighbours differ, and none is aligned like another."""
    offset = index * 1000003 % (8 * MIB)
    return DATA[offset : offset + size_bytes]


class Failed(Exception):
    pass


def run(*command):
    done = subprocess.run(command, capture_output=True, text=True)
    if done.returncode:
        raise Failed(f"{' '.join(command)}: {(done.stderr or done.stdout).strip()}")
    return done.stdout


def drop_caches():
    os.sync()
    try:
        with open("/proc/sys/vm/drop_caches", "w") as file:
            file.write("3")
    except OSError:
        pass  # not root: the table's heading says so


class Target:
    """Something to measure: a directory `top`, and perhaps a process that serves it."""

    name = "plain"

    def __init__(self, root):
        self.root = root
        self.top = os.path.join(root, "files")
        self.process = None
        self.log = None
        self.peak_rss_kib = 0
        os.makedirs(self.top)

    def up(self):
        pass

    def unmount(self):
        pass

    def down(self):
        try:
            self.unmount()
        except Failed as error:
            print(f"bench: {error}", file=sys.stderr)
            subprocess.run(["fusermount3", "-u", "-z", self.top], capture_output=True)
            if self.process:
                self.process.kill()
                self.process.wait()
        if self.log:
            self.log.close()

    def cold(self):
        self.unmount()
        drop_caches()
        self.up()

    def spawn(self, *command):
        """Starts the server in the foreground and waits until it answers at `top`."""
        before = os.stat(self.top).st_dev
        self.log = self.log or open(os.path.join(self.root, "log"), "wb")
        self.process = subprocess.Popen(command, stdout=self.log, stderr=self.log)
        for _ in range(600):
            if self.process.poll() is not None:
                break
            if os.stat(self.top).st_dev != before:
                return
            time.sleep(0.05)
        self.reap()
        with open(self.log.name, errors="replace") as log:
            raise Failed(f"{' '.join(command)} does not answer: {log.read()[-500:]}")

    def reap(self):
        try:
            self.process.wait(120)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()
            raise Failed(f"{self.name}: the process did not end after the unmount")
        finally:
            self.process = None

    def note_rss(self):
        if self.process:
            with open(f"/proc/{self.process.pid}/status") as status:
                for line in status:
                    if line.startswith("VmHWM:"):
                        self.peak_rss_kib = max(self.peak_rss_kib, int(line.split()[1]))

    def cpu_s(self):
        total = 0.0
        for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN):
            usage = resource.getrusage(who)
            total += usage.ru_utime + usage.ru_stime
        if self.process:
            with open(f"/proc/{self.process.pid}/stat") as stat:
                fields = stat.read().rsplit(")", 1)[1].split()
            total += (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")
        return total


class Passthrough(Target):
    name = "passthrough"

    def __init__(self, root):
        super().__init__(root)
        self.source = os.path.join(root, "source")
        self.binary = os.path.join(root, "passthrough_ll")
        os.makedirs(self.source)
        self.compile()
        self.up()

    def compile(self):
        for name in ("passthrough_ll.c", "passthrough_helpers.h"):
            path, target = os.path.join(EXAMPLES, name), os.path.join(self.root, name)
            if os.path.exists(path):
                shutil.copy(path, target)
            elif os.path.exists(path + ".gz"):
                with gzip.open(path + ".gz") as packed, open(target, "wb") as file:
                    shutil.copyfileobj(packed, file)
            else:
                raise Failed(f"there is no {path}")
        flags = run("pkg-config", "--cflags", "--libs", "fuse3").split()
        source = os.path.join(self.root, "passthrough_ll.c")
        run("gcc", "-O2", "-w", "-I" + self.root, source, "-o", self.binary, *flags)

    def up(self):
        options = f"source={self.source},writeback,cache=always"
        self.spawn(self.binary, "-f", "-o", options, self.top)

    def unmount(self):
        if self.process:
            self.note_rss()
            run("fusermount3", "-u", self.top)
            self.reap()


class DynamicFS(Target):
    name = "DynamicFS"

    def __init__(self, root, binary):
        super().__init__(root)
        self.binary = binary
        self.pool = os.path.join(root, "pool")
        run(binary, "init", "--pool", self.pool)
        for index in range(6):
            disk = os.path.join(root, f"disk{index}")
            os.makedirs(disk)
            run(binary, "add-disk", "--pool", self.pool, "--disk", disk)
        self.up()

    def up(self):
        self.spawn(
            self.binary, "mount", "--pool", self.pool, "--mountpoint", self.top, "--foreground"
        )

    def unmount(self):
        if self.process:
            self.note_rss()
            run(self.binary, "unmount", "--mountpoint", self.top)
            self.reap()


# ---- the work: each function returns how many units it did ----


def write_file(path, mib):
    with open(path, "wb", buffering=0) as file:
        for index in range(mib):
            if file.write(block(index)) != MIB:
                raise Failed(f"short write to {path}")
        os.fsync(file.fileno())
    return mib * MIB / 1e6


def read_file(path, mib):
    with open(path, "rb", buffering=0) as file:
        for index in range(mib):
            if file.read(MIB) != block(index):
                raise Failed(f"{path}: block {index} is not what was written")
    return mib * MIB / 1e6


def random_reads(path, offsets):
    buffer = bytearray(4096)
    fd = os.open(path, os.O_RDONLY)
    for offset in offsets:
        if os.preadv(fd, [buffer], offset) != 4096:
            raise Failed(f"short read of {path}")
    os.close(fd)
    return len(offsets)


def random_writes(path, offsets, sync_each):
    fd = os.open(path, os.O_RDWR)
    for index, offset in enumerate(offsets):
        os.pwrite(fd, block(index, 4096), offset)
        if sync_each:
            os.fsync(fd)
    os.fsync(fd)
    os.close(fd)
    return len(offsets)


def create(paths):
    for index, path in enumerate(paths):
        fd = os.open(path, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o644)
        os.write(fd, block(index, 4096))
        os.close(fd)
    os.sync()
    return len(paths)


def read_small(paths):
    for path in paths:
        with open(path, "rb", buffering=0) as file:
            if len(file.read(8192)) != 4096:
                raise Failed(f"short read of {path}")
    return len(paths)


def for_each(function, paths):
    for path in paths:
        function(path)
    return len(paths)


def untar(archive, top, count):
    run("tar", "xf", archive, "-C", top)
    os.sync()
    return count


class Bench:
    def __init__(self, options, scratch):
        self.scale = options.scale
        self.results = {}  # (work, target) -> [(rate, cpu_s)]
        self.units = {}  # work -> unit, in the order of the table
        self.archive, self.archive_count = self.make_archive(scratch)

    def scaled(self, count):
        return max(1, int(count * self.scale))

    def make_archive(self, scratch):
        """A tree of real files that is there wherever this program runs: Python's library."""
        path, count = os.path.join(scratch, "tree.tar"), 0
        top = sysconfig.get_path("stdlib")
        with tarfile.open(path, "w") as archive:
            for directory, names, files in os.walk(top):
                names[:] = sorted(n for n in names if n not in ("__pycache__", "dist-packages"))
                for name in sorted(files):
                    file = os.path.join(directory, name)
                    if os.path.isfile(file) and count < self.scaled(1000):
                        archive.add(file, os.path.relpath(file, top), recursive=False)
                        count += 1
        return path, count

    def measure(self, target, work, unit, function, *args):
        self.units.setdefault(work, unit)
        cpu, begin = target.cpu_s(), time.perf_counter()
        units = function(*args)
        seconds = time.perf_counter() - begin
        self.results.setdefault((work, target.name), []).append(
            (units / seconds, target.cpu_s() - cpu)
        )

    def round(self, target):
        top = os.path.join(target.top, "bench")
        os.makedirs(top)
        self.big_file(target, os.path.join(top, "big"))
        self.small_files(target, os.path.join(top, "small"))
        tree = os.path.join(top, "tree")
        os.makedirs(tree)
        args = (self.archive, tree, self.archive_count)
        self.measure(target, "untar a tree, sync", "files/s", untar, *args)
        shutil.rmtree(top)
        os.sync()
        target.note_rss()

    def big_file(self, target, path):
        mib = self.scaled(256)
        self.measure(target, "write 256 MiB, fsync", "MB/s", write_file, path, mib)
        target.cold()
        self.measure(target, "read it, cold", "MB/s", read_file, path, mib)
        offsets = [4096 * index for index in range(mib * 256)]
        random.Random(2).shuffle(offsets)
        reads, writes, syncs = self.scaled(5000), self.scaled(10000), self.scaled(500)
        target.cold()
        work = "read 4 KiB at random, cold"
        self.measure(target, work, "/s", random_reads, path, offsets[:reads])
        work = "overwrite 4 KiB at random"
        self.measure(target, work, "/s", random_writes, path, offsets[:writes], False)
        work = "overwrite 4 KiB, fsync each"
        self.measure(target, work, "/s", random_writes, path, offsets[-syncs:], True)
        os.unlink(path)

    def small_files(self, target, top):
        count = self.scaled(2000)
        for index in range(20):
            os.makedirs(os.path.join(top, str(index)))
        paths = [os.path.join(top, str(index % 20), f"f{index}") for index in range(count)]
        self.measure(target, "create 4 KiB files, sync", "files/s", create, paths)
        random.Random(3).shuffle(paths)
        target.cold()
        self.measure(target, "stat them, cold", "files/s", for_each, os.stat, paths)
        target.cold()
        self.measure(target, "read them, cold", "files/s", read_small, paths)
        self.measure(target, "delete them", "files/s", for_each, os.unlink, paths)

    def ratio(self, work, ours, other):
        """Of the same round, for the machine's load differs from one to the next: median (least..most)."""
        pairs = zip(self.results[work, ours], self.results[work, other])
        each = [one / two for (one, _), (two, _) in pairs]
        return f"{statistics.median(each):.2f} ({min(each):.2f}..{max(each):.2f})"

    def table(self, targets):
        names = [target.name for target in targets]
        others = names[:-1]
        yield ["work", "unit", *names, *[f"of {n}" for n in others], *[f"CPU s, {n}" for n in names]]
        for work, unit in self.units.items():
            rates, cpus = {}, []
            for name in names:
                rounds = self.results[work, name]
                rates[name] = statistics.median(rate for rate, _ in rounds)
                cpus.append(f"{statistics.median(cpu for _, cpu in rounds):.2f}")
            ratios = [self.ratio(work, names[-1], name) for name in others]
            yield [work, unit, *[f"{rates[name]:,.0f}" for name in names], *ratios, *cpus]


def print_table(rows):
    widths = [max(len(row[i]) for row in rows) for i in range(len(rows[0]))]
    for index, row in enumerate(rows):
        cells = [c.ljust(w) if i < 2 else c.rjust(w) for i, (c, w) in enumerate(zip(row, widths))]
        print("| " + " | ".join(cells) + " |")
        if index == 0:
            marks = ["-" * w if i < 2 else "-" * (w - 1) + ":" for i, w in enumerate(widths)]
            print("| " + " | ".join(marks) + " |")


def free_bytes(path):
    try:
        stat = os.statvfs(path)
    except OSError:
        return 0
    return stat.f_bavail * stat.f_frsize


def default_root():
    return "/dev/shm" if free_bytes("/dev/shm") >= 3 << 30 else tempfile.gettempdir()


def make_targets(options, scratch):
    targets = [Target(os.path.join(scratch, "plain"))]
    try:
        targets.append(Passthrough(os.path.join(scratch, "passthrough")))
    except (Failed, OSError) as error:
        print(f"passthrough is left out: {error}", file=sys.stderr)
    try:
        targets.append(DynamicFS(os.path.join(scratch, "dynamicfs"), options.dynamicfs))
    except BaseException:
        for target in targets:
            target.down()
        raise
    return targets


def bench(options, scratch):
    targets = make_targets(options, scratch)
    try:
        work = Bench(options, scratch)
        for number in range(options.rounds):
            for target in targets:
                print(f"round {number + 1}: {target.name}", file=sys.stderr)
                work.round(target)
        rows = list(work.table(targets))
    finally:
        for target in targets:
            target.down()
    print_table(rows)
    print()
    peaks = [f"{t.name} {t.peak_rss_kib / 1024:.0f} MiB" for t in targets if t.peak_rss_kib]
    print(f"Peak RSS: {', '.join(peaks)}.")
    cold = "" if os.geteuid() == 0 else " Not run as root: caches below the mounts were warm."
    load = os.getloadavg()
    print(
        f"{options.rounds} rounds in {options.root}, {os.cpu_count()} CPUs, load {load[0]:.1f}"
        f" (5 minutes: {load[1]:.1f}).{cold}"
    )
    if options.json:
        with open(options.json, "w") as file:
            json.dump([dict(zip(rows[0], row)) for row in rows[1:]], file, indent=1)


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--dynamicfs", default="build/dynamicfs", help="the program")
    parser.add_argument("--root", default=default_root(), help="where to work (%(default)s)")
    parser.add_argument("--rounds", type=int, default=3, help="the median counts (%(default)s)")
    parser.add_argument("--scale", type=float, default=1.0, help="0.1: a tenth of the work")
    parser.add_argument("--json", metavar="FILE", help="also write the table as JSON")
    options = parser.parse_args()
    options.dynamicfs = os.path.abspath(options.dynamicfs)
    scratch = tempfile.mkdtemp(prefix="dynamicfs-bench-", dir=options.root)
    try:
        bench(options, scratch)
    except (Failed, OSError) as error:
        print(f"bench: {error}", file=sys.stderr)
        return 1
    finally:
        shutil.rmtree(scratch, ignore_errors=True)
    return 0


if __name__ == "__main__":
    sys.exit(main())
