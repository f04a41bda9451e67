"""Printing what strangers wrote: titles, names of files, texts, errors.

Such text may hold escape sequences, which make a terminal hide lines, change its title, or type for its user.
And a terminal of another encoding than UTF-8 must not end a run at the first letter that it does not know.
"""

import io
import re
import sys
from typing import Any, TextIO

_HARMFUL = re.compile(
    "[\x00-\x08\x0b-\x1f\x7f-\x9f"  # control characters other than tabs and line feeds
    "\u061c\u200e\u200f\u2028-\u202e\u2066-\u2069"  # lines and directions: the order of what is read
    "\ud800-\udfff]"
)


def say(*values: object, end: str = "\n", file: TextIO | None = None, flush: bool = False) -> None:
    """Print as `print` does, harmlessly; for all that is not a program's own words.

    On a terminal, control characters are shown as Python writes them (`\\x1b`). Into a file or a pipe they go
    as they are: another program reads those. What the output's encoding lacks is written as escapes.
    """
    out = sys.stdout if file is None else file
    print(shown(" ".join(map(str, values)), out), end=end, file=out, flush=flush)


def shown(text: str, out: TextIO) -> str:
    """Return text as `say` writes it to this output, for those that write by other ways (`sys.exit`)."""
    if out.isatty():
        text = harmless(text)
    encoding = out.encoding or "utf-8"
    return text.encode(encoding, "backslashreplace").decode(encoding)


def harmless(text: str) -> str:
    """Return text in which control characters are seen and do nothing; tabs and line feeds stay."""
    return _HARMFUL.sub(lambda match: match[0].encode("unicode_escape").decode(), text)


def protect_output() -> None:
    """Make all that this process prints from now on harmless, by `print` too.

    On a terminal standard output is written as `say` does. Of any encoding, standard output and errors take
    every character, as an escape where they lack it.
    """
    for out in (sys.stdout, sys.stderr):
        if isinstance(out, io.TextIOWrapper):
            out.reconfigure(errors="backslashreplace")
    if sys.stdout.isatty():
        sys.stdout = _Harmless(sys.stdout)


class _Harmless:
    """A terminal that what is written to it cannot command."""

    def __init__(self, out: TextIO) -> None:
        self._out = out

    def write(self, text: str) -> int:
        return self._out.write(harmless(text))

    def __getattr__(self, name: str) -> Any:
        return getattr(self._out, name)
