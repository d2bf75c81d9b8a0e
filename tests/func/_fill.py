#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Fills a pool to its end, round after round, with kills in between, and checks every byte.

usage: _fill.py rounds PROGRAM POOL MNT SHAPE ROUNDS SEED DISK...   the whole test, see one_round()
       _fill.py fill DIR SIZE COUNT     writes files, prints how many were written whole
       _fill.py check DIR SIZE COUNT    exit 1 when one of them is not there, or is wrong

SHAPE: a number   files of that many bytes
       mixed      files of all sizes from 0 to 5 MB
       names      empty files, directories and symbolic links with long names, and extended attributes
       grow       one file that grows
       over       random overwrites of a file, in a pool that gets full

What is expected is told from names and numbers alone. After a kill: what was accepted before the last
sync is there, of what came later a beginning; after a clean unmount all is there.
"""
import errno
import fcntl
import hashlib
import json
import os
import random
import signal
import struct
import subprocess
import sys
import threading
import time

SIZES = [0, 100, 4000, 4200, 50000, 5000000]
BLOCK = 4096
SHUTDOWN = 0x8004587d  # XFS_IOC_GOINGDOWN, ext4 has it, too


class Wrong(Exception):
    pass


def must(cond, text):
    if not cond:
        raise Wrong(text)


def content(name, size):
    return hashlib.shake_128(name.encode()).digest(size)


def write_all(fd, data):
    """Writes all of it, or raises; the exception's `done` says how much was accepted."""
    done = 0
    try:
        while done < len(data):
            done += os.write(fd, data[done:done + (1 << 20)])
    except OSError as e:
        e.done = done
        raise


def read_all(path):
    fd = os.open(path, os.O_RDONLY)
    try:
        os.posix_fadvise(fd, 0, 0, os.POSIX_FADV_DONTNEED)  # ask the daemon, not the page cache
        size, parts = os.fstat(fd).st_size, []
        while part := os.read(fd, 1 << 20):
            parts.append(part)
    finally:
        os.close(fd)
    data = b''.join(parts)
    must(len(data) == size, '%s has %d bytes, its size is %d' % (path, len(data), size))
    return data


class Pool:
    def __init__(self, program, pool, mnt, disks):
        self.program, self.pool, self.mnt, self.disks = program, pool, mnt, disks

    def command(self, *args):
        p = subprocess.run([self.program, *args], capture_output=True, text=True, timeout=300)
        must(p.returncode == 0, '%s: exit %d: %s%s' % (args[0], p.returncode, p.stderr[-600:], p.stdout[-300:]))
        return p.stdout

    def mount(self):
        self.command('mount', '--pool', self.pool, '--mountpoint', self.mnt)

    def unmount(self):
        self.command('unmount', '--mountpoint', self.mnt)

    def sync(self):
        fd = os.open(self.mnt, os.O_RDONLY)
        try:
            os.fsync(fd)
        finally:
            os.close(fd)

    def available(self):
        v = os.statvfs(self.mnt)
        return v.f_bavail * v.f_frsize

    def status(self):
        return json.loads(self.command('status', '--pool', self.pool, '--json'))

    def kill(self):
        with open(self.pool + '/lock') as f:
            pid = int(f.read())
        os.kill(pid, signal.SIGKILL)
        return pid

    def killed(self, pid):
        """Clears away what a killed daemon leaves, and mounts."""
        subprocess.run(['umount', '-l', self.mnt], capture_output=True, check=False)
        while os.path.exists('/proc/%d' % pid):
            time.sleep(0.01)
        self.mount()

    def lose(self, disk):
        """A disk goes while it is in use: its filesystem gives errors from now on, or it is emptied."""
        fd = os.open(disk, os.O_RDONLY)
        try:
            fcntl.ioctl(fd, SHUTDOWN, struct.pack('I', 2))
        except OSError:
            for top, _, names in os.walk(disk):
                for name in names:
                    try:
                        os.truncate(os.path.join(top, name), 0)
                        os.unlink(os.path.join(top, name))
                    except FileNotFoundError:
                        pass  # the daemon was faster
        finally:
            os.close(fd)


