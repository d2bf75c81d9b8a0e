# SPDX-License-Identifier: Apache-2.0
"""The C library, for calls that Python's os lacks."""

import ctypes
import os

libc = ctypes.CDLL(None, use_errno=True)


def call(name, *args):
    """Raises OSError where the function returns less than 0."""
    result = getattr(libc, name)(*args)
    if result < 0:
        e = ctypes.get_errno()
        raise OSError(e, os.strerror(e), name)
    return result
