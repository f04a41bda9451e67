"""An order of windows that reads a few shards at a time, so that the others need not be at hand."""

from bisect import bisect_right
from collections.abc import Sequence
from itertools import pairwise

import numpy as np

from trainer.data.permutation import permute


class Groups:
    """The windows of a split in groups of consecutive shards.

    An epoch takes the groups in its own order, and the windows of each in an order of its own. A window
    belongs to the shard where it begins, and may end in the next.
    """

    def __init__(self, ends: Sequence[int], context: int, windows: int, shards: int) -> None:
        """Divide windows [0, windows) of `context` tokens by shards that end at `ends`."""
        cuts = [*ends[shards - 1 : -1 : shards], windows * context]
        firsts = [0, *(min(windows, -(-cut // context)) for cut in cuts)]
        self._ends, self._context = ends, context
        # First window and the one after the last. A group of shards shorter than a window may have none.
        self._groups = [(first, end) for first, end in pairwise(firsts) if first < end]
        self._epoch: tuple[tuple[int, int], list[int], list[int]] = ((0, -1), [], [])

    def order(self, seed: int, epoch: int, first: int, count: int) -> list[int]:
        """Return the windows at places `first` and on of an epoch, to its end at most."""
        groups, ends = self._ordered(seed, epoch)
        windows: list[int] = []
        turn = bisect_right(ends, first)
        while len(windows) < count and turn < len(groups):
            start, end = self._groups[groups[turn]]
            skipped = first + len(windows) - (ends[turn] - (end - start))
            taken = min(count - len(windows), end - start - skipped)
            places = np.arange(skipped, skipped + taken, dtype=np.uint64)
            key = (seed, epoch + (groups[turn] + 1 << 40))  # another one than that of the groups' order
            windows += (permute(places, end - start, key=key).astype(np.int64) + start).tolist()
            turn += 1
        return windows

    def shards_of(self, seed: int, epoch: int, first: int, count: int) -> tuple[list[int], list[int]]:
        """Return the shards of `count` places from `first` of an epoch, and those of the group after them.

        Where the places are in two groups or more, the one after them is not asked for yet.
        """
        now: list[int] = []
        left, touched = count, 0
        groups, ends = self._ordered(seed, epoch)
        turn = bisect_right(ends, first)
        while True:
            now += self._shards(groups[turn])
            touched += 1
            left -= ends[turn] - first
            first, turn = ends[turn], turn + 1
            if turn == len(groups):
                epoch, turn, first = epoch + 1, 0, 0
                groups, ends = self._ordered(seed, epoch)
            if left <= 0:
                return sorted(set(now)), self._shards(groups[turn]) if touched == 1 else []

    def most_at_once(self, sizes: Sequence[int], count: int) -> int:
        """Return the most that shards of these sizes take while `count` places are read at a time.

        That is of a group that is read and the one after it; of more, where groups are smaller than a batch.
        """
        largest = sorted(sum(sizes[shard] for shard in self._shards(n)) for n in range(len(self._groups)))
        smallest = min(end - start for start, end in self._groups)
        return sum(largest[-max(2, 1 + -(-(count - 1) // smallest)) :])

    def _shards(self, group: int) -> list[int]:
        """Return the shards that a group's windows are in: also the one in which the last window ends."""
        start, end = self._groups[group]
        last = min(end * self._context, self._ends[-1] - 1)  # a window has one more token, the last target
        return list(
            range(bisect_right(self._ends, start * self._context), bisect_right(self._ends, last) + 1)
        )

    def _ordered(self, seed: int, epoch: int) -> tuple[list[int], list[int]]:
        """Return an epoch's order of groups, and the place after the last window of each."""
        if self._epoch[0] != (seed, epoch):
            count = len(self._groups)
            groups = permute(np.arange(count, dtype=np.uint64), count, key=(seed, epoch)).tolist()
            sizes = [self._groups[group][1] - self._groups[group][0] for group in groups]
            self._epoch = ((seed, epoch), groups, np.cumsum(sizes).tolist())
        return self._epoch[1], self._epoch[2]
