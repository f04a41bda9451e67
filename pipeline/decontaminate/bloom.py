"""A Bloom filter of 64-bit hashes: says of most numbers at once that they are not in a set.

Bloom, "Space/Time Trade-offs in Hash Coding with Allowable Errors" (1970). Each number of
the set takes 48 to 96 bits, more than the 38 that a false-positive rate of 1e-8 needs: so fewer bits are set,
and most questions end at the first one looked at. A number that is not in the set passes with that chance.
"""

import math
import struct
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
import xxhash

from pipeline.decontaminate.ngrams import Hashes, mix
from pipeline.dedup.letters import Places
from pipeline.runner import storage

FALSE_POSITIVE_RATE = 1e-8  # the GPT-2 paper's bound

_LEAST_LOG2 = 16  # bits of the smallest filter: 8 KiB
_SPARSENESS = 1.25  # times the bits that the rate needs
_STEP = 0x9E3779B97F4A7C15  # 2^64 / golden ratio, as in SplitMix64
_HEADER = struct.Struct("<8sIIIQ")  # magic, version, log2 of the bits, probes, elements
_CHECKSUM = struct.Struct("<Q")  # xxh3-64 of header and bits; it stands between them
_MAGIC, _VERSION = b"OBBLOOM\n", 1


@dataclass(frozen=True)
class BloomFilter:
    """Bits, of which each element sets `probes`; the places are independent hashes of it."""

    bits: npt.NDArray[np.uint8]  # [2^n / 8]
    probes: int
    elements: int  # that were added, each once

    @staticmethod
    def of(elements: Hashes, rate: float = FALSE_POSITIVE_RATE) -> "BloomFilter":
        """Make a filter of distinct numbers that lets others pass at no more than this rate."""
        count = max(1, len(elements))
        needed = count * -math.log(rate) / math.log(2) ** 2
        log2 = max(_LEAST_LOG2, math.ceil(math.log2(_SPARSENESS * needed)))

        def expected(probes: int) -> float:
            return float(-math.expm1(-probes * count / 2**log2)) ** probes

        # the fewest that do, with a little to spare: how many bits get set is a matter of chance
        probes = next(probes for probes in range(1, 65) if expected(probes) <= 0.9 * rate)
        bits = np.zeros(2**log2 // 8, np.uint8)
        made = BloomFilter(bits, probes, len(elements))
        for probe in range(probes):
            places = made._places(elements, probe)
            np.bitwise_or.at(bits, places >> np.uint64(3), _bit(places))
        return made

    def find(self, numbers: Hashes) -> Places:
        """Return which of the numbers are in the set, ascending: all that are, and by chance some others."""
        places = self._places(numbers, 0)
        found = np.flatnonzero(self.bits[places >> np.uint64(3)] & _bit(places))
        for probe in range(1, self.probes):
            if not len(found):
                break
            places = self._places(numbers[found], probe)
            found = found[(self.bits[places >> np.uint64(3)] & _bit(places)) != 0]
        return found

    @property
    def false_positive_rate(self) -> float:
        """The chance that a number that is not in the set passes, from the bits that are set."""
        set_bits = int(np.bitwise_count(self.bits).sum(dtype=np.int64))
        return float((set_bits / (8 * len(self.bits))) ** self.probes)

    def _places(self, numbers: Hashes, probe: int) -> Hashes:
        """Return the bit that each number has for one of the probes; the first takes the hash as it is."""
        mixed = mix(numbers + np.uint64(probe * _STEP % 2**64)) if probe else numbers
        return mixed >> np.uint64(64 - self._log2)

    @property
    def _log2(self) -> int:
        return (8 * len(self.bits) - 1).bit_length()

    def write(self, path: Path) -> None:
        """Write the filter to a local file."""
        header = _HEADER.pack(_MAGIC, _VERSION, self._log2, self.probes, self.elements)
        with path.open("wb") as file:
            file.write(header + _CHECKSUM.pack(_checksum(header, self.bits.data)))
            file.write(self.bits.data)

    @staticmethod
    def read(address: str) -> "BloomFilter":
        """Read a filter.

        Raises:
            ValueError: the file is none, of another version, cut or damaged.
        """
        with storage.open_read(address) as file:
            header, checksum, body = file.read(_HEADER.size), file.read(_CHECKSUM.size), file.read()
        if not header.startswith(_MAGIC) or len(checksum) < _CHECKSUM.size:
            raise ValueError(f"{address} is no Bloom filter")
        _, version, _, probes, elements = _HEADER.unpack(header)
        if version != _VERSION:
            raise ValueError(f"{address} is a Bloom filter of version {version}, not {_VERSION}")
        if _CHECKSUM.unpack(checksum) != (_checksum(header, body),):
            raise ValueError(
                f"{address} is a damaged Bloom filter: its bytes are not those that were written"
            )
        return BloomFilter(np.frombuffer(body, np.uint8), probes, elements)


def _checksum(header: bytes, bits: bytes | memoryview) -> int:
    checksum = xxhash.xxh3_64(header)
    checksum.update(bits)
    return checksum.intdigest()


def _bit(places: Hashes) -> npt.NDArray[np.uint8]:
    """Return the bit of its byte that each place means."""
    return np.left_shift(np.uint8(1), (places & np.uint64(7)).astype(np.uint8))
