"""Decodes text token by token: whole characters only, and no part of a stop string."""

import codecs
from collections.abc import Sequence


class TextStream:
    """Turns tokens into text as they come.

    A token may be part of a character, and several may make up a stop string. So text is held back while it
    could still become either; when a stop string appears, the text ends before it.
    """

    def __init__(self, token_bytes: Sequence[bytes], stops: Sequence[str] = ()) -> None:
        """Start an empty text; `token_bytes` are the bytes of each id."""
        assert all(stops), "an empty string would stop every text"
        self._token_bytes = token_bytes
        self._stops = stops
        self._decoder = codecs.getincrementaldecoder("utf-8")("replace")
        self._held = ""  # whole characters that may begin a stop string
        self.stopped = False

    def add(self, token: int) -> str:
        """Add a token; return the new text that is certain."""
        assert not self.stopped
        return self._release(self._decoder.decode(self._token_bytes[token]))

    def end(self) -> str:
        """Return the text held back, now that nothing follows; a partial character becomes U+FFFD."""
        if self.stopped:
            return ""
        certain = self._release(self._decoder.decode(b"", final=True))
        return certain + ("" if self.stopped else self._held)

    def _release(self, text: str) -> str:
        self._held += text
        found = [place for place in map(self._held.find, self._stops) if place >= 0]
        self.stopped = bool(found)
        certain = min(found) if found else len(self._held) - self._may_become_a_stop()
        released, self._held = self._held[:certain], self._held[certain:]
        return released

    def _may_become_a_stop(self) -> int:
        """Return how many characters at the end may begin a stop string."""
        longest = max((len(stop) for stop in self._stops), default=1) - 1
        for length in range(min(longest, len(self._held)), 0, -1):
            if any(stop.startswith(self._held[-length:]) for stop in self._stops):
                return length
        return 0
