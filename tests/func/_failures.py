# SPDX-License-Identifier: Apache-2.0
"""The attacks of failures.sh: _failures.py BINARY [CASE...]

A case gets a mounted pool (with what was fsynced in p.files), does its harm, and says what broke by
raising Broken. Afterwards the pool is taken away, daemon and mounts included.
"""
import errno, glob, json, os, random, shutil, signal, subprocess, sys, tempfile, time

BINARY, WANTED = os.path.abspath(sys.argv[1]), sys.argv[2:]
MIB = 1 << 20


class Broken(Exception):
    pass


def sh(command):
    subprocess.run(command, shell=True, check=True, capture_output=True)


def flip(path, offset, mask=0x41):
    with open(path, 'r+b') as f:
        f.seek(offset)
        byte = f.read(1)
        f.seek(offset)
        f.write(bytes([byte[0] ^ mask]))


class Pool:
    """A pool over six tmpfs disks, and what must be in it."""

    def __init__(self):
        self.top = tempfile.mkdtemp(prefix='dfs-failures-', dir=os.environ.get('TMPDIR', '/tmp'))
        self.pool, self.mnt, self.files = self.top + '/pool', self.top + '/mnt', {}
        self.rng = random.Random(1)
        os.mkdir(self.mnt)
        self.run('init', '--pool', self.pool)
        for i in range(1, 7):
            os.mkdir(self.disk(i))
            sh(f'mount -t tmpfs -o size=64m dynamicfs-test {self.disk(i)}')
            self.run('add-disk', '--pool', self.pool, '--disk', self.disk(i), '--label', f'd{i}')
        self.mount()
        for i in range(10):
            self.write(f'small{i}', [0, 1, 4096, 4097, 300000][i % 5])
        self.write('large', 2 * MIB + 777)

    def disk(self, i):
        return f'{self.top}/disk{i}'

    def inside(self, i, pattern):
        return sorted(glob.glob(f'{self.disk(i)}/dynamicfs/{pattern}'))

    def run(self, *args, want=0):
        p = subprocess.run([BINARY, *args], capture_output=True, text=True, timeout=60)
        if want is not None and p.returncode != want:
            raise Broken(f'{args[0]} gave exit code {p.returncode}, not {want}: '
                         f'{(p.stderr + p.stdout)[:300]}')
        return p

    def mount(self):
        self.run('mount', '--pool', self.pool, '--mountpoint', self.mnt)

    def unmount(self):
        self.run('unmount', '--mountpoint', self.mnt)

    def fsck(self, want=0):
        return self.run('fsck', '--pool', self.pool, want=want)

    def import_(self, disks, *args, want=0):
        return self.run('import', '--pool', self.pool,
                        *[a for i in disks for a in ('--disk', self.disk(i))], *args, want=want)

    def pid(self):
        with open(self.pool + '/mounted') as f:
            return json.load(f)['pid']

    def kill(self):
        pid = self.pid()
        os.kill(pid, signal.SIGKILL)
        for _ in range(500):
            try:
                with open(f'/proc/{pid}/stat') as f:
                    if f.read().split(') ')[1][0] == 'Z':
                        break
            except OSError:
                break
            time.sleep(0.01)
        sh(f'umount -l {self.mnt}')

    def write(self, name, size):
        """Written and fsynced: to be found by check() from now on."""
        data = self.rng.randbytes(size)
        self.files.pop(name, None)
        with open(f'{self.mnt}/{name}', 'wb', buffering=0) as f:
            at = 0
            while at < len(data):
                at += f.write(data[at:at + MIB])
            os.fsync(f.fileno())
        self.files[name] = data

    def check(self, refused=0):
        """All bytes right; at most so many files may give EIO. Returns those."""
        bad = []
        with open('/proc/sys/vm/drop_caches', 'w') as f:
            f.write('1')
        for name, data in self.files.items():
            try:
                with open(f'{self.mnt}/{name}', 'rb') as f:
                    got = f.read()
            except OSError as e:
                bad.append(f'{name} ({e.strerror})')
                continue
            if got != data:
                raise Broken(f'{name} has WRONG bytes')
        if len(bad) > refused:
            raise Broken(f'refused: {", ".join(bad[:5])}')
        return bad

    def empty(self, i):
        # twice: whoever uses it may make files meanwhile
        find = f'find {self.disk(i)} -mindepth 1 -delete'
        sh(f'{find} 2>/dev/null || {find}')

    def keep(self, i):
        sh(f'rm -rf {self.top}/kept{i}; cp -a {self.disk(i)} {self.top}/kept{i}')

    def put_back(self, i, kept=None):
        self.empty(i)
        sh(f'cp -a {self.top}/kept{kept or i}/. {self.disk(i)}/')

    def sums(self):
        """Of all that lies on the disks, with names, sizes and times."""
        return subprocess.run(
            f'cd {self.top}; find disk? -type f -exec sha256sum {{}} + | sort; '
            'find disk? -printf "%p %y %s %T@\\n" | sort',
            shell=True, capture_output=True, text=True).stdout

    def remove(self):
        try:
            if os.readlink(f'/proc/{self.pid()}/exe') == BINARY:
                os.kill(self.pid(), signal.SIGKILL)
        except (OSError, ValueError, KeyError):
            pass
        with open('/proc/mounts') as f:
            mounts = [line.split()[1] for line in f]
        for path in reversed(mounts):
            if path.startswith(self.top + '/'):
                subprocess.run(['umount', '-l', path], capture_output=True)
        shutil.rmtree(self.top, ignore_errors=True)


