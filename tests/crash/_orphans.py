# SPDX-License-Identifier: Apache-2.0
"""The work of orphans.sh: _orphans.py BINARY ROUNDS [SEED]

Six small disks. Four workers write all the time and seldom sync; a moment later the daemon is killed, again and
again. Then all is deleted: the space comes back, all of it, with no help of another mount, and fsck finds no
record that nothing names. Each round keeps some of what was written, so that orphans lie beside what lives, too.
"""
import errno, json, multiprocessing, os, random, shutil, signal, subprocess, sys, tempfile, time

BINARY, ROUNDS = os.path.abspath(sys.argv[1]), int(sys.argv[2])
SEED = int(sys.argv[3]) if len(sys.argv) > 3 and sys.argv[3] else random.SystemRandom().randrange(1 << 30)
MIB = [48, 64, 80, 96, 128, 160]
WAIT_S = 40
rng = random.Random(SEED)
top = tempfile.mkdtemp(prefix='dfs-orphans-', dir=os.environ.get('TMPDIR', '/tmp'))
pool, mnt, files = top + '/pool', top + '/mnt', top + '/mnt/files'
disks = [f'{top}/disk{i}' for i in range(len(MIB))]


def run(*args):
    p = subprocess.run([BINARY, *args], capture_output=True, text=True, timeout=120)
    if p.returncode:
        raise AssertionError(f'{args}: exit {p.returncode}: {p.stderr}{p.stdout}')
    return p.stdout


def mount():
    run('mount', '--pool', pool, '--mountpoint', mnt)


def available():
    v = os.statvfs(mnt)
    return v.f_bavail * v.f_frsize


def segments():
    """How many hold something."""
    there = [f'{d}/dynamicfs/segments/{n}' for d in disks for n in os.listdir(d + '/dynamicfs/segments')]
    return sum(os.stat(f).st_size > 0 for f in there)


def worker(seed):
    r = random.Random(seed)
    while True:
        path = f'{files}/{r.randrange(1 << 40):x}'
        try:
            with open(path, 'wb') as f:
                f.write(r.randbytes(r.choice([30000, 300000, 3000000])))
                f.flush()
                if r.random() < 0.05:
                    os.fsync(f.fileno())
            if r.random() < 0.5:
                os.unlink(path)
        except OSError as e:
            if e.errno != errno.ENOSPC:
                os._exit(0)  # the daemon has been killed
            time.sleep(0.01)


def one_round(r):
    mount()
    for name in os.listdir(files):
        if r.random() < 0.7:
            os.unlink(f'{files}/{name}')
    kids = [multiprocessing.Process(target=worker, args=(r.randrange(1 << 40),)) for _ in range(4)]
    for k in kids:
        k.start()
    time.sleep(r.uniform(0.3, 1.5))
    pid = int(open(pool + '/lock').read())
    os.kill(pid, signal.SIGKILL)
    subprocess.run(['umount', '-l', mnt], capture_output=True)
    for k in kids:
        k.join(30)
    hung = [k for k in kids if k.is_alive()]
    for k in hung:
        k.kill()
    if hung:
        raise AssertionError('a worker hung after the daemon was killed')
    while os.path.exists(f'/proc/{pid}'):
        time.sleep(0.01)


def wait_for(what):
    end = time.monotonic() + WAIT_S
    while not what() and time.monotonic() < end:
        time.sleep(0.2)
    return what()


def main():
    os.makedirs(mnt)
    run('init', '--pool', pool)
    for d, mib in zip(disks, MIB):
        os.makedirs(d)
        subprocess.run(['mount', '-t', 'tmpfs', '-o', f'size={mib}m', 'dynamicfs-test', d], check=True)
        run('add-disk', '--pool', pool, '--disk', d)
    mount()
    whole = available()
    os.mkdir(files)
    run('unmount', '--mountpoint', mnt)
    for _ in range(ROUNDS):
        one_round(random.Random(rng.randrange(1 << 40)))
    left = json.loads(run('fsck', '--pool', pool, '--json'))['orphan_records_bytes']
    mount()
    shutil.rmtree(files)
    subprocess.run(['sync', mnt], check=True)
    # the index is smaller in an empty pool than in a used one
    if not wait_for(lambda: available() >= whole * 0.95):
        raise AssertionError(f'all is deleted, and {available() >> 20} of {whole >> 20} MiB are available')
    if not wait_for(lambda: segments() == 0):
        raise AssertionError(f'all is deleted, and {segments()} segments are there')
    now = available()
    run('unmount', '--mountpoint', mnt)
    still = json.loads(run('fsck', '--pool', pool, '--json'))['orphan_records_bytes']
    if still:
        raise AssertionError(f'fsck finds {still} bytes of records that nothing names')
    print(f'ok orphans: {ROUNDS} kills left {left >> 10} KiB after the last; all deleted: {now >> 20} of {whole >> 20} MiB')


failed = 0
try:
    main()
except (AssertionError, OSError, subprocess.SubprocessError) as e:
    print(f'not ok orphans: {e} (ORPHANS_SEED={SEED}; left in {top})')
    failed = 1
finally:
    subprocess.run(['umount', '-l', mnt], capture_output=True)
    if not failed:
        for d in disks:
            subprocess.run(['umount', '-l', d], capture_output=True)
        shutil.rmtree(top, ignore_errors=True)
sys.exit(failed)
