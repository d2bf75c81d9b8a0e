# SPDX-License-Identifier: Apache-2.0
"""The work of kill9.sh: _kill9.py BINARY ROUNDS [SEED]

Six workers write through the mount, and note in memory shared with this process what they are about
to do and what fsync has acknowledged. Then the daemon is killed, and every note is checked.

  whole     writes new files of random sizes, fsync: the bytes must be there
  replace   writes aside, fsync, renames over a fixed name: an old or a newer content, whole, never less
            than what was acknowledged
  append    appends numbered records, fsync now and then: all acknowledged ones, in order
  overwrite overwrites numbered 4 KiB blocks of a 3 MiB file: each block whole, at least as new as noted
  names     makes and moves directories and links, fsync of the directory: the names are there
  attrs     sets attributes, fsync; makes and removes files, fsync of the directory: as new as noted, or gone

KILL9_FULL=1: the disks are small, and a seventh worker writes files until there is no space, deletes a few and goes on. The
others meet ENOSPC all the time, undo what they had begun, and try again. Deleting must work all the same.
"""
import ctypes, errno, hashlib, json, multiprocessing, os, random, shutil, signal, struct, subprocess, sys, tempfile, time

BINARY, ROUNDS = os.path.abspath(sys.argv[1]), int(sys.argv[2])
SEED = int(sys.argv[3]) if len(sys.argv) > 3 and sys.argv[3] else random.SystemRandom().randrange(1 << 30)
LOSSYFS = os.environ.get('KILL9_LOSSYFS')  # cuts the power, too: disks and pool directory lose what was not synced
FULL = os.environ.get('KILL9_FULL') == '1'
FULL_MIB = [48, 64, 80, 96, 128, 160]
BLOCK = 4096
rng = random.Random(SEED)
top = tempfile.mkdtemp(prefix='dfs-kill9-', dir=os.environ.get('TMPDIR', '/tmp'))
pool, mnt, notes = top + '/pool', top + '/mnt', top + '/notes'
failed = checked = 0
power = None
lost = dict(bytes=0, names=0)


def run(*args, ok=(0,)):
    global failed
    p = subprocess.run([BINARY, *args], capture_output=True, text=True, timeout=120)
    if p.returncode not in ok:
        failed += 1
        raise SystemExit(f'not ok kill9_setup: {args}: exit {p.returncode}: {p.stderr}{p.stdout}')
    return p


def content(seed, size):
    return random.Random(seed).randbytes(size)


class Notes:
    """A worker's notes: one line each, flushed by write(2) to tmpfs or disk beside the pool; they
    survive the daemon (it is the daemon that dies, not the machine)."""

    def __init__(self, name):
        self.f = open(f'{notes}/{name}', 'ab', buffering=0)

    def say(self, *what):
        self.f.write((json.dumps(what) + '\n').encode())

    @staticmethod
    def read(name):
        try:
            return [json.loads(l) for l in open(f'{notes}/{name}')]
        except FileNotFoundError:
            return []


def put(path, data, sync=True):
    fd = os.open(path, os.O_CREAT | os.O_TRUNC | os.O_WRONLY, 0o644)
    try:
        at = 0
        while at < len(data):
            at += os.write(fd, data[at:at + (1 << 20)])
        if sync:
            os.fsync(fd)
    except OSError as e:
        if e.errno == errno.ENOSPC:
            os.unlink(path)
        raise
    finally:
        os.close(fd)


def fsync_dir(path):
    fd = os.open(path, os.O_RDONLY)
    try:
        os.fsync(fd)
    finally:
        os.close(fd)


def whole(r, n):
    i = 0
    while True:
        size = r.choice([0, 1, 4000, 4096, 4097, 70000, 1048575, 1048576, 1048577, 2500000])
        name, seed = f'whole/{r.randrange(1 << 40):x}', r.randrange(1 << 40)
        put(f'{mnt}/{name}', content(seed, size))
        n.say('file', name, seed, size)
        i += 1
        if i % 5 == 0:  # and delete some, so that space is given back
            victim = f'whole/{i}'
            put(f'{mnt}/{victim}', content(i, 300000), sync=False)
            os.unlink(f'{mnt}/{victim}')


def replace(r, n):
    version = 1 + max([x[2] for x in n.read('replace')] or [0])
    while True:
        i, size = r.randrange(4), r.choice([100, 5000, 300000, 1500000])
        n.say('begin', i, version, size)
        put(f'{mnt}/replace/new{i}', struct.pack('<QQ', version, size) + content(version, size))
        os.rename(f'{mnt}/replace/new{i}', f'{mnt}/replace/file{i}')
        if r.random() < 0.5:
            fsync_dir(f'{mnt}/replace')
            n.say('done', i, version, size)
        version += 1


