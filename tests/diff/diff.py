# SPDX-License-Identifier: Apache-2.0
"""The same operations on a DynamicFS and on ext4: is there a difference?

Several processes take turns in an order that the seed says; each has a twin on the other filesystem. A sequence is some hundred
operations in directories of its own, so that what fails is short from the beginning; then it is shrunk. run.sh mounts both."""

import json
import marshal
import os
import signal
import struct
import sys

import known
import look
import ops
from gen import Generator
from pool import Pool, arguments
from shrink import shrink

SEQUENCE = 1000  # operations


class Process:
    """A worker, root until told otherwise, that sees only the tree below root."""

    def __init__(self, root):
        to_read, self.to = os.pipe()
        self.of, to_write = os.pipe()
        self.pid = os.fork()
        if self.pid == 0:
            try:
                serve(root, to_read, to_write)
            finally:
                os._exit(1)
        os.close(to_read)
        os.close(to_write)

    def ask(self, step):
        data = marshal.dumps(step)
        try:
            os.write(self.to, struct.pack("I", len(data)) + data)
        except BrokenPipeError:
            pass  # its answer will be that it died

    def answer(self):
        return receive(self.of) or ["died"]

    def end(self):
        os.close(self.to)
        os.close(self.of)
        os.waitpid(self.pid, 0)


def receive(fd):
    head = os.read(fd, 4)
    if len(head) < 4:
        return None
    left, data = struct.unpack("I", head)[0], b""
    while len(data) < left:
        part = os.read(fd, left - len(data))
        if not part:
            return None
        data += part
    return marshal.loads(data)


def serve(root, to_read, to_write):
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    for fd in range(3, 256):
        if fd not in (to_read, to_write):
            try:
                os.close(fd)  # else others' pipes are held open
            except OSError:
                pass
    os.chroot(root)
    os.chdir("/")
    os.umask(0o022)
    worker = ops.Worker()
    while step := receive(to_read):
        answer = marshal.dumps(worker.do(step[1], step[2:]))
        os.write(to_write, struct.pack("I", len(answer)) + answer)
    os._exit(0)


class Difference:
    def __init__(self, at, step, kind, said):
        self.at, self.step, self.kind, self.said = at, step, kind, said

    def __str__(self):
        return f"{json.dumps(self.step)}: {self.said}"


class Pair:
    """Two trees, ours and theirs, with their workers."""

    def __init__(self, args, name):
        self.roots = [os.path.join(os.path.abspath(d), name) for d in (args.ours, args.other)]
        for root in self.roots:
            os.mkdir(root, 0o777)
            os.chmod(root, 0o777)
        self.eyes = [look.Eye(root) for root in self.roots]
        self.pool, self.workers = Pool(args.ours, args.program, args.pool), args.workers
        self.enter()

    def enter(self):
        self.pairs = [[Process(root) for root in self.roots] for _ in range(self.workers)]

    def leave(self):
        for pair in self.pairs:
            for process in pair:
                process.end()
        self.pairs = []

    def end(self):
        self.leave()
        for root in self.roots:
            look.clear(os.fsencode(root))

    def do(self, at, step):
        """None, a Difference, or a row of known.py that ends the sequence."""
        if step[0] == "look":
            return self.look(at, step)
        if step[0] == "remount":
            self.leave()
            self.pool.remount()
            self.enter()
            return None
        pair = self.pairs[step[0]]
        for process in pair:
            process.ask(step)
        ours, theirs = (process.answer() for process in pair)
        assert "raised" not in (ours[0], theirs[0]), f"{step}: {ours}, {theirs}"
        if ours == theirs:
            return None
        row = known.result(step, ours, theirs, self.flagged)
        if row:
            row.times += 1
            return row if row.parts else None
        return Difference(at, step, [step[1], ours[0], theirs[0]], f"{ours} here, {theirs} on ext4")

    def flagged(self):
        return any(entry.get("flags") for entry in look.Eye(self.roots[1]).look(True, content=False).values())

    def look(self, at, step):
        ours, theirs = (eye.look(len(step) > 1) for eye in self.eyes)
        if ours == theirs:
            return None
        for path in sorted(ours.keys() | theirs.keys()):
            if path not in ours or path not in theirs:
                where = "here" if path in ours else "on ext4"
                return Difference(at, step, ["look", "names"], f"{path!r} is only {where}")
            mine, other = ours[path], theirs[path]
            fields = [f for f in {**mine, **other} if not known.same(f, mine, other)]
            if fields:
                said = "; ".join(f"{f} of {path!r}: {mine.get(f)} here, {other.get(f)} on ext4" for f in fields)
                return Difference(at, step, ["look", *fields], said)
        return None


