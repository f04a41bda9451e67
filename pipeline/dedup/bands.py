"""Which documents are compared, and when they pass: bands of a signature, derived from the threshold.

Two documents are compared if they agree in all rows of any one band (Leskovec, Rajaraman and Ullman,
"Mining of Massive Datasets", 3.4), and are near-duplicates if enough of all their values agree. Both are
matters of chance, and their odds are computed here, exactly.
"""

import dataclasses
import math
from dataclasses import dataclass
from functools import cache

import numpy as np
import numpy.typing as npt

from pipeline.dedup.minhash import DuplicateOptions

LEAST_CAUGHT = 0.99  # of the pairs at the threshold are to be compared
_FACTOR = np.uint64(0x9E3779B97F4A7C15)  # 2^64 / golden ratio: odd, so that no bit of a value is lost
_STRAY = 1 / 256  # chance that the sketches of two different values agree


@dataclass(frozen=True, kw_only=True)
class Bands:
    """How a signature is cut, and how many of its values must agree.

    The estimated similarity of a pair at the threshold t has a standard error of sqrt(t (1 - t) / n). A
    pair passes from one standard error below the threshold on: else half of the pairs at the threshold
    were lost. With the default threshold 0.8 and n = 128 permutations that is
    0.8 - sqrt(0.8 × 0.2 / 128) = 0.765, or 98 values, and 21 bands of 6 rows. Of the pairs at similarity
    0.85, 99.6 % are found (108.8 values agree on average, with a deviation of 4.0); of those at 0.6,
    less than 0.01 % (76.8 on average and 0.2 by chance, with a deviation of 5.5).
    """

    similarity: float
    """The threshold that the bands were derived from."""
    permutations: int
    """Values in a signature."""
    bands: int
    """Pieces of the signature; values that are left over count only when a pair is verified."""
    rows: int
    """Values in a band."""
    least_agreeing: int
    """Values that agree in the sketches of two near-duplicates."""

    @staticmethod
    def of(options: DuplicateOptions) -> "Bands":
        """Take the most rows (the fewest needless comparisons) that catch pairs at the threshold."""
        count, threshold = options.permutations, options.similarity

        def caught(rows: int) -> float:
            return 1 - (1 - threshold**rows) ** (count // rows)

        rows = max((rows for rows in range(1, count + 1) if caught(rows) >= LEAST_CAUGHT), default=1)
        least = threshold - math.sqrt(threshold * (1 - threshold) / count)
        agreeing = max(1, math.ceil(count * (least + (1 - least) * _STRAY) - 1e-9))
        return Bands(
            similarity=threshold,
            permutations=count,
            bands=count // rows,
            rows=rows,
            least_agreeing=agreeing,
        )

    def caught(self, similarity: float) -> float:
        """Return the share of the pairs of a similarity that are compared."""
        return 1 - (1 - similarity**self.rows) ** self.bands

    def found(self, similarity: float) -> float:
        """Return the share of the pairs of a similarity that are compared and pass."""
        return sum(
            _binomial(self.permutations, agreeing, similarity) * chance
            for agreeing, chance in enumerate(_found_with(self))
        )

    def estimate(self, agreeing: npt.NDArray[np.int64]) -> npt.NDArray[np.float64]:
        """Return the Jaccard similarity estimated from the number of values that agree in two sketches.

        Li and König, "b-Bit Minwise Hashing" (2010): a byte agrees by chance in one of 256 cases.
        """
        return np.maximum(agreeing / self.permutations - _STRAY, 0) / (1 - _STRAY)

    def keys(self, signatures: npt.NDArray[np.uint32]) -> npt.NDArray[np.uint64]:
        """Return a hash of each band's rows, [bands, documents], from [documents, permutations]."""
        cut = signatures[:, : self.bands * self.rows].reshape(-1, self.bands, self.rows)
        return np.stack([_hash_rows(cut[:, band]) for band in range(self.bands)])

    def odds(self) -> list[tuple[float, float, float]]:
        """Return rows of similarity, share caught and share found, as far as the last is not 0 or 1."""
        rows: list[tuple[float, float, float]] = []
        for similarity in (step / 20 for step in range(1, 21)):
            found = self.found(similarity)
            if found >= 0.0005 and not (rows and rows[-1][2] >= 0.9995):
                rows.append((similarity, self.caught(similarity), found))
        return rows

    def notes(self) -> dict[str, object]:
        """Return what was derived, for the report."""
        odds = [
            {"similarity": similarity, "compared": round(compared, 4), "found": round(found, 4)}
            for similarity, compared, found in self.odds()
        ]
        return dataclasses.asdict(self) | {"odds": odds}

    def describe(self) -> str:
        """Tell what was derived, and how many near-duplicates it finds."""
        lines = [
            f"near-duplicates from similarity {self.similarity} on: bands × rows {self.bands} × {self.rows}, "
            f"{self.permutations} permutations, of which {self.least_agreeing} must agree; catch rates:"
        ]
        for name, column in (("similarity", 0), ("by bands", 1), ("and verified", 2)):
            cells = (f"{row[column]:>7.2f}" if column == 0 else f"{row[column]:>7.1%}" for row in self.odds())
            lines.append(f"  {name:<12} {' '.join(cells)}")
        return "\n".join(lines)


@cache
def _found_with(bands: Bands) -> tuple[float, ...]:
    """For each number of agreeing values, anywhere in the signature, the chance that the pair is found."""
    probabilities = []
    for agreeing in range(bands.permutations + 1):
        differing = bands.permutations - agreeing
        needed = max(0, bands.least_agreeing - agreeing)  # of those that differ, to look alike by chance
        passing = sum(_binomial(differing, stray, _STRAY) for stray in range(needed, differing + 1))
        probabilities.append(passing * _caught_with(bands, agreeing) if passing > 1e-9 else 0.0)
    return tuple(probabilities)


def _caught_with(bands: Bands, agreeing: int) -> float:
    """Return the chance that so many agreeing values fill a band.

    By inclusion and exclusion over the filled bands, in integers, since the terms are huge.
    """
    ways = sum(
        (1 if filled % 2 else -1)
        * math.comb(bands.bands, filled)
        * math.comb(bands.permutations - filled * bands.rows, agreeing - filled * bands.rows)
        for filled in range(1, min(bands.bands, agreeing // bands.rows) + 1)
    )
    return ways / math.comb(bands.permutations, agreeing)


def digests(signatures: npt.NDArray[np.uint32]) -> npt.NDArray[np.uint64]:
    """Return a hash of each whole signature, [documents]: what is the same need not be compared."""
    return _hash_rows(signatures)


def sketches(signatures: npt.NDArray[np.uint32]) -> npt.NDArray[np.uint8]:
    """Return a byte of each value, [documents, permutations]: enough to count how many agree.

    Not the lowest byte: those of a·h + b mod 2^32 would agree wherever those of two hashes h do.
    """
    return (signatures * np.uint32(0x9E3779B1) >> np.uint32(24)).astype(np.uint8)


def _hash_rows(values: npt.NDArray[np.uint32]) -> npt.NDArray[np.uint64]:
    """Hash each row of [documents, values] to 64 bits."""
    key = np.zeros(len(values), np.uint64)
    for column in values.T:
        key = (key ^ column) * _FACTOR
        key ^= key >> np.uint64(32)
    return key


def _binomial(count: int, hits: int, chance: float) -> float:
    """Return the chance of so many hits in so many trials."""
    return math.comb(count, hits) * chance**hits * math.pow(1 - chance, count - hits)
