# SPDX-License-Identifier: Apache-2.0
"""What differs and may: the one table of it. Each row is as narrow as it can be, and says why (docs/POSIX.md has the words for users).

NOT_TRIED is what no step does, RESULTS are rows about what a call gives, same() knows of what is seen of a tree. A row's function says whether
it is this difference; `parts` tells that the trees differ from then on, so the sequence ends there."""

import stat

from look import FIELDS as TIMES

NOT_TRIED = {
    "O_TMPFILE": "FUSE_TMPFILE wants libfuse 3.17",
    "fallocate COLLAPSE_RANGE, INSERT_RANGE, UNSHARE_RANGE": "the kernel passes them to no FUSE server",
    "FIEMAP, FICLONE": "FUSE has no such request",
    "chattr of other flags": "not kept; ext4 has some",
    "O_DIRECT not aligned": "ext4 refuses, FUSE has no alignment",
    "O_DIRECT with pwritev, sendfile, copy_file_range": "their offsets and memory are not aligned",
    "pwrite with O_DIRECT and O_APPEND": "goes to the file's end, which need not be aligned",
    "writing to an immutable file through a map": "SIGBUS on ext4; the kernel asks a FUSE server of nothing",
    "lseek of directories": "positions are each filesystem's own",
    "mmap without msync": "when it is stored, and its time, is the kernel's choice",
    "atime of reading": "of reads from its cache the kernel tells nothing; both are mounted with noatime",
    "sizes of directories, st_blocks": "each filesystem's own",
    "birth time, statx attributes": "FUSE_STATX wants libfuse 3.18",
    "ENOSPC, EDQUOT, EMLINK, EFBIG": "limits are each filesystem's own",
}


class Row:
    def __init__(self, why, fits, parts=False):
        self.why, self.fits, self.parts, self.times = why, fits, parts, 0


def _append_only(step, ours, theirs, flagged):
    writes = ("write", "pwrite", "pwritev", "fallocate", "copy_range", "sendfile", "map_write")
    return step[1] in writes and ours == ["EPERM"] and theirs[0] == "ok"


def _flags_first(step, ours, theirs, flagged):
    return theirs == ["EPERM"] and ours[0] not in ("ok", "died") and flagged()


def _no_bytes(step, ours, theirs, flagged):
    return step[1] in ("write", "pwrite", "pwritev") and ours == ["ok", 0] and theirs == ["EPERM"] and flagged()


RESULTS = [
    Row("a write of no bytes does not reach the daemon, which knows of flags", _no_bytes),
    Row("flags are asked where the daemon is, after what the kernel checks itself: another error", _flags_first),
    Row("access(2) asks a FUSE server of no flags", lambda step, ours, theirs, flagged: step[1] == "access" and ours == ["ok", True] and theirs == ["ok", False]),
    Row("a descriptor without O_APPEND from before the file became append-only", _append_only, parts=True),
]


def result(step, ours, theirs, flagged):
    """The row that allows it, or None. flagged() tells whether any file has flags."""
    return next((row for row in RESULTS if row.fits(step, ours, theirs, flagged)), None)


def same_time(ours, theirs):
    """A clock may be too coarse to show a change just after a look."""
    return ours == theirs or (ours[0] == theirs[0] == "now" and "perhaps" in (ours[1], theirs[1]))


def written_fifo(field, mine, other):
    """The kernel writes to a FIFO by itself, and tells a FUSE server nothing of the time."""
    return field in ("mtime", "ctime", "order") and stat.S_ISFIFO(int(mine["mode"], 8)) and stat.S_ISFIFO(int(other["mode"], 8))


def whiteout_list(field, mine, other):
    """What a rename with RENAME_WHITEOUT leaves inherits an access list on ext4; nothing is allowed to anybody by it."""
    return field == "xattrs" and mine["mode"] == other["mode"] == oct(stat.S_IFCHR) and not mine[field] and list(other[field]) == ["system.posix_acl_access"]


def same(field, mine, other):
    """mine, other: all fields of a path."""
    ours, theirs = mine.get(field), other.get(field)
    if ours == theirs or written_fifo(field, mine, other) or whiteout_list(field, mine, other):
        return True
    return field in TIMES and same_time(ours, theirs)