class Killer:
    """Kills the daemon a moment after it was told to, at any place of whatever goes on."""

    def __init__(self, pool, r):
        self.pool, self.delay, self.thread, self.pid = pool, r.choice([0, 0.001, 0.01, 0.05]), None, 0

    def go(self):
        if not self.thread:
            self.thread = threading.Thread(target=self._run)
            self.thread.start()

    def _run(self):
        time.sleep(self.delay)
        self.pid = self.pool.kill()

    def finish(self):
        self.go()
        self.thread.join()
        self.pool.killed(self.pid)


class Shape:
    """What is written. `items` are what has been accepted so far, in order; the first `synced` of them
    were there when a sync returned."""

    def __init__(self, pool, r):
        self.pool, self.r = pool, r
        self.top = pool.mnt + '/fill'
        self.capacity = pool.available()
        self.reset()

    def reset(self):
        self.items, self.synced, self.full = [], 0, 0

    def sync(self):
        self.pool.sync()
        self.synced = len(self.items)

    def used(self):
        return 1 - self.pool.available() / self.capacity

    def fill(self, killer=None, until=1.0):
        """To the end: until three writings in a row find no space though all is stored. With a killer
        until the daemon is dead, which is told to die when `until` of the space is used."""
        os.makedirs(self.top, exist_ok=True)
        full = count = 0
        while full < 3 or killer:
            try:
                self.more()
                full = 0
            except OSError as e:
                if e.errno != errno.ENOSPC:
                    must(killer and killer.thread, 'while filling: %s' % e)
                    return
                full += 1
            count += 1
            try:
                if full or self.r.random() < self.sync_rate:
                    self.sync()
                if killer and (full or count % 20 == 0) and (full or self.used() >= until):
                    killer.go()
            except OSError as e:
                must(killer and killer.thread, 'while filling: sync: %s' % e)
                return


