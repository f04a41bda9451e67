"""Counted words in files, sorted and read block by block; `pipeline/runner/sums.py` adds them up."""

from collections.abc import Iterator, Sequence

import pyarrow as pa
import pyarrow.compute as pc

from pipeline.runner.sums import merge_sorted, read_sums

COUNTS = pa.schema([("word", pa.large_binary()), ("count", pa.int64())])


class CountedWords:
    """The words of sorted files of counts, in an order that does not depend on the number of files.

    It can be iterated more than once. Words that occur fewer than `at_least` times are left out.
    """

    def __init__(self, addresses: Sequence[str], at_least: int = 1) -> None:
        self._addresses = addresses
        self._at_least = at_least

    def __iter__(self) -> Iterator[tuple[bytes, int]]:
        for table in merge_sorted([read_sums(address, COUNTS) for address in self._addresses]):
            kept = table.filter(pc.greater_equal(table["count"], self._at_least))
            yield from zip(kept["word"].to_pylist(), kept["count"].to_pylist(), strict=True)
