"""What is known of each document of a corpus: counted at once, or written down for the stages that follow.

A word is what counts as one for near-duplicates (`pipeline/dedup/minhash.py:normalise`): case, compatibility
forms and punctuation do not count, and in scripts without spaces each letter is one.
"""

import re
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import IO, Any, Final

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import xxhash

from pipeline.compare.signatures import KEYS, SKETCHES, bands_file
from pipeline.dedup.bands import Bands, sketches
from pipeline.dedup.letters import Letters
from pipeline.dedup.minhash import DuplicateOptions, exact_key, normalise, shingle_hashes, signature
from pipeline.dedup.stages import BANDS_A_TASK, band_tasks
from pipeline.filters.language import detect_language
from pipeline.runner.records import Drop
from pipeline.runner.sums import Sums
from pipeline.sources.batches import DocumentBatch
from pipeline.sources.options import Reading
from pipeline.sources.tokens import TokenIds
from pipeline.web.urls import parse, registrable_domain

WORDS: Final = pa.schema([("word", pa.large_binary()), ("count", pa.int64())])
DOMAINS: Final = pa.schema(
    [
        ("name", pa.large_binary()),  # registrable domain, or the host; empty where it is not known
        ("documents", pa.int64()),
        ("words", pa.int64()),
        ("tokens", pa.int64()),
    ]
)
LANGUAGE_CHARACTERS: Final = 1_000  # of a text, from which its language is told
LETTERS_AT_ONCE: Final = 4 * 2**20  # the more are counted at once, the fewer words repeat
FIRST_YEAR: Final = 1995
"""Earlier years are shown as one."""
LONGEST_NAME: Final = 253
"""Characters of a name in DNS (RFC 1035, 2.3.4); what a corpus calls a domain may be anything."""
_YEAR = re.compile(r"(1\d{3}|20\d{2})(?:\D|\Z)")


@dataclass(frozen=True, kw_only=True)
class Columns:
    """Where a corpus has what is known of its documents; of several names, the first that has a value."""

    url: tuple[str, ...] = ("url", "meta.url", "metadata.url")
    domain: tuple[str, ...] = ("domain",)
    date: tuple[str, ...] = ("date", "timestamp", "created", "metadata.date")
    first_seen: tuple[str, ...] = ("first_seen",)
    title: tuple[str, ...] = ("title", "meta.title", "metadata.title")

    @property
    def names(self) -> tuple[str, ...]:
        """All names, each once."""
        return tuple(dict.fromkeys(self.url + self.domain + self.date + self.first_seen + self.title))

    @cached_property
    def _places(self) -> dict[str, int]:
        return {name: place for place, name in enumerate(self.names)}

    def found(self, names: tuple[str, ...], values: Sequence[str]) -> str:
        """Return the first value that is there of some columns; `values` are those of `names`."""
        places = self._places
        return next((value for name in names if (value := values[places[name]])), "")


@dataclass(frozen=True, kw_only=True)
class SurveyOptions:
    """How documents are read, and which signatures they get."""

    reading: Reading
    columns: Columns = field(default_factory=Columns)
    duplicates: DuplicateOptions = field(default_factory=DuplicateOptions)
    has_signatures: bool = True
    """Whether documents are signed; not where there is nothing to compare them with."""
    has_vocabulary: bool = False
    """Whether the first input is a `tokenizer.json` to count tokens with; else none are counted."""
    word_buckets: int = 1
    """Parts that words are scattered into. It changes no result."""


@dataclass
class Totals:
    """What one task, or all of a corpus, has counted; small, and JSON."""

    rows: int = 0
    documents: int = 0
    characters: int = 0
    words: int = 0
    tokens: int = 0
    with_url: int = 0
    with_domain: int = 0
    left_out: Counter[str] = field(default_factory=Counter)  # reason -> rows
    lengths: Counter[str] = field(default_factory=Counter)  # exponent of two of the characters -> documents
    years: Counter[str] = field(default_factory=Counter)  # of the page
    first_seen: Counter[str] = field(default_factory=Counter)  # years, of the first submission
    languages: Counter[str] = field(default_factory=Counter)

    def add(self, other: "Totals | Mapping[str, Any]") -> None:
        """Add what another task has counted."""
        content = vars(other) if isinstance(other, Totals) else other
        for name, value in vars(self).items():
            if isinstance(value, Counter):
                value.update(content[name])
            else:
                setattr(self, name, value + content[name])

    def to_json(self) -> dict[str, Any]:
        """Return it as plain data, the same for the same counts."""
        return {
            name: dict(sorted(value.items())) if isinstance(value, Counter) else value
            for name, value in vars(self).items()
        }


