"""Files in memory without an open file for each: `np.memmap` keeps one, and many systems allow 1,024."""

import ctypes
import mmap
import os
import weakref
from functools import cache
from pathlib import Path

_FAILED = ctypes.c_void_p(-1).value


def map_file(path: Path, size: int) -> memoryview:
    """Return the first `size` bytes of a file, which are read when they are used; they cannot be written.

    They stay mapped as long as something refers to them.

    Raises:
        OSError: the file cannot be opened or mapped.
    """
    libc = _libc()
    with path.open("rb") as file:
        address = libc.mmap(None, size, mmap.PROT_READ, mmap.MAP_SHARED, file.fileno(), 0)
    if address == _FAILED:
        number = ctypes.get_errno()
        raise OSError(number, os.strerror(number), str(path))
    content = (ctypes.c_char * size).from_address(address)
    weakref.finalize(content, libc.munmap, address, size)
    return memoryview(content).toreadonly()


@cache
def _libc() -> ctypes.CDLL:
    libc = ctypes.CDLL(None, use_errno=True)
    libc.mmap.restype = ctypes.c_void_p
    libc.mmap.argtypes = (
        *(ctypes.c_void_p, ctypes.c_size_t, ctypes.c_int, ctypes.c_int, ctypes.c_int),
        ctypes.c_longlong,  # off_t, on every 64-bit system
    )
    libc.munmap.argtypes = (ctypes.c_void_p, ctypes.c_size_t)
    return libc