# ---- disks that vanish ----


def vanish(harm):
    """Two disks are harmed while files are written; later they are back as they once were."""

    def case(p):
        for i in (2, 5):
            p.keep(i)
        for i in (2, 5):
            harm(p, i)
            p.write(f'after{i}', 500000)
            p.write(f'large-after{i}', MIB + 5)
        p.check()
        p.unmount()
        p.mount()
        p.check()
        p.write('small0', 70000)
        p.unmount()
        for i in (2, 5):
            subprocess.run(['umount', f'{p.top}/cover{i}'], capture_output=True)
            p.put_back(i)
        p.mount()
        p.check()
        p.write('small1', 70000)
        p.check()
        p.unmount()
        shutil.rmtree(p.pool)
        p.import_(range(1, 7))
        p.mount()
        p.check()

    return case


def empty_lost_disk(p, i):
    p.empty(i)


def old_copy(p, i):
    p.put_back(i)


def no_roots(p, i):
    # at once: the daemon makes files there
    sh(f'cd {p.disk(i)} && mv dynamicfs/meta gone && (rm -rf gone || rm -rf gone)')


def fifo_for_roots(p, i):
    roots = f'{p.disk(i)}/dynamicfs/meta/roots'
    sh(f'rm {roots}; mkfifo {roots}')


def unmounted(p, i):
    sh(f'umount -l {p.disk(i)}')


def three_disks_lost(p):
    p.unmount()
    for i in (1, 2, 5):
        p.empty(i)
    shutil.rmtree(p.pool)
    p.import_((3, 4, 6), want=6)
    p.import_((3, 4, 6), '--force')
    p.mount()
    p.check(refused=1)  # the one large file, in 4+2
    p.write('new', 300000)
    p.check(refused=1)
    p.unmount()
    p.fsck(want=5)


# ---- damage ----


def damage(harm, found=True):
    """Harm to an unmounted pool: fsck tells and changes nothing, the mount finds everything."""

    def case(p):
        p.kill() if harm.__name__.startswith('journal') else p.unmount()
        harm(p)
        before = p.sums()
        p.fsck(want=5 if found else None)
        if p.sums() != before:
            raise Broken('fsck changed something on the disks')
        p.mount()
        p.check()
        p.write('new', 70000)
        p.unmount()
        p.mount()
        p.check()

    return case


def records(p, i):
    segment = p.inside(i, 'segments/*')[0]
    with open(segment, 'rb') as f:
        data = f.read()
    for at in range(0, len(data), 512):
        if data[at:at + 8] == b'1DFSDFRG':
            yield segment, at, int.from_bytes(data[at + 12:at + 16], 'little')