def append(r, n):
    fd = os.open(f'{mnt}/append/log', os.O_CREAT | os.O_WRONLY | os.O_APPEND, 0o644)
    count = os.fstat(fd).st_size // 1000
    os.ftruncate(fd, count * 1000)
    while True:
        if os.write(fd, record(count)) < 1000:
            raise OSError(errno.ENOSPC, 'a part of the record was accepted')
        count += 1
        if r.random() < 0.3:
            os.fsync(fd)
            n.say('count', count)


def record(i):
    return (struct.pack('<Q', i) + content(i, 992))


def overwrite(r, n):
    fd = os.open(f'{mnt}/overwrite/data', os.O_CREAT | os.O_RDWR, 0o644)
    versions = {}
    for _, b, v in n.read('overwrite'):
        versions[b] = max(versions.get(b, 0), v)
    since = {}
    while True:
        b = r.randrange(768)
        v = versions.get(b, 0) + 1
        versions[b] = since[b] = v
        os.pwrite(fd, block(b, v), b * BLOCK)
        if r.random() < 0.1:
            os.fsync(fd)
            for b, v in since.items():
                n.say('block', b, v)
            since = {}


def block(b, v):
    return struct.pack('<QQ', b, v) + content(b * 1000003 + v, BLOCK - 16)


def names(r, n):
    there = os.listdir(f'{mnt}/names')
    for d in there:
        if d[0] == 'd':  # begun, and then there was no space, or a kill
            shutil.rmtree(f'{mnt}/names/{d}')
    i = 1 + max([x[1] for x in n.read('names')] + [int(x[1:]) for x in there] + [0])
    while True:
        d = f'{mnt}/names/d{i}'
        os.mkdir(d)
        put(d + '/a', b'x' * r.randrange(9000), sync=False)
        os.link(d + '/a', d + '/b')
        os.symlink('../somewhere', d + '/c')
        os.rename(d, f'{mnt}/names/e{i}')
        fsync_dir(f'{mnt}/names')
        n.say('dir', i)
        i += 1


def attrs(r, n):
    version = 1 + max([x[2] for x in n.read('attrs')] or [0])
    while True:
        i = r.randrange(20)
        path = f'{mnt}/attrs/f{i}'
        fd = os.open(path, os.O_CREAT | os.O_RDWR, 0o644)
        try:
            n.say('begin', i, version)
            os.setxattr(path, 'user.version', attribute(version))
            os.fsync(fd)
            n.say('set', i, version)
        finally:
            os.close(fd)
        gone = f'attrs/gone{version}'
        put(f'{mnt}/{gone}', b'x' * r.choice([0, 100, 60000]))
        os.unlink(f'{mnt}/{gone}')
        fsync_dir(f'{mnt}/attrs')
        n.say('gone', gone, version)
        version += 1


def attribute(version):
    return b'%d ' % version + content(version, version % 1500)


def ballast(r, n):
    while True:
        try:
            put(f'{mnt}/ballast/{r.randrange(1 << 40):x}', b'b' * r.choice([0, 3000, 50000, 700000]), sync=False)
        except OSError as e:
            if e.errno != errno.ENOSPC:
                raise
            n.say('full')
            there = os.listdir(f'{mnt}/ballast')
            for victim in r.sample(there, min(len(there), r.randrange(1, 6))):
                os.unlink(f'{mnt}/ballast/{victim}')


WORKERS = dict(whole=whole, replace=replace, append=append, overwrite=overwrite, names=names, attrs=attrs)
if FULL:
    WORKERS['ballast'] = ballast


def worker(name, seed):
    r = random.Random(seed)
    while True:
        try:
            WORKERS[name](r, Notes(name))
        except OSError as e:
            if e.errno != errno.ENOSPC or not FULL:
                os._exit(0)   # the daemon has been killed
            time.sleep(0.002)


def must(what, cond, text):
    if not cond:
        raise AssertionError(f'{what}: {text}')


