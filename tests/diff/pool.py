# SPDX-License-Identifier: Apache-2.0
"""The pool that is tried: mounted anew, with or without the daemon's help."""

import argparse
import json
import os
import random
import signal
import subprocess


class Pool:
    def __init__(self, mnt, program, pool):
        self.mnt, self.program, self.pool = mnt, program, pool

    def _run(self, *command):
        subprocess.run(command, check=True, stdout=subprocess.DEVNULL)

    def kill(self):
        with open(f"{self.pool}/mounted") as f:
            os.kill(json.load(f)["pid"], signal.SIGKILL)

    def mount(self):
        self._run(self.program, "mount", "--pool", self.pool, "--mountpoint", self.mnt, "-o", "noatime,nosuid,nodev")

    def mount_after_kill(self):
        self._run("umount", "-l", self.mnt)
        self.mount()

    def remount(self):
        self._run(self.program, "unmount", "--mountpoint", self.mnt)
        self.mount()


def arguments(doc):
    """A parser of what run.sh gives to each program: the two mounts, the program, the pool; and the seed."""
    p = argparse.ArgumentParser(description=doc)
    for name in ("ours", "other", "program", "pool"):
        p.add_argument(name)
    p.add_argument("--seed", default=str(random.SystemRandom().randrange(1 << 30)))
    return p
