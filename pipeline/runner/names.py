"""What may be published of where an input lies: its file's name, and neither a local path nor a secret.

A presigned address has a key in its query, others have a user and a password. None of these, and no folder of
somebody's machine, belongs into what is written: cards, drops, names of partitions, logs.
"""

import hashlib
import re
from collections import Counter
from collections.abc import Sequence

NAME_CHARACTERS = 100  # of a partition's name: file systems hold 255 bytes

_ADDRESS = re.compile(r"([A-Za-z][A-Za-z0-9+.-]*://)([^\s'\"<>|]*)")
_USER = re.compile(r"\A(?:[^/]*@|[^/]*:(?!\d+(?:/|\Z)).*@)")  # a password may hold a slash by mistake


def bare(address: str) -> str:
    """Return an address without user, password, query and fragment; a local path as it is."""
    scheme, separator, rest = address.partition("://")
    if not separator:
        return address
    return scheme + separator + re.split("[?#]", _USER.sub("", rest, count=1), maxsplit=1)[0]


def file_name(address: str) -> str:
    """Return what to call a file or a folder in what is written: the last part of its bare address."""
    return bare(address).rpartition("://")[2].rstrip("/").rpartition("/")[2]


def without_secrets(text: str) -> str:
    """Return a message, an error's say, with the addresses in it bare; `?...` stands where a query was."""

    def shown(match: re.Match[str]) -> str:
        found = bare(match[0])
        return f"{found}?..." if "?" in match[0] else found

    return _ADDRESS.sub(shown, text)


def named(addresses: Sequence[str]) -> dict[str, str]:
    """Name each of some files: its own name, and a digest of where it lies that no new signature changes.

    A further file changes no other's name.
    """
    seen = Counter(bare(address) for address in addresses)
    names = {}
    for address in addresses:
        place = bare(address)
        digest = hashlib.sha256((place if seen[place] == 1 else address).encode()).hexdigest()[:8]
        names[f"{file_name(address)[:NAME_CHARACTERS]}-{digest}"] = address
    return names


def without_digest(name: str) -> str:
    """Return the file's name in one that `named` gave."""
    return name.rpartition("-")[0]