def check():
    global checked
    checked += sum(len(Notes.read(w)) for w in WORKERS)
    for _, name, seed, size in Notes.read('whole'):
        data = open(f'{mnt}/{name}', 'rb').read()
        must(name, data == content(seed, size), f'{len(data)} bytes differ from the {size} that were fsynced')
    begun, done = {}, {}
    for kind, i, version, size in Notes.read('replace'):
        (begun if kind == 'begin' else done).setdefault(i, {})[version] = size
    for i in begun:
        try:
            data = open(f'{mnt}/replace/file{i}', 'rb').read()
        except FileNotFoundError:
            must(f'replace {i}', i not in done, 'is not there')
            continue
        must(f'replace {i}', len(data) >= 16, f'has {len(data)} bytes')
        version, size = struct.unpack('<QQ', data[:16])
        must(f'replace {i}', begun[i].get(version) == size, f'has unknown version {version}')
        must(f'replace {i}', version >= max(done.get(i, {0: 0})), f'went back to version {version}')
        must(f'replace {i}', data[16:] == content(version, size), 'has wrong bytes')
    counts = [x[1] for x in Notes.read('append')] or [0]
    if max(counts):
        data = open(f'{mnt}/append/log', 'rb').read()
        must('append', len(data) >= max(counts) * 1000, f'{len(data)} bytes, {max(counts)} records were synced')
        for i in range(len(data) // 1000):
            must('append', data[i * 1000:i * 1000 + 1000] == record(i), f'record {i} is wrong')
    least = {}
    for _, b, v in Notes.read('overwrite'):
        least[b] = max(least.get(b, 0), v)
    if least:
        data = open(f'{mnt}/overwrite/data', 'rb').read()
        for b in range(len(data) // BLOCK):
            d = data[b * BLOCK:(b + 1) * BLOCK]
            if d == bytes(BLOCK):
                must('overwrite', b not in least, f'block {b} is zeros')
                continue
            got, v = struct.unpack('<QQ', d[:16])
            must('overwrite', got == b and d == block(b, v), f'block {b} is wrong')
            must('overwrite', v >= least.get(b, 0), f'block {b} went back to version {v}')
    check_attrs()
    there = set(os.listdir(f'{mnt}/names'))
    for _, i in Notes.read('names'):
        must('names', f'e{i}' in there, f'e{i} is not there')
        must('names', sorted(os.listdir(f'{mnt}/names/e{i}')) == ['a', 'b', 'c'], f'e{i} is not whole')
        must('names', os.stat(f'{mnt}/names/e{i}/a').st_nlink == 2, f'e{i}/a has not two links')


def check_attrs():
    least, begun = {}, {}
    for kind, what, version in Notes.read('attrs'):
        if kind == 'gone':
            must(what, not os.path.exists(f'{mnt}/{what}'), 'is back')
        else:
            of = least if kind == 'set' else begun
            of[what] = max(of.get(what, 0), version)
    for i, version in least.items():
        value = os.getxattr(f'{mnt}/attrs/f{i}', 'user.version')
        got = int(value.split(b' ')[0])
        must('attrs', version <= got <= begun[i], f'f{i} has version {got}, not {version} to {begun[i]}')
        must('attrs', value == attribute(got), f'f{i} has a wrong value')


def forget_old():
    """Deletes the oldest files and directories, so that a long run has no more to compare than a
    short one. Whether the deletions are durable is left open."""
    share = 10 if FULL else 1
    for worker, keep, path in (('whole', 300, lambda x: x[1]), ('names', 500, lambda x: f'names/e{x[1]}')):
        keep //= share
        known = Notes.read(worker)
        old = known[:-keep] if len(known) > 2 * keep else []
        for note in old:
            whole = f'{mnt}/{path(note)}'
            shutil.rmtree(whole) if os.path.isdir(whole) else os.unlink(whole)
        if old:
            with open(f'{notes}/{worker}', 'w') as f:
                f.writelines(json.dumps(note) + '\n' for note in known[len(old):])


def mount():
    t = time.monotonic()
    run('mount', '--pool', pool, '--mountpoint', mnt)
    return time.monotonic() - t


class Power:
    """The disks and the pool directory through lossyfs, which forgets at the cut what was not synced."""

    def __init__(self, dirs):
        self.dirs, self.running = dirs, []
        for d in dirs:
            os.makedirs(d + '.kept')
            os.makedirs(d)

    def on(self, r):
        loss = r.choice([5, 50, 50, 95, 100])
        for d in self.dirs:
            said = open(d + '.said', 'w')
            shutil.rmtree(d + '.kept/.lossyfs', ignore_errors=True)
            p = subprocess.Popen([LOSSYFS, d + '.kept', d, str(r.randrange(1 << 40)), str(loss)],
                                 stdout=said, stderr=subprocess.STDOUT)
            self.running.append(p)
        for d in self.dirs:
            self.wait(lambda: os.path.ismount(d), f'lossyfs on {d}')

    def wait(self, what, name):
        end = time.monotonic() + 60
        while not what():
            if time.monotonic() > end:
                raise AssertionError(f'{name} does not answer')
            time.sleep(0.002)

    def cut(self):
        """All at one moment, as seen by a daemon that stands still."""
        for p in self.running:
            p.send_signal(signal.SIGUSR1)
        for d in self.dirs:
            self.wait(lambda: 'cut:' in open(d + '.said').read(), f'the cut of {d}')
            self.count(open(d + '.said').read())

    def count(self, line):
        words = line[line.index('cut:'):].split()
        lost['bytes'] += int(words[1])
        lost['names'] += int(words[4])

    def off(self):
        for d in self.dirs:
            subprocess.run(['umount', '-l', d], capture_output=True)
        for p in self.running:
            p.kill()  # another mount namespace may hold on to a copy
            p.wait(60)
        self.running = []


def daemon_pid():
    return int(open(pool + '/lock').read())


def one_round(k, r):
    took = mount()
    check()
    forget_old()
    kids = []
    for w in WORKERS:
        p = multiprocessing.Process(target=worker, args=(w, r.randrange(1 << 40)))
        p.start()
        kids.append(p)
    time.sleep(r.uniform(0.05, 2.0))
    pid = daemon_pid()
    if power:
        os.kill(pid, signal.SIGSTOP)
        power.cut()
    os.kill(pid, signal.SIGKILL)
    subprocess.run(['umount', '-l', mnt], capture_output=True)
    for p in kids:
        p.join(30)
        if p.is_alive():
            p.kill()
            raise AssertionError('a worker hung after the daemon was killed')
    while os.path.exists(f'/proc/{pid}'):
        time.sleep(0.01)
    if power:
        power.off()
        power.on(r)
    p = run('fsck', '--pool', pool, ok=(0, 1, 2, 3, 4, 5, 6))
    must('fsck', p.returncode == 0, f'exit {p.returncode}: {p.stdout}{p.stderr}')
    # the time that counts is that of the mount after a kill
    must('mount', power is not None or took < (10.0 if FULL else 2.0), f'took {took:.2f} s')
    return took


def main():
    global failed, power
    os.makedirs(mnt)
    os.makedirs(notes)
    sizes = [2, 3, 4, 4, 6, 8]
    disks = [f'{top}/disk{i}' for i in range(len(sizes))]
    if LOSSYFS:
        power = Power([pool] + disks)
        power.on(rng)
    run('init', '--pool', pool)
    for i, gib in enumerate(sizes):
        os.makedirs(disks[i], exist_ok=True)
        if FULL:
            subprocess.run(['mount', '-t', 'tmpfs', '-o', f'size={FULL_MIB[i]}m', 'dynamicfs-test', disks[i]], check=True)
        run('add-disk', '--pool', pool, '--disk', f'{top}/disk{i}', '--capacity', f'{gib}G')
    mount()
    for w in WORKERS:
        os.makedirs(f'{mnt}/{w}')
    run('unmount', '--mountpoint', mnt)
    times = []
    for k in range(ROUNDS):
        if k and k % 10 == 0:
            print(f'  {k} kills', flush=True)
        try:
            times.append(one_round(k, random.Random(rng.randrange(1 << 40))))
        except (AssertionError, OSError) as e:
            print(f'not ok kill9_round_{k}: {e} (KILL9_SEED={SEED}; left in {top})')
            failed += 1
            break
    if not failed:
        mount()
        check()
        run('unmount', '--mountpoint', mnt)
        print(f'ok kill9{"_full" if FULL else ""}: {ROUNDS} kills, {checked} comparisons with what was acknowledged, '
              f'slowest mount {max(times):.2f} s')
        if FULL:
            print(f'# no space was met {len(Notes.read("ballast"))} times')
        if power:
            print(f'# {lost["bytes"]} unsynced bytes and {lost["names"]} names lost at the cuts')


try:
    main()
finally:
    subprocess.run(['umount', '-l', mnt], capture_output=True)
    if power:
        power.off()
    if not failed:
        for i in range(len(FULL_MIB) if FULL else 0):
            subprocess.run(['umount', '-l', f'{top}/disk{i}'], capture_output=True)
        shutil.rmtree(top, ignore_errors=True)
sys.exit(1 if failed else 0)