class Runs:
    """Counts directories, so that each run has fresh ones."""

    def __init__(self, args):
        self.args, self.count = args, 0

    def run(self, steps):
        """The first Difference of them, or None; and how many steps were done."""
        self.count += 1
        pair = Pair(self.args, f"diff{os.getpid()}-{self.count}")
        at = -1
        try:
            for at, step in enumerate(steps):
                found = pair.do(at, step)
                if found:
                    return (found if isinstance(found, Difference) else None), at + 1
            return None, at + 1
        finally:
            pair.end()

    def report(self, name, steps, found):
        """Shrinks what differs and says how to see it again."""
        print(f"difference in {name}: {found}", flush=True)
        steps = steps[: found.at + 1]

        def fails(part):
            again = self.run(part)[0]
            return again is not None and again.kind == found.kind

        looked = [s for step in steps for s in (step, found.step)] if found.kind[0] == "look" else steps
        if looked != steps and fails(looked):
            steps = looked[: self.run(looked)[1]]  # one look after each: which of them was it?
        short = [s for s in steps[:-1] if isinstance(s[0], int)] + [["look"], *steps[-2:]]
        if fails(short):
            steps = short
        if not fails(steps):
            print("it was not there when the same steps were done again", flush=True)
        else:
            steps = shrink(steps, fails, self.args.shrink)
            again = self.run(steps)[0]
            print(f"shrunk to {len(steps)} steps: {again}", flush=True)
        path = os.path.join(self.args.keep, f"diff-{name.replace(' ', '-').replace('/', '.')}.steps")
        with open(path, "w") as f:
            f.write(f"# {found}\n")
            f.writelines(json.dumps(step) + "\n" for step in steps)
        sys.stdout.writelines("  " + json.dumps(step) + "\n" for step in steps[:60])
        print(f"to see it again: tests/diff/run.sh --replay {path}", flush=True)


def random_runs(args, seed, lane=0):
    """Exit code: are there differences?"""
    runs, done, found_in = Runs(args), 0, 0
    number = first = args.sequence or 0
    while done < args.ops and found_in < args.differences:
        count = min(SEQUENCE, args.ops - done)
        steps = list(Generator(f"{seed}/{lane}/{number}", args.workers, remounts=not lane).steps(count))
        found, at = runs.run(steps)
        done += sum(isinstance(step[0], int) for step in steps[:at])
        if found:
            found_in += 1
            runs.report(f"seed {seed} lane {lane} sequence {number}", steps, found)
        number += 1
    print(f"seed {seed} lane {lane}: {done} operations in {number - first} sequences, {found_in} with a difference", flush=True)
    for row in known.RESULTS:
        if row.times:
            print(f"  {row.times} times: {row.why}", flush=True)
    return 1 if found_in else 0


def concurrent(args):
    """Each lane is a driver with workers of its own; they have nothing in common but the filesystem."""
    pids = []
    for lane in range(args.concurrent):
        pid = os.fork()
        if pid == 0:
            code = 1
            try:
                code = random_runs(args, args.seed, lane + 1)
            finally:
                sys.stdout.flush()
                os._exit(code)
        pids.append(pid)
    return max(os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) != 0 for pid in pids)


def replay(args):
    with open(args.replay) as f:
        steps = [json.loads(line) for line in f if not line.startswith("#")]
    runs = Runs(args)
    found, at = runs.run(steps)
    if found and args.shrink:
        runs.report("replay", steps, found)
    print(f"step {at} of {len(steps)}: {found}" if found else f"no difference in {at} of {len(steps)} steps")
    return 1 if found else 0


def main():
    p = arguments(__doc__)
    p.add_argument("--ops", type=int, default=20000)
    p.add_argument("--sequence", type=int, help="begin with this one")
    p.add_argument("--workers", type=int, default=3)
    p.add_argument("--concurrent", type=int, metavar="N", help="N times --ops at once, on disjoint trees")
    p.add_argument("--differences", type=int, default=1, metavar="N", help="go on until so many are found")
    p.add_argument("--shrink", type=float, default=60, metavar="SECONDS", help="for each difference")
    p.add_argument("--replay", metavar="FILE")
    p.add_argument("--keep", default=".", metavar="DIR", help="where sequences are written that differ")
    args = p.parse_args()
    if args.replay:
        return replay(args)
    return concurrent(args) if args.concurrent else random_runs(args, args.seed)


if __name__ == "__main__":
    sys.exit(main())
