"""The tokens of a split as one sequence, of shards on a disk or on a store."""

from bisect import bisect_right
from collections.abc import Callable, Sequence
from contextlib import suppress
from itertools import accumulate
from threading import Event, Thread

import numpy as np
from numpy.typing import NDArray

from tokenizer.shards.cache import ShardCache
from tokenizer.shards.formats import Tokens
from tokenizer.shards.index import Shard


class TokenStream:
    """The tokens of a split, shard after shard, as one sequence."""

    def __init__(self, parts: Sequence[Tokens]) -> None:
        self._parts = [np.asarray(part) for part in parts]  # slicing a memory map is slow
        self.ends = list(accumulate(len(part) for part in parts))  # of each shard

    def __len__(self) -> int:
        return self.ends[-1] if self.ends else 0

    def _part(self, number: int) -> Tokens:
        return self._parts[number]

    def read(self, start: int, count: int) -> NDArray[np.int64]:
        """Return `count` tokens from `start`, fewer at the end of the stream."""
        stop = min(start + count, len(self))
        parts = [np.empty(0, np.int64)]
        number = bisect_right(self.ends, start)
        while start < stop:
            whole = self._part(number)
            first = self.ends[number] - len(whole)
            part = whole[start - first : stop - first]
            parts.append(part.astype(np.int64))
            start += len(part)
            number += 1
        return np.concatenate(parts)

    def read_rows(self, starts: Sequence[int], count: int) -> NDArray[np.int64]:
        """Return `count` tokens from each of the starts [len(starts), count], zeros beyond the end."""
        rows = np.empty((len(starts), count), np.int64)
        for row, start in zip(rows, starts, strict=True):
            number = bisect_right(self.ends, start)
            stop = start + count
            if number < len(self.ends) and stop <= self.ends[number]:  # all in one shard, the usual case
                part = self._part(number)
                first = self.ends[number] - len(part)
                row[:] = part[start - first : stop - first]
            else:
                tokens = self.read(start, count)
                row[: len(tokens)], row[len(tokens) :] = tokens, 0
        return rows


class StreamedTokens(TokenStream):
    """The tokens of a split on a store, each shard fetched when it is read, or before.

    Its own threads may fetch, and one thread reads.
    """

    def __init__(
        self, cache: ShardCache, described: Sequence[Shard], open_shard: Callable[[Shard], Tokens]
    ) -> None:
        super().__init__(())
        self._cache, self._described, self._open = cache, described, open_shard
        self.ends = list(accumulate(shard.tokens for shard in described))
        self._opened: dict[int, Tokens] = {}
        self._wanted: list[int] = []
        self._fetching: Thread | None = None
        self._closed = Event()

    def _part(self, number: int) -> Tokens:
        if number not in self._opened:
            self._opened[number] = np.asarray(self._open(self._described[number]))
        return self._opened[number]

    def need(self, now: Sequence[int], later: Sequence[int], *, first: int = 0) -> None:
        """Let go of all shards but these, and fetch those that are missing, in a thread.

        What that thread cannot fetch is tried again, and reported, by `read` and `read_rows`.

        Args:
            now: numbers of the shards that are read from now on.
            later: of those that come next.
            first: where to begin, so that the processes of a machine each begin elsewhere.
        """
        wanted = list(dict.fromkeys([*now, *later]))
        if wanted == self._wanted:
            return
        self._wanted = wanted
        self._opened = {number: part for number, part in self._opened.items() if number in wanted}
        self._cache.keep([self._described[number] for number in wanted])
        if self._fetching is not None and self._fetching.is_alive():
            self._wanted = []  # asked again at the next step
            return
        turned = [self._described[number] for number in wanted]
        self._fetching = Thread(
            target=self._try_to_fetch, args=(turned, first), name="shards ahead", daemon=True
        )
        self._fetching.start()

    def close(self) -> None:
        """Fetch nothing ahead any more: else the end of the process would wait for it."""
        self._closed.set()

    def _try_to_fetch(self, shards: Sequence[Shard], first: int) -> None:
        with suppress(OSError, ValueError):
            self._cache.fetch_all(shards, first=first, stop=self._closed)
