#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Mutation testing: does a test bite when a promise is broken?

usage: mutate.py list                 all mutations, one a line: name, file, invariant
       mutate.py check                each mutation still has its place in the sources, and each
                                      numbered invariant of docs/DESIGN.md has a mutation
       mutate.py NAME...              applies each to a copy, builds what changed, runs the tests
       mutate.py fast                 those marked `fast`
       mutate.py all                  all of them, a table and a closing line

Exit code: 0 caught (all of them), 1 one survives, 2 one can't be applied or built, or a test that
should catch it fails without it, too.

A mutation is a block of a *.mut file in this directory:

    mutation NAME
    invariant M2                       or several: E5, P3
    why what a reader would lose if the code were like that
    catch unit meta, meta-sim 1..300       the likely ones first; all others follow by themselves
    fast                                   optional: few seconds, so that each check runs it
    file src/meta/journal.c
    <<<<
    the text as it is: it must be there exactly once; any white space equals any other
    ====
    the text as it would be
    >>>>

`file` and the text may be repeated. The texts are the anchors: who changes such a line moves the mutation
along, or deletes it together with what it was about.

The user's tree is only read: sources and build directory are copied to build-mutate/N, one for each of the
mutations that are tried at a time, with their times, so that ninja builds just what a mutation touches. What catches it is then run without the mutation,
too (in the user's own build), so that a test that fails anyway counts for nothing.

environment: BUILD (build), MUTATE_LANES (mutations at a time; 2), MUTATE_JOBS (simulator processes of each;
the processors, shared out), MUTATE_LIKELY (set: only the tests that `catch` names, for a quick look)
"""
import concurrent.futures
import fcntl
import os
import queue
import re
import shutil
import signal
import subprocess
import sys
import time

ROOT = os.path.realpath(os.path.join(os.path.dirname(__file__), '..', '..'))
BUILD = os.environ.get('BUILD', 'build')
WORK = os.path.join(ROOT, 'build-mutate')
COPIED = ['src', 'sim', 'tests', 'tools', 'docs', 'bench', 'meson.build', 'meson_options.txt', BUILD]
LANES = int(os.environ.get('MUTATE_LANES') or 2)
JOBS = os.environ.get('MUTATE_JOBS') or str(max(1, (os.cpu_count() or 1) // LANES))
UNIT_LIMIT_S, SIM_LIMIT_S, SCRIPT_LIMIT_S = 60, 200, 200
SWEEPS = ['meta-sim 1..400', 'sim 1..300']  # the last resort, after all unit tests
# A mutation may leave something unused.
QUIET = ''.join(f'#pragma GCC diagnostic ignored "-Wunused-{w}"\n' for w in
                ('variable', 'but-set-variable', 'parameter', 'function', 'label')) + '#line 1\n'


class Trouble(Exception):
    """The mutation can't be judged."""


class Mutation:
    def __init__(self, name, where):
        self.name, self.where = name, where
        self.invariant = self.why = ''
        self.catch, self.fast, self.edits = [], False, []


def parse_file(path):
    found, m, file, part = [], None, None, None
    with open(path) as f:
        for number, line in enumerate(f, 1):
            where = f'{os.path.relpath(path, ROOT)}:{number}'
            word, _, rest = line.strip().partition(' ')
            rest = rest.strip()
            if part is not None:
                if line == '====\n' and part == 0:
                    part = 1
                elif line == '>>>>\n' and part == 1:
                    m.edits.append((file, ''.join(texts[0]), ''.join(texts[1])))
                    part = None
                else:
                    texts[part].append(line)
            elif not word or word.startswith('#'):
                continue
            elif word == 'mutation':
                m, file = Mutation(rest, where), None
                found.append(m)
            elif m is None:
                raise Trouble(f'{where}: {word} before the first mutation')
            elif word == 'invariant':
                m.invariant = rest
            elif word == 'why':
                m.why += (' ' if m.why else '') + rest
            elif word == 'catch':
                m.catch += [c.strip() for c in rest.split(',')]
            elif word == 'fast':
                m.fast = True
            elif word == 'file':
                file = rest
            elif line == '<<<<\n' and file:
                texts, part = ([], []), 0
            else:
                raise Trouble(f'{where}: not understood: {line.strip()}')
    if part is not None:
        raise Trouble(f'{path}: the last text has no end')
    return found


def load():
    here = os.path.dirname(os.path.realpath(__file__))
    found = []
    for name in sorted(os.listdir(here)):
        if name.endswith('.mut'):
            found += parse_file(os.path.join(here, name))
    names = [m.name for m in found]
    for m in found:
        if names.count(m.name) > 1:
            raise Trouble(f'{m.where}: two mutations are called {m.name}')
        if not (m.invariant and m.why and m.edits):
            raise Trouble(f'{m.where}: {m.name} lacks its invariant, its reason or its text')
    return found


def locate(m, root):
    """The changed text of each file that the mutation touches."""
    changed = {}
    for file, old, new in m.edits:
        try:
            text = changed.get(file) or open(os.path.join(root, file)).read()
        except OSError as e:
            raise Trouble(f'{m.where}: {m.name}: {file}: {e.strerror}')
        words = [re.escape(w) for w in old.split()]
        hits = list(re.finditer(r'\s+'.join(words), text))
        if len(hits) != 1:
            raise Trouble(f'{m.where}: {m.name}: its text is {len(hits)} times in {file}, not once: '
                          f'{" ".join(old.split())[:90]}')
        changed[file] = text[:hits[0].start()] + new.strip() + text[hits[0].end():]
    return changed


# ---- the copy ----

def stamp(path):
    st = os.lstat(path)
    return st.st_size, st.st_mtime_ns


def sync(src, dst):
    """Makes dst equal to src, copying only what differs in size or time."""
    if not os.path.isdir(src):
        if not os.path.exists(dst) or stamp(src) != stamp(dst):
            if os.path.exists(dst):
                os.unlink(dst)  # it may be running still, if the last run was killed
            shutil.copy2(src, dst)
        return
    os.makedirs(dst, exist_ok=True)
    want = {e.name: e for e in os.scandir(src)}
    for e in list(os.scandir(dst)):
        if e.name not in want:
            shutil.rmtree(e.path) if e.is_dir(follow_symlinks=False) else os.unlink(e.path)
    for name, e in want.items():
        if e.is_symlink():
            if not os.path.lexists(os.path.join(dst, name)):
                os.symlink(os.readlink(e.path), os.path.join(dst, name))
        elif e.is_dir() or e.is_file():
            sync(e.path, os.path.join(dst, name))


def make_copy(work):
    os.makedirs(work, exist_ok=True)
    for name in COPIED:
        if os.path.exists(os.path.join(ROOT, name)):
            sync(os.path.join(ROOT, name), os.path.join(work, name))


def ninja(work, *targets):
    p = subprocess.run(['ninja', '-C', os.path.join(work, BUILD), *targets], capture_output=True, text=True)
    if p.returncode:
        lines = [l for l in p.stdout.splitlines() if 'error' in l] or p.stdout.splitlines()
        raise Trouble('it does not build: ' + ' | '.join(lines[:3]))


# ---- tests ----

running = set()  # the tests' process groups


def interrupted(number, _):
    for group in list(running):
        os.killpg(group, signal.SIGKILL)
    os._exit(128 + number)


class Test:
    """One of: unit NAME, sim A..B, meta-sim A..B, script PATH."""

    def __init__(self, text):
        self.kind, _, self.arg = text.partition(' ')
        self.text = text
        if self.kind not in ('unit', 'sim', 'meta-sim', 'script') or not self.arg:
            raise Trouble(f'no such kind of test: {text}')

    def targets(self):
        if self.kind == 'unit':
            return [f'tests/test_{self.arg}']
        return ['dynamicfs-sim'] if self.kind != 'script' else ['dynamicfs', 'dynamicfs-sim']

    def command(self, root, seed=None):
        if self.kind == 'unit':
            return [f'{root}/{BUILD}/tests/test_{self.arg}'], UNIT_LIMIT_S
        if self.kind == 'script':
            return ['bash', self.arg], SCRIPT_LIMIT_S
        which = ['--seed', seed] if seed else ['--seeds', self.arg, '--jobs', JOBS]
        ops = ['--meta'] if self.kind == 'meta-sim' else ['--ops', '500']
        return [f'{root}/{BUILD}/dynamicfs-sim', *which, *ops], SIM_LIMIT_S

    def run(self, root, seed=None):
        """None when it passes, else what it says."""
        command, limit = self.command(root, seed)
        env = dict(os.environ, BUILD=BUILD, DYNAMICFS=f'{root}/{BUILD}/dynamicfs', CMOCKA_MESSAGE_OUTPUT='TAP')
        p = subprocess.Popen(command, cwd=root, env=env, stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
                             text=True, errors='replace', start_new_session=True)
        running.add(p.pid)
        try:
            out, _ = p.communicate(timeout=limit)
        except subprocess.TimeoutExpired:
            os.killpg(p.pid, signal.SIGKILL)
            p.communicate()
            return f'no end within {limit} s'
        finally:
            running.discard(p.pid)
        if p.returncode == 0:
            return None
        for line in out.splitlines():
            hit = re.match(r'seed (\d+: FAILED: .*)', line) or re.match(r'(?:# )?(not ok .*)', line)
            if hit:
                return hit.group(1)
        return f'signal {-p.returncode}' if p.returncode < 0 else f'exit code {p.returncode}'

    def fails_anyway(self, said):
        seed = re.match(r'(\d+): FAILED', said)
        return self.run(ROOT, seed.group(1) if seed else None)


def all_tests():
    units = sorted(f[5:-2] for f in os.listdir(os.path.join(ROOT, 'tests', 'unit'))
                   if f.startswith('test_') and f.endswith('.c'))
    return [Test(f'unit {u}') for u in units] + [Test(s) for s in SWEEPS]


def tests_of(m):
    tests = [Test(c) for c in m.catch]
    if os.environ.get('MUTATE_LIKELY'):
        return tests
    known = {t.text for t in tests}
    kinds = {t.kind for t in tests}
    # a longer sweep of the mutation's own stands for the common one
    return tests + [t for t in all_tests()
                    if t.text not in known and not (t.kind in kinds and t.kind.endswith('sim'))]


def try_one(m, work):
    """Tries a mutation in the copy at work. Returns (survived, what happened)."""
    changed = locate(m, ROOT)
    make_copy(work)
    for file, text in changed.items():
        path = os.path.join(work, file)
        os.unlink(path)
        with open(path, 'w') as f:
            f.write(QUIET + text if file.endswith('.c') else text)
    notes = []
    for number, test in enumerate(tests_of(m)):
        ninja(work, *test.targets())
        begin = time.monotonic()
        said = test.run(work)
        if said is None:
            continue
        took = time.monotonic() - begin
        if test.fails_anyway(said) is not None:
            notes.append(f'{test.text} fails without it, too')
            continue
        other = '' if number < len(m.catch) else ' (not one of those expected)'
        return False, f'caught by {test.text} in {took:.1f} s{other}: {said[:100]}'
    if notes:
        raise Trouble('nothing else catches it, and ' + ', '.join(notes))
    return True, f'survives all tests: {m.why}'


def run_all(mutations):
    begin = time.monotonic()
    survived = trouble = 0
    free = queue.Queue()
    for lane in range(LANES):
        free.put(os.path.join(WORK, str(lane)))

    def tried(m):
        start, work = time.monotonic(), free.get()
        try:
            lives, text = try_one(m, work)
        except Trouble as e:
            return None, f'not ok {m.name}: {e}'
        finally:
            free.put(work)
        return lives, (f'{"not ok" if lives else "ok"} {m.name} [{m.invariant}, {time.monotonic() - start:.0f} s]: '
                       f'{text}')

    with concurrent.futures.ThreadPoolExecutor(LANES) as lanes:
        for job in concurrent.futures.as_completed([lanes.submit(tried, m) for m in mutations]):
            lives, line = job.result()
            trouble += lives is None
            survived += bool(lives)
            print(line, flush=True)
    print(f'{len(mutations)} mutations: {len(mutations) - survived - trouble} caught, {survived} survive, '
          f'{trouble} in error; {time.monotonic() - begin:.0f} s')
    return 2 if trouble else 1 if survived else 0


def check(mutations):
    bad = 0
    for m in mutations:
        try:
            locate(m, ROOT)
            for c in m.catch:
                Test(c)
        except Trouble as e:
            bad += 1
            print(f'not ok {m.name}: {e}')
    if not bad:
        print(f'ok mutations_have_their_places: {len(mutations)}')
    bare = list(unguarded(mutations))
    for text in bare:
        print(f'not ok invariant {text}')
    if not bare:
        print('ok invariants_have_mutations')
    return 2 if bad or bare else 0


def unguarded(mutations):
    """The invariants that docs/DESIGN.md numbers (`- **M2** ...`) and no mutation breaks."""
    named = {i for m in mutations for i in re.split(r',\s*', m.invariant)}
    with open(os.path.join(ROOT, 'docs', 'DESIGN.md')) as f:
        numbered = re.findall(r'^- \*\*([A-Z]{1,2}\d+)\b', f.read(), re.M)
    for i in sorted(named - set(numbered)):
        yield f'{i}: docs/DESIGN.md numbers no such invariant'
    for i in dict.fromkeys(numbered):
        if numbered.count(i) > 1:
            yield f'{i}: docs/DESIGN.md numbers two invariants so'
        if i not in named:
            yield f'{i}: no mutation breaks it'


def main(args):
    if args in (['-h'], ['--help'], ['help']):
        print(__doc__.strip())
        return 0
    for a in args:
        if a.startswith('-'):
            raise Trouble(f'no such option: {a}\n{__doc__.strip().split(chr(10) * 2)[1]}')
    mutations = load()
    if args in ([], ['list']):
        for m in mutations:
            print(m.name, ','.join(dict.fromkeys(e[0] for e in m.edits)), m.invariant)
        return 0
    if args == ['check']:
        return check(mutations)
    if args == ['all']:
        chosen = mutations
    elif args == ['fast']:
        chosen = [m for m in mutations if m.fast]
    else:
        by_name = {m.name: m for m in mutations}
        for a in args:
            if a not in by_name:
                raise Trouble(f'no mutation is called {a}; `list` tells their names')
        chosen = [by_name[a] for a in args]
    if not os.path.exists(os.path.join(ROOT, BUILD, 'build.ninja')):
        raise Trouble(f'{BUILD} is not built; run make first')
    os.makedirs(WORK, exist_ok=True)
    with open(os.path.join(WORK, '.lock'), 'w') as lock:  # one at a time
        fcntl.flock(lock, fcntl.LOCK_EX)
        return run_all(chosen)


for number in (signal.SIGINT, signal.SIGTERM):
    signal.signal(number, interrupted)
try:
    code = main(sys.argv[1:])
    sys.stdout.flush()
    sys.exit(code)
except BrokenPipeError:  # `list | head`: who reads has read enough
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
except Trouble as e:
    print(f'not ok mutate: {e}', file=sys.stderr)
    sys.exit(2)
