# SPDX-License-Identifier: Apache-2.0
"""Delta debugging: the shortest part of a list that still fails the same way."""

import time


def shrink(steps, fails, seconds):
    """fails(part) -> bool. Leaves out ever smaller chunks, from the end, until none can go any more or time is up."""
    end = time.monotonic() + seconds
    size = max(1, len(steps) // 2)
    while time.monotonic() < end:
        at, smaller = len(steps), False
        while at > 0 and time.monotonic() < end:
            part = steps[: max(0, at - size)] + steps[at:]
            if len(part) < len(steps) and fails(part):
                steps, smaller = part, True
            at -= size
        if size == 1 and not smaller:
            break
        if not smaller or size > 1:
            size = max(1, size // 2)
    return steps