def headers_flipped(p):
    for i in (1, 4):
        for segment, at, _ in list(records(p, i)):
            flip(segment, at + 50)


def payloads_flipped(p):
    for i in (2, 6):
        for segment, at, header_len in list(records(p, i)):
            flip(segment, at + header_len)


def segments_gone(p):
    os.unlink(p.inside(1, 'segments/*')[0])
    with open(p.inside(5, 'segments/*')[0], 'r+b') as f:
        f.write(bytes(os.fstat(f.fileno()).st_size))


def newest_roots_flipped(p):
    for i in (1, 2, 3):
        with open(p.inside(i, 'meta/roots')[0], 'rb') as f:
            ring = f.read()
        slots = [s for s in range(16) if ring[s * 20480:s * 20480 + 8] == b'1DFSROOT']
        newest = max(slots, key=lambda s: ring[s * 20480 + 32:s * 20480 + 40][::-1])
        flip(p.inside(i, 'meta/roots')[0], newest * 20480 + 40)


def roots_zeroed(p):
    for i in (1, 6):
        with open(p.inside(i, 'meta/roots')[0], 'r+b') as f:
            f.write(bytes(327680))


def manifests_flipped(p):
    for i in (1, 2, 3):
        flip(p.inside(i, 'meta/checkpoint/manifest-*')[-1], 100)


def index_and_tables_flipped(p):
    for path in glob.glob(p.pool + '/index/*.sst'):
        flip(path, 300)
    for i in (1, 2, 4):
        for path in p.inside(i, 'meta/tables/*'):
            flip(path, 200)


def index_current_hostile(p):
    with open(p.pool + '/index/CURRENT', 'w') as f:
        f.write('../../../etc/passwd\n')


def used_journal(p, i):
    """The journal file with the most in it, and how much that is: they are allocated ahead."""
    def used(path):
        with open(path, 'rb') as f:
            return len(f.read().rstrip(b'\0'))
    path = max(p.inside(i, 'meta/journal/*'), key=used)
    return path, used(path)