class Survey:
    """Counts the documents of one task, and writes down what later stages compare. Use it in a `with`."""

    def __init__(self, folder: Path, options: SurveyOptions, tokens: TokenIds | None = None) -> None:
        self.totals = Totals()
        self.words = Sums(folder, WORDS)
        self.domains = Sums(folder, DOMAINS)
        self._options = options
        self._tokens = tokens
        self._writer = SignatureWriter(folder, options.duplicates) if options.has_signatures else None
        self._letters: list[Letters] = []
        self._held = 0

    def __enter__(self) -> "Survey":
        return self

    def __exit__(self, *_: object) -> None:
        if self._writer is not None:
            self._writer.close()

    def add(self, batch: DocumentBatch) -> None:
        """Take some documents."""
        self.totals.rows += batch.rows
        self.totals.characters += batch.characters
        self.totals.left_out.update(batch.left_out)
        rows = [self._document(text, values) for text, values in zip(batch.texts, batch.values, strict=True)]
        if rows:
            self.domains.add(pa.table([list(column) for column in zip(*rows, strict=True)], schema=DOMAINS))

    def finish(self) -> None:
        """Count what is still held."""
        self._count_words()
        if self._writer is not None:
            self._writer.flush()

    def _document(self, encoded: bytes, values: Sequence[str]) -> tuple[bytes, int, int, int]:
        """Count a document, and return its row of `DOMAINS`."""
        text, columns, totals = encoded.decode(), self._options.columns, self.totals
        letters = normalise(text)
        words = int(np.count_nonzero(letters == 0))
        tokens = len(self._tokens.of(encoded)) if self._tokens else 0
        url = columns.found(columns.url, values)
        domain = domain_of(url, columns.found(columns.domain, values))
        totals.documents += 1
        totals.words += words
        totals.tokens += tokens
        totals.with_url += bool(url)
        totals.with_domain += bool(domain)
        totals.lengths[str(max(0, len(text).bit_length() - 1))] += 1
        totals.years[year_of(columns.found(columns.date, values))] += 1
        totals.first_seen[year_of(columns.found(columns.first_seen, values))] += 1
        totals.languages[detect_language(text[:LANGUAGE_CHARACTERS])[0]] += 1
        self._letters.append(letters)
        self._held += len(letters)
        if self._held >= LETTERS_AT_ONCE:
            self._count_words()
        if self._writer is not None:
            self._writer.add(letters, url, words)
        return domain.encode(), 1, words, tokens

    def _count_words(self) -> None:
        if self._letters:
            whole = np.concatenate(self._letters).tobytes().decode("utf-32-le", "replace")
            counted = Counter(whole.split("\0")[:-1])
            words = pa.array(list(counted), pa.large_string()).cast(pa.large_binary())
            self.words.add(pa.table([words, list(counted.values())], schema=WORDS))
        self._letters, self._held = [], 0


class SignatureWriter:
    """Appends the keys, sketches and band keys of documents to files that are mapped later.

    How many documents a file of lines has is known only at its end, so these files are bare arrays:
    `KEYS` [documents, 3] of exact key, place and words; `SKETCHES` [documents, permutations]; and, for each
    task that compares bands, `bands_file` [documents, bands].
    """

    def __init__(self, folder: Path, options: DuplicateOptions) -> None:
        self._options, self._bands = options, Bands.of(options)
        self._files: dict[str, IO[bytes]] = {
            name: (folder / name).open("wb")
            for name in (KEYS, SKETCHES, *(bands_file(task) for task in band_tasks(options)))
        }
        self._keys: list[tuple[int, int, int]] = []
        self._signatures: list[npt.NDArray[np.uint32]] = []

    def add(self, letters: Letters, url: str, words: int) -> None:
        """Sign a document."""
        exact = int.from_bytes(exact_key(letters)[:8], "little")
        self._keys.append((exact, xxhash.xxh3_64_intdigest(url.encode()), words))
        self._signatures.append(
            signature(shingle_hashes(letters, self._options.shingle_words), self._options)
        )
        if len(self._keys) >= 1_000:
            self.flush()

    def flush(self) -> None:
        """Write what is held."""
        if not self._keys:
            return
        signatures = np.stack(self._signatures)
        self._files[KEYS].write(np.array(self._keys, np.uint64).tobytes())
        self._files[SKETCHES].write(sketches(signatures).tobytes())
        keys = self._bands.keys(signatures).T  # [documents, bands]
        for task in band_tasks(self._options):
            piece = keys[:, task * BANDS_A_TASK : (task + 1) * BANDS_A_TASK]
            self._files[bands_file(task)].write(np.ascontiguousarray(piece).tobytes())
        self._keys, self._signatures = [], []

    def close(self) -> None:
        """Close the files."""
        for file in self._files.values():
            file.close()


def domain_of(url: str, domain: str) -> str:
    """Return the registrable domain of an address, or what the corpus itself gives for one; or nothing."""
    if url:
        address = parse(url)
        if not isinstance(address, Drop):
            return registrable_domain(address.host)
    host = domain.strip().lower()
    if not host:
        return ""
    address = parse(f"http://{host}/")
    return host[:LONGEST_NAME] if isinstance(address, Drop) else registrable_domain(address.host)


def year_of(date: str) -> str:
    """Return the year that a date begins with; `before 1995`, or nothing where there is none."""
    found = _YEAR.match(date)
    if found is None:
        return ""
    return found[1] if int(found[1]) >= FIRST_YEAR else f"before {FIRST_YEAR}"


def scattered(tables: Iterator[pa.Table], buckets: int) -> Iterator[list[pa.Table]]:
    """Cut tables of words into buckets: a word's bucket depends on the word alone."""
    for table in tables:
        if buckets == 1:
            yield [table]
            continue
        hashes = (xxhash.xxh3_64_intdigest(word) % buckets for word in table["word"].to_pylist())
        bucket = np.fromiter(hashes, np.int64, len(table))
        yield [table.filter(pa.array(bucket == number)) for number in range(buckets)]