class Files(Shape):
    sync_rate = 0.002

    def __init__(self, pool, r, sizes):
        self.sizes = sizes
        if max(sizes) >= 50000:
            self.sync_rate = 0.05
        super().__init__(pool, r)

    def path(self, i):
        return '%s/%03d/%06d' % (self.top, i // 500, i)

    def size(self, i):
        return self.sizes[i % len(self.sizes)]

    def bytes(self):
        return sum(length for _, length in self.items)

    def more(self):
        i = self.items[-1][0] + 1 if self.items else 0
        path = self.path(i)
        os.makedirs(os.path.dirname(path), exist_ok=True)
        fd = os.open(path, os.O_CREAT | os.O_WRONLY | os.O_EXCL, 0o600)
        self.items.append([i, 0])
        try:
            write_all(fd, content(str(i), self.size(i)))
            self.items[-1][1] = self.size(i)
        except OSError as e:
            self.items[-1][1] = e.done
            raise
        finally:
            os.close(fd)

    def there(self):
        found = {}
        for top, _, names in os.walk(self.top):
            for name in names:
                found[int(name)] = top + '/' + name
        return found

    def verify(self, i, path, least, most):
        data = read_all(path)
        must(least <= len(data) <= most, '%s has %d bytes, not %d to %d' % (path, len(data), least, most))
        must(data == content(str(i), len(data)), '%s has wrong bytes' % path)
        return len(data)

    def check(self):
        """All that was accepted is there, and nothing else."""
        found = self.there()
        for i, length in self.items:
            must(i in found, '%s is not there' % self.path(i))
            self.verify(i, found.pop(i), length, length)
        must(not found, '%d files are there that should not be, such as %s' % (len(found), found))

    def check_killed(self):
        """All that was synced, and of what came later a beginning: which is what we have from now on."""
        found, items = self.there(), []
        # what was begun last may be there, though nobody was told so
        tried = self.items + [[self.items[-1][0] + 1 if self.items else 0, 0]]
        for at, (i, length) in enumerate(tried):
            if at < self.synced:
                must(i in found, '%s was synced and is not there' % self.path(i))
                items.append([i, self.verify(i, found.pop(i), length, length)])
            elif i in found:
                must(len(items) == at, '%s is there, and one before it is not' % self.path(i))
                items.append([i, self.verify(i, found.pop(i), 0, self.size(i))])
        must(not found, '%d files are there that should not be, such as %s' % (len(found), found))
        self.items, self.synced = items, 0

    def remove(self, item):
        os.unlink(self.path(item[0]))

    def delete_some(self, killer):
        """Deletes in any order until the daemon is killed. What is deleted after that is a beginning of
        that order, and has at least what was synced."""
        self.r.shuffle(self.items)
        gone = synced = 0
        when = self.r.uniform(0.1, 0.9) * len(self.items)
        try:
            for item in self.items:
                self.remove(item)
                gone += 1
                if self.r.random() < self.sync_rate:
                    self.pool.sync()
                    synced = gone
                if gone >= when:
                    killer.go()
        except OSError as e:
            must(killer.thread, 'while deleting: %s' % e)
        killer.finish()
        found = self.there()
        first = next((n for n, item in enumerate(self.items) if item[0] in found), len(self.items))
        must(first >= synced, '%s is back, though a sync said that it is gone' % self.items[first % len(self.items)])
        must(first <= gone + 1, '%s is gone, and was not deleted' % self.items[gone % len(self.items)])
        self.items = sorted(self.items[first:])
        self.check()

    def delete_all(self):
        for item in self.items:
            self.remove(item)
        for name in os.listdir(self.top):
            os.rmdir(self.top + '/' + name)
        self.reset()


class Names(Files):
    """An item's number says what it is; its length is that of its attribute."""

    def __init__(self, pool, r):
        super().__init__(pool, r, [0])

    def path(self, i):
        return '%s/%03d/%06d-%s' % (self.top, i // 500, i, hashlib.sha256(b'%d' % i).hexdigest() * (i % 4))

    def size(self, i):
        return 0 if i % 4 == 2 else [60, 700, 3000][i % 3]

    def more(self):
        i = self.items[-1][0] + 1 if self.items else 0
        path = self.path(i)
        os.makedirs(os.path.dirname(path), exist_ok=True)
        if i % 4 == 1:
            os.mkdir(path)
        elif i % 4 == 2:
            os.symlink(content(str(i), 100).hex(), path)
        else:
            os.close(os.open(path, os.O_CREAT | os.O_WRONLY | os.O_EXCL, 0o600))
        self.items.append([i, 0])
        if self.size(i):
            os.setxattr(path, 'user.fill', content(str(i), self.size(i)))
            self.items[-1][1] = self.size(i)

    def there(self):
        found = {}
        for group in os.listdir(self.top):
            for name in os.listdir(self.top + '/' + group):
                found[int(name.split('-')[0])] = self.top + '/' + group + '/' + name
        return found

    def verify(self, i, path, least, most):
        must(path == self.path(i), '%s is not called %s' % (path, self.path(i)))
        if i % 4 == 2:
            must(os.readlink(path) == content(str(i), 100).hex(), '%s points elsewhere' % path)
        must(os.path.isdir(path) == (i % 4 == 1), '%s is of another kind' % path)
        try:
            value = os.getxattr(path, 'user.fill', follow_symlinks=False)
        except OSError as e:
            if e.errno != errno.ENODATA:
                raise
            value = b''
        must(len(value) in (least, most), '%s: an attribute of %d, not %d bytes' % (path, len(value), most))
        must(value == content(str(i), len(value)), '%s: the attribute is wrong' % path)
        return len(value)

    def remove(self, item):
        (os.rmdir if item[0] % 4 == 1 else os.unlink)(self.path(item[0]))


class Grow(Shape):
    """One file; items are blocks: the version that each has. A file that only grows has version 0."""
    sync_rate = 0.03

    def reset(self):
        super().reset()
        self.size = self.synced_size = self.tried = 0
        self.fd = -1

    def file(self):
        return self.top + '/file'

    def bytes(self):
        return self.size

    def block(self, i, version=0):
        return struct.pack('<QQ', i, version) + content('%d.%d' % (i, version), BLOCK - 16)

    def stretch(self, start, end):
        first = start // BLOCK
        data = b''.join(self.block(i) for i in range(first, (end + BLOCK - 1) // BLOCK))
        return data[start - first * BLOCK:end - first * BLOCK]

    def more(self):
        if not os.path.exists(self.file()):
            os.close(os.open(self.file(), os.O_CREAT | os.O_WRONLY, 0o600))
        fd = os.open(self.file(), os.O_WRONLY | os.O_APPEND)
        n = self.r.choice([1, 1000, 5000, 70000, 300000, 1500000])
        self.tried = self.size + n
        try:
            write_all(fd, self.stretch(self.size, self.size + n))
            self.size += n
        except OSError as e:
            self.size += e.done
            raise
        finally:
            os.close(fd)

    def sync(self):
        self.pool.sync()
        self.synced_size = self.size

    def verify(self, least, most):
        if not least and not os.path.exists(self.file()):
            return 0
        data = read_all(self.file())
        must(least <= len(data) <= most, 'the file has %d bytes, not %d to %d' % (len(data), least, most))
        for i in range((len(data) + BLOCK - 1) // BLOCK):
            self.verify_block(i, data[i * BLOCK:(i + 1) * BLOCK])
        return len(data)

    def verify_block(self, i, data):
        must(data == self.block(i)[:len(data)], 'block %d of the file has wrong bytes' % i)

    def check(self):
        self.verify(self.size, self.size)

    def check_killed(self):
        self.size = self.synced_size = self.verify(self.synced_size, max(self.tried, self.size))

    def delete_some(self, killer):
        """Truncates step by step until the daemon is killed."""
        synced = self.size
        when = self.size * self.r.uniform(0.1, 0.9)
        try:
            while self.size:
                n = max(0, self.size - self.r.randrange(1, 1000000))
                os.truncate(self.file(), n)
                self.size = n
                if self.r.random() < 0.3:
                    self.pool.sync()
                    synced = n
                if n <= when:
                    killer.go()
        except OSError as e:
            must(killer.thread, 'while truncating: %s' % e)
        killer.finish()
        self.size = self.verify(max(0, self.size - 1000000), synced)

    def delete_all(self):
        if os.path.exists(self.file()):  # a kill may have come before it was ever synced
            os.unlink(self.file())
        self.reset()


class Over(Grow):
    """Grows to half of the space, then blocks are overwritten at random while a second file fills the rest."""
    sync_rate = 0.01

    def reset(self):
        super().reset()
        self.versions, self.synced_versions, self.tried_versions, self.rest, self.steps = {}, {}, {}, 0, 0

    def more(self):
        if not self.steps and (not self.size or self.used() < 0.5):
            super().more()
            return
        self.steps += 1
        if self.steps % 8 == 0 or not self.size >= BLOCK:
            self.fill_rest()
            return
        i = self.r.randrange(self.size // BLOCK)
        version = self.tried_versions.get(i, 0) + 1
        fd = os.open(self.file(), os.O_WRONLY)
        self.tried_versions[i] = version
        try:
            os.pwrite(fd, self.block(i, version), i * BLOCK)
            self.versions[i] = version
        finally:
            os.close(fd)

    def fill_rest(self):
        fd = os.open(self.top + '/rest', os.O_CREAT | os.O_WRONLY | os.O_APPEND, 0o600)
        try:
            write_all(fd, bytes(200000))
        finally:
            os.close(fd)

    def sync(self):
        super().sync()
        self.synced_versions = dict(self.versions)

    def verify_block(self, i, data):
        least, most = self.least.get(i, 0), self.most.get(i, 0)
        if len(data) < 16:  # cut off by truncating
            must(any(data == self.block(i, v)[:len(data)] for v in range(least, most + 1)),
                 'block %d of the file has wrong bytes' % i)
            return
        number, version = struct.unpack('<QQ', data[:16])
        must(number == i and data == self.block(i, version)[:len(data)], 'block %d of the file has wrong bytes' % i)
        must(least <= version <= most, 'block %d has version %d, not %d to %d' % (i, version, least, most))
        self.seen[i] = version

    def check(self):
        # a write that found no space may have been accepted in part only: never here, for blocks are one write
        self.least, self.most, self.seen = self.versions, self.versions, {}
        super().check()

    def check_killed(self):
        self.least, self.most, self.seen = self.synced_versions, self.tried_versions, {}
        super().check_killed()
        self.versions = self.synced_versions = self.seen

    def delete_some(self, killer):
        self.least, self.most, self.seen = self.versions, self.versions, {}
        os.path.exists(self.top + '/rest') and os.unlink(self.top + '/rest')
        super().delete_some(killer)


def shape_of(name, pool, r):
    if name.isdigit():
        return Files(pool, r, [int(name)])
    if name == 'mixed':
        return Files(pool, r, SIZES)
    return dict(names=Names, grow=Grow, over=Over)[name](pool, r)


class Test:
    def __init__(self, pool, name, r):
        self.pool, self.r, self.name = pool, r, name
        self.figures = []

    def healthy(self, when):
        state = self.pool.status()
        must(state['state'] == 'healthy', '%s: status says %s: %s' % (when, state['state'], state['warnings']))

    def one_round(self, k):
        """Filling, killed on the way and gone on with; full: stored, killed or unmounted, all there;
        deleting, killed on the way; all deleted: the space is back, and nothing else."""
        shape, pool = self.shape, self.pool
        killer = Killer(pool, self.r)
        shape.fill(killer, self.r.uniform(0.1, 0.95))
        killer.finish()
        shape.check_killed()
        shape.fill()
        self.figures.append((len(shape.items) or 1, shape.bytes()))
        self.healthy('full')
        if k % 2:
            pool.unmount()
            pool.mount()
        else:
            pool.killed(pool.kill())
        shape.check()
        self.healthy('full, mounted again')
        shape.delete_some(Killer(pool, self.r))
        shape.delete_all()
        os.path.exists(shape.top + '/rest') and os.unlink(shape.top + '/rest')
        pool.sync()
        self.healthy('empty')
        pool.unmount()
        pool.mount()
        must(not os.listdir(shape.top), 'deleted files are back')
        self.space_is_back()

    def space_is_back(self):
        """All of it: what the kills have left goes, too."""
        least = self.shape.capacity * 0.9
        end = time.monotonic() + 20
        while self.pool.available() < least and time.monotonic() < end:
            time.sleep(0.2)
        must(self.pool.available() >= least, 'all is deleted, and %d of %d MiB are available' %
             (self.pool.available() >> 20, self.shape.capacity >> 20))

    def two_disks(self):
        pool, shape = self.pool, self.shape
        shape.fill()
        lost = self.r.sample(pool.disks, 2)
        for disk in lost:
            pool.lose(disk)
        shape.check()
        pool.unmount()
        for disk in lost:
            subprocess.run(['umount', '-l', disk], check=False)
        pool.mount()
        shape.check()
        pool.unmount()

    def run(self, rounds):
        self.pool.mount()
        self.shape = shape_of(self.name, self.pool, self.r)
        for k in range(rounds):
            self.one_round(k)
            print('ok round %d' % (k + 1), flush=True)
        self.two_disks()
        print('ok all is there without two disks')
        must(self.figures[-1][1] >= self.figures[0][1] * 0.7, 'rounds took less and less: %s' % self.figures)
        print('# df said %d MiB; accepted: %s' % (self.shape.capacity >> 20, ', '.join(
            '%d files, %.1f MiB' % (n, b / 2**20) for n, b in self.figures)))


def rounds(program, pool, mnt, name, count, seed, *disks):
    seed = int(seed) if seed else random.SystemRandom().randrange(1 << 30)
    try:
        Test(Pool(program, pool, mnt, disks), name, random.Random(seed)).run(int(count))
    except (Wrong, OSError, subprocess.TimeoutExpired) as e:
        import traceback
        traceback.print_exc()
        print('not ok %s: %s (FILL_SEED=%d)' % (name, str(e).replace('\n', ' '), seed))
        sys.exit(1)


def simple_path(top, i):
    return '%s/%03d/%06d' % (top, i // 500, i)


def simple_fill(top, size, count):
    for i in range(count):
        try:
            os.makedirs(os.path.dirname(simple_path(top, i)), exist_ok=True)
            with open(simple_path(top, i), 'xb', buffering=0) as f:
                write_all(f.fileno(), content(str(i), size))
        except OSError as e:
            print(e, file=sys.stderr)
            return i
    return count


def simple_check(top, size, count):
    for i in range(count):
        if read_all(simple_path(top, i)) != content(str(i), size):
            sys.exit('%s is wrong' % simple_path(top, i))


if __name__ == '__main__':
    if sys.argv[1] == 'rounds':
        rounds(*sys.argv[2:])
    elif sys.argv[1] == 'fill':
        print(simple_fill(sys.argv[2], int(sys.argv[3]), int(sys.argv[4])))
    else:
        simple_check(sys.argv[2], int(sys.argv[3]), int(sys.argv[4]))