def journal_flipped_at_different_places(p):
    for i in (1, 2, 3, 4):
        path, size = used_journal(p, i)
        flip(path, size * i // 5)


def journal_left_on_one(p):
    for i in (1, 2, 3):
        for path in p.inside(i, 'meta/journal/*'):
            os.unlink(path)
    shutil.rmtree(p.pool + '/index')


def pool_json_flipped(p):
    p.unmount()
    flip(p.pool + '/pool.json', 60)
    said = p.run('mount', '--pool', p.pool, '--mountpoint', p.mnt, want=5).stderr
    if 'import' not in said:
        raise Broken(f'the message does not name import: {said}')
    shutil.rmtree(p.pool)
    p.import_(range(1, 7))
    p.mount()
    p.check()


# ---- full disks ----


def filler(p, i):
    with open(p.disk(i) + '/filler', 'wb', buffering=0) as f:
        try:
            while f.write(bytes(MIB)):
                pass
        except OSError:
            pass


def full_by_the_user(p):
    count = 0
    try:
        while count < 200:
            p.write(f'fill{count}', 4 * MIB)
            count += 1
    except OSError as e:
        if e.errno != 28:
            raise Broken(f'a full pool says {e.strerror}') from e
    if count < 20 or count == 200:
        raise Broken(f'{count} files of 4 MiB fitted on six disks of 64 MiB')
    p.check()
    for name in os.listdir(p.mnt):
        if name.startswith('fill'):
            os.unlink(f'{p.mnt}/{name}')
            p.files.pop(name, None)
    for i in range(count - 2):
        p.write(f'again{i}', 4 * MIB)
    p.check()


def full_pool_takes_many_changes(p):
    """The journal of ever so many changes of names and attributes fits beside the data of a full pool."""
    for size in (4 * MIB, 300000, 5000):
        try:
            for i in range(1000):
                p.write(f'fill{size}-{i}', size)
        except OSError as e:
            if e.errno != 28:
                raise Broken(f'a full pool says {e.strerror}') from e
    top = os.open(p.mnt, os.O_RDONLY)
    for i in range(60000):
        os.chmod(f'{p.mnt}/large', 0o600 + i % 2)
        if i % 5000 == 4999:
            os.fsync(top)
    for name in [f for f in p.files if f.startswith(f'fill{4 * MIB}-')][2:]:
        os.unlink(f'{p.mnt}/{name}')
        del p.files[name]
    os.fsync(top)
    os.close(top)
    p.write('again', MIB)
    p.check()
    p.unmount()
    p.fsck()
    p.mount()
    p.check()


def two_disks_full_behind_our_back(p):
    for i in (1, 5):
        filler(p, i)
    for i in range(10):
        p.write(f'during{i}', [5000, 300000, MIB + 5][i % 3])
    p.check()
    os.unlink(f'{p.mnt}/during0')
    del p.files['during0']
    for i in (1, 5):
        os.unlink(p.disk(i) + '/filler')
    time.sleep(1.2)
    p.write('later', 3 * MIB)
    p.check()


def metadata_disks_full_behind_our_back(p):
    """ENOSPC, deleting works, and all goes on once there is space."""
    for i in (1, 2, 3, 4):
        filler(p, i)
    said = set()
    for i in range(30):
        name = f'{p.mnt}/during{i}'
        try:
            with open(name, 'wb', buffering=0) as f:
                f.write(bytes(300000))
                os.fsync(f.fileno())
        except OSError as e:
            said.add(e.errno)
        if os.path.exists(name):
            os.unlink(name)
    if said != {28}:
        raise Broken(f'the error codes are {said}, not ENOSPC')
    os.unlink(f'{p.mnt}/small4')
    del p.files['small4']
    p.check()
    for i in (1, 2, 3, 4):
        os.unlink(p.disk(i) + '/filler')
    time.sleep(1.2)
    p.write('later', 3 * MIB)
    p.check()
    p.kill()
    p.mount()
    p.check()
    if os.path.exists(f'{p.mnt}/small4'):
        raise Broken('a file deleted on full disks is back')


def pool_directory_full(p):
    """The index' filesystem: what adds is refused and told of, and all else goes on, also after a mount (C5)."""
    p.unmount()
    sh(f'mv {p.pool} {p.top}/aside; mkdir {p.pool}; '
       f'mount -t tmpfs -o size=32m dynamicfs-test {p.pool}; cp -a {p.top}/aside/. {p.pool}/')
    p.mount()
    with open(p.pool + '/filler', 'wb', buffering=0) as f:
        try:
            while f.write(bytes(MIB)):
                pass
        except OSError:
            pass
    time.sleep(0.5)  # what the account of the directory knew is older than that
    made = 0
    try:
        for made in range(20):
            os.mkdir(f'{p.mnt}/dir{made}')
    except OSError as e:
        if e.errno != errno.ENOSPC:
            raise
    else:
        raise Broken('the pool takes changes that the index has no room for')
    if p.pool not in p.run('status', '--pool', p.pool).stdout.split('Warning', 1)[-1]:
        raise Broken('status does not name the pool directory that is full')
    p.check()
    p.unmount()
    p.run('fsck', '--pool', p.pool)
    p.mount()
    p.check()
    try:
        os.mkdir(f'{p.mnt}/another')
    except OSError as e:
        if e.errno != errno.ENOSPC:
            raise
    else:
        raise Broken('after a mount the pool takes changes that the index has no room for')
    gone = next(iter(p.files))
    os.unlink(f'{p.mnt}/{gone}')
    del p.files[gone]
    p.unmount()
    os.unlink(p.pool + '/filler')
    p.mount()
    p.check()
    if os.path.exists(f'{p.mnt}/{gone}'):
        raise Broken('a file deleted beside a full pool directory is back')
    if any(not os.path.isdir(f'{p.mnt}/dir{i}') for i in range(made)):
        raise Broken('a directory is missing')
    p.write('after', 100000)
    p.check()


def shortened_while_it_cannot_be_stored(p):
    """Once wrote past the end of a buffer: a failed truncation left dirty bytes beyond the size."""
    for i in (1, 2, 3, 4):
        filler(p, i)
    for again in range(2):
        for i in range(8):
            try:
                with open(f'{p.mnt}/dirty{i}', 'wb', buffering=0) as f:
                    f.write(bytes(200000))
                    os.fsync(f.fileno())
            except OSError:
                pass
        time.sleep(1.2)
    p.check()
    try:
        os.kill(p.pid(), 0)
    except OSError as e:
        raise Broken('the daemon died') from e
    p.run('unmount', '--mountpoint', p.mnt, want=None)
    for i in (1, 2, 3, 4):
        os.unlink(p.disk(i) + '/filler')
    p.mount()
    p.check()
    p.write('later', 3 * MIB)


# ---- two masters ----


def imported_while_mounted(p):
    first, second = p.pool, p.top + '/second'
    p.pool = second
    said = p.import_(range(1, 7), want=4).stderr
    p.pool = first
    if 'in use' not in said:
        raise Broken(f'the message is: {said}')
    p.write('still', 300000)
    p.check()


def killed_during_commands(p):
    """The daemon and an offline command die at any moment; what was fsynced stays."""
    p.unmount()
    for i in range(12):
        offline = subprocess.Popen([BINARY, ['fsck', 'status', 'inspect'][i % 3], '--pool', p.pool],
                                   stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        time.sleep(p.rng.random() * 0.05)
        offline.kill()
        offline.wait()
        p.mount()
        p.write(f'small{i % 10}', 60000)
        command = subprocess.Popen(
            [BINARY, 'fail-disk', '--pool', p.pool, '--disk', p.disk(6)] if i == 5 else
            [BINARY, 'status', '--pool', p.pool],
            stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        time.sleep(p.rng.random() * 0.03)
        p.kill()
        command.wait(timeout=30)
    p.fsck()
    p.mount()
    p.check()


CASES = {
    'emptied': vanish(empty_lost_disk),
    'replaced_by_old_copy': vanish(old_copy),
    'metadata_removed': vanish(no_roots),
    'fifo_for_roots': vanish(fifo_for_roots),
    'unmounted_disks': vanish(unmounted),
    'three_disks_and_pool_directory_lost': three_disks_lost,
    'headers_flipped': damage(headers_flipped),
    'payloads_flipped': damage(payloads_flipped),
    'segments_gone': damage(segments_gone),
    'newest_roots_flipped': damage(newest_roots_flipped),
    'roots_zeroed': damage(roots_zeroed),
    'manifests_flipped': damage(manifests_flipped),
    'index_and_tables_flipped': damage(index_and_tables_flipped),
    'index_current_hostile': damage(index_current_hostile, found=False),
    'journal_flipped_at_different_places': damage(journal_flipped_at_different_places),
    'journal_left_on_one': damage(journal_left_on_one, found=False),
    'pool_json_flipped': pool_json_flipped,
    'full_by_the_user': full_by_the_user,
    'full_pool_takes_many_changes': full_pool_takes_many_changes,
    'two_disks_full_behind_our_back': two_disks_full_behind_our_back,
    'metadata_disks_full_behind_our_back': metadata_disks_full_behind_our_back,
    'pool_directory_full': pool_directory_full,
    'shortened_while_it_cannot_be_stored': shortened_while_it_cannot_be_stored,
    'imported_while_mounted': imported_while_mounted,
    'killed_during_commands': killed_during_commands,
}


def main():
    failed = 0
    for name, case in CASES.items():
        if WANTED and name not in WANTED:
            continue
        p, start = None, time.time()
        try:
            p = Pool()
            case(p)
            print(f'ok failures_{name}' +
                  (f'  # {time.time() - start:.1f} s' if os.environ.get('TEST_TIMES') else ''),
                  flush=True)
        except (Broken, OSError, subprocess.SubprocessError, IndexError, ValueError) as e:
            failed = 1
            print(f'not ok failures_{name}: {" ".join(str(e).split())[:400]}', flush=True)
        finally:
            if p:
                p.remove()
    return failed


sys.exit(main())
