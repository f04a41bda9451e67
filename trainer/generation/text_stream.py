"""Text that grows token by token: whole characters only, and nothing of a stop string."""

import codecs
from collections.abc import Sequence


class TextStream:
    """Turns tokens into text as they come.

    A token may be part of a character, and several make up a stop string. So text is held back as long as
    it may still turn out to be either; and once a stop string is there, the text ends before it.
    """

    def __init__(self, token_bytes: Sequence[bytes], stops: Sequence[str] = ()) -> None:
        """Begin an empty text; `token_bytes` are those of each id."""
        assert all(stops), "an empty string would stop every text"
        self._token_bytes = token_bytes
        self._stops = stops
        self._decoder = codecs.getincrementaldecoder("utf-8")("replace")
        self._held = ""  # whole characters that may be the beginning of a stop string
        self.stopped = False

    def add(self, token: int) -> str:
        """Take a token; return the text that is certain now."""
        assert not self.stopped
        return self._release(self._decoder.decode(self._token_bytes[token]))

    def end(self) -> str:
        """Return what was held back, now that nothing follows; half a character is told as U+FFFD."""
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
        """Return how many characters at the end are the beginning of a stop string."""
        longest = max((len(stop) for stop in self._stops), default=1) - 1
        for length in range(min(longest, len(self._held)), 0, -1):
            if any(stop.startswith(self._held[-length:]) for stop in self._stops):
                return length
        return 0
