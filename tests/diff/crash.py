# SPDX-License-Identifier: Apache-2.0
"""The daemon is killed while steps are done: is what is there after the next mount what may be there?

Each step is done on ext4, too, whose states are the record of what was: that both do the same is what diff.py shows. Afterwards the
names (with owners, modes, attributes, flags) are those after some step, and not one before the last sync; a file's blocks are each what
it had when it was last synced, or later; its size lies between. Of the step that the kill met there is all, nothing, or a beginning."""

import os
import random
import stat
import sys
import time

import calls
import known
import look
from diff import Pair
from gen import Generator
from pool import Pool, arguments

BLOCK = 4096
UNORDERED = {"atime", "mtime", "ctime", "order", "size", "holes", "content"}  # what is not of the names


class File:
    """What a file was: its contents, each with the step after which it was so, and when it was last synced."""

    def __init__(self):
        self.was, self.synced = [], -1

    def since_sync(self, until):
        first = max((i for i, (step, _) in enumerate(self.was) if step <= self.synced), default=0)
        return [data for step, data in self.was[first:] if step <= until] or [b""]


class Record:
    """The states of the tree on ext4, one for each step."""

    def __init__(self, root):
        self.root, self.eye = root, look.Eye(root)
        self.states, self.files, self.ctimes, self.synced = [], {}, {}, 0

    def note(self):
        seen = self.eye.look(True, content=False)
        names = {}
        for path, entry in seen.items():
            st = stat_of(self.root, path)
            key = (st.ino, st.born)
            names[path] = (named(entry), key)
            if stat.S_ISREG(st.mode) and self.ctimes.get(key) != (st.ctime, st.size):
                self.ctimes[key] = (st.ctime, st.size)
                self.files.setdefault(key, File()).was.append((len(self.states), read(self.root, path)))
        self.states.append(names)

    def sync(self, key):
        """The step that was noted last has synced this inode: of a file all that concerned it, and what was before; of others all."""
        now = len(self.states) - 1
        if key in self.files:
            file = self.files[key]
            file.synced = now
            self.synced = max(self.synced, file.was[-1][0])
        else:
            self.synced = now


def stat_of(root, path):
    return calls.lstat(os.path.join(os.fsencode(root), path.encode("latin-1")))


def named(entry):
    return {field: v for field, v in entry.items() if field not in UNORDERED}


def read(root, path):
    fd = os.open(os.path.join(os.fsencode(root), path.encode("latin-1")), os.O_RDONLY | os.O_NOATIME)
    try:
        return os.pread(fd, 1 << 30, 0)
    finally:
        os.close(fd)


def fits(block, at, was):
    """Is that what the file had there at some time? Of the last step a beginning may be there."""
    had = [data[at : at + len(block)].ljust(len(block), b"\0") for data in was]
    if block in had:
        return True
    for old, new in zip(had, had[1:]):
        cut = next((i for i in range(len(block)) if block[i] != new[i]), len(block))
        if block[cut:] == old[cut:]:
            return True
        cut = next((i for i in range(len(block)) if block[i] != old[i]), len(block))
        if block[cut:] == new[cut:]:
            return True
    return False


def wrong_content(path, data, was):
    sizes = [len(d) for d in was]
    if not min(sizes) <= len(data) <= max(sizes):
        return f"{path!r} has {len(data)} bytes, and had {sorted(set(sizes))} since it was synced"
    for at in range(0, len(data), BLOCK):
        if not fits(data[at : at + BLOCK], at, was):
            return f"{path!r}: what is at {at} was never there since the file was synced"
    return None


def wrong_state(record, step, seen, contents):
    """Why the tree is not the one after this step; None when it is."""
    then = record.states[step]
    for path in sorted(then.keys() | seen.keys()):
        if path not in then or path not in seen:
            return f"{path!r} is {'there' if path in seen else 'missing'}"
        if then[path][0] != seen[path]:
            changed = [f for f in seen[path].keys() | then[path][0].keys() if seen[path].get(f) != then[path][0].get(f)]
            return f"{path!r} is {[(f, seen[path].get(f), then[path][0].get(f)) for f in changed]} (now, then)"
    for path, data in contents.items():
        wrong = wrong_content(path, data, record.files[then[path][1]].since_sync(len(record.states)))
        if wrong:
            return wrong
    return None


def is_sync(step, answer):
    return step[1] in ("fsync", "fdatasync", "forget") and answer[0] == "ok"


def do(pair, record, step):
    """One step on both. Returns whether the trees are alike still."""
    mine, twin = pair.pairs[step[0]]
    for process in (mine, twin):
        process.ask(step)
    answers = mine.answer(), twin.answer()
    record.note()
    if is_sync(step, answers[0]):
        twin.ask([step[0], "which", step[2]])
        ino, born = twin.answer()[1]
        record.sync((ino, tuple(born)))
    if answers[0] == answers[1]:
        return True
    row = known.result(step, *answers, pair.flagged)
    return row is not None and not row.parts


def killed_in(pair, record, pool, step, wait):
    """The step is under way when the daemon goes."""
    mine, twin = pair.pairs[step[0]]
    mine.ask(step)
    time.sleep(wait)
    pool.kill()
    twin.ask(step)
    twin.answer()
    mine.answer()
    record.note()


def store(root):
    """The beginning outlasts all kills."""
    fd = os.open(root, os.O_RDONLY)
    os.fsync(fd)
    os.close(fd)


def round_of(args, pool, seed):
    """What is wrong after a kill at the step that the seed chooses, or None; and what to say of it."""
    rng = random.Random(f"kill {seed}")
    steps = [s for s in Generator(seed, 2, large=False).steps(args.steps) if s[0] != "look"]
    at = rng.randrange(20, len(steps))
    pair = Pair(args, f"crash{os.getpid()}-{seed}".replace("/", "."))
    record = Record(pair.roots[1])
    record.note()
    store(pair.roots[0])
    try:
        for i, step in enumerate(steps[:at]):
            if not do(pair, record, step):
                at = i
                break
        killed_in(pair, record, pool, steps[at], rng.choice((0, 0, 0.0002, 0.001, 0.01)))
        pair.leave()
        pool.mount_after_kill()
        return judge(record, pair.roots[0], at)
    finally:
        pair.end()


def judge(record, root, at):
    seen = look.Eye(root).look(True, content=False)
    contents = {path: read(root, path) for path, entry in seen.items() if stat.S_ISREG(int(entry["mode"], 8))}
    seen = {path: named(entry) for path, entry in seen.items()}
    last = len(record.states) - 1
    whys = {}
    for step in range(last, record.synced - 1, -1):
        whys[step] = wrong_state(record, step, seen, contents)
        if whys[step] is None:
            return None, f"killed in step {at}: the state is that after step {step - 1}, synced was {record.synced - 1}"
    return "; ".join(f"not the state after step {s - 1}: {why}" for s, why in list(whys.items())[:12]), f"synced was {record.synced - 1}"


def main():
    p = arguments(__doc__)
    p.add_argument("--rounds", type=int, default=20)
    p.add_argument("--first", type=int, default=0, help="begin with this round")
    p.add_argument("--steps", type=int, default=300, help="the kill is at one of so many")
    p.add_argument("--verbose", action="store_true")
    args = p.parse_args()
    args.workers = 2
    pool, failed = Pool(args.ours, args.program, args.pool), 0
    for i in range(args.first, args.first + args.rounds):
        wrong, said = round_of(args, pool, f"{args.seed}/{i}")
        if wrong:
            failed += 1
            print(f"seed {args.seed} round {i}: {wrong}; {said}")
            print(f"to see it again, if it comes: tests/diff/run.sh --crash --seed {args.seed} --first {i} --rounds 1 --steps {args.steps}", flush=True)
        elif args.verbose:
            print(f"round {i}: {said}", flush=True)
    print(f"seed {args.seed}: {args.rounds} kills, {failed} with something wrong")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
