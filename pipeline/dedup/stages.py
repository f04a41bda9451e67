"""The shell of the de-duplicating stages: sign documents, match them, name the copies.

A document is a number here: its place among all, in the order of the partitions. Numbers live no longer
than a run, since a stage is done again whenever what it reads has changed.
"""

import heapq
import shutil
import tempfile
from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from pipeline.corpus.split import LEAST_VALIDATION
from pipeline.dedup import minhash
from pipeline.dedup.bands import Bands, digests, sketches
from pipeline.dedup.duplicates import Components, Keys, Numbers, Sketches, match
from pipeline.dedup.minhash import DuplicateOptions
from pipeline.runner import storage
from pipeline.runner.records import DROPS, UTC_SECONDS
from pipeline.runner.stages import Counts, Task, output_version
from pipeline.runner.tables import TableWriter, read_rows, read_tables, row_count

BANDS_A_TASK = 6  # each task maps all sketches: more tasks would read more, fewer use fewer cores
DOCUMENTS_AT_ONCE = 10_000  # whose signatures are held in memory, 5 MB

KEYS = pa.schema(
    [
        ("id", pa.string()),
        ("url", pa.string()),
        ("karma", pa.int32()),
        ("first_seen", UTC_SECONDS),
        ("exact", pa.binary(16)),  # the same for the same words
    ]
)
SURVIVAL = {"karma": "descending", "first_seen": "ascending", "url": "ascending"}  # who stays: the first


def band_tasks(options: DuplicateOptions) -> list[int]:
    """Return the numbers of the tasks that the bands are cut into."""
    return list(range(-(-Bands.of(options).bands // BANDS_A_TASK)))


def bands_file(task: int) -> str:
    """The file of band keys that one task of `match_documents` reads, [bands, documents]."""
    return f"bands-{task:02d}.npy"


@output_version(3, "datasketch")
def sign_documents(task: Task) -> Counts:
    """Write each document's signature, cut up for those who read it, and what decides who stays.

    Files: `keys.parquet`; `digests.npy`, [documents]; `sketches.npy`, [documents, permutations]; and band
    keys by the task that compares them (`bands_file`).
    """
    options: DuplicateOptions = task.options
    bands = Bands.of(options)
    arrays = _arrays(task.folder, row_count(task.inputs[0]), options)
    done = 0
    with TableWriter(task.folder / "keys.parquet", KEYS) as keys:
        for signatures in _signatures(task, keys, options):
            here = slice(done, done := done + len(signatures))
            arrays["digests.npy"][here] = digests(signatures)
            arrays["sketches.npy"][here] = sketches(signatures)
            band_keys = bands.keys(signatures)
            for number in band_tasks(options):
                first = number * BANDS_A_TASK
                arrays[bands_file(number)][:, here] = band_keys[first : first + BANDS_A_TASK]
    return Counts(keys.rows, keys.rows)


def _arrays(folder: Path, documents: int, options: DuplicateOptions) -> dict[str, Any]:
    """Lay out the files of a partition's signatures, mapped to memory: it may have a million."""
    count = Bands.of(options).bands
    shapes: dict[str, tuple[type, tuple[int, ...]]] = {
        "digests.npy": (np.uint64, (documents,)),
        "sketches.npy": (np.uint8, (documents, options.permutations)),
    }
    for number in band_tasks(options):
        rows = min(BANDS_A_TASK, count - number * BANDS_A_TASK)
        shapes[bands_file(number)] = (np.uint64, (rows, documents))
    return {
        name: np.lib.format.open_memmap(folder / name, "w+", dtype, shape)
        for name, (dtype, shape) in shapes.items()
    }


def _signatures(task: Task, keys: TableWriter, options: DuplicateOptions) -> Iterator[npt.NDArray[np.uint32]]:
    """Yield the signatures of some thousands of documents at a time, and write their keys."""
    signatures = np.empty((DOCUMENTS_AT_ONCE, options.permutations), np.uint32)
    filled = 0
    for document in read_rows(task.inputs[0], ["id", "url", "karma", "first_seen", "text"]):
        letters = minhash.normalise(document.pop("text"))
        shingles = minhash.shingle_hashes(letters, options.shingle_words)
        signatures[filled] = minhash.signature(shingles, options)
        keys.write(document | {"exact": minhash.exact_key(letters)})
        task.progress(1)
        filled += 1
        if filled == len(signatures):
            yield signatures
            filled = 0
    yield signatures[:filled]


@output_version(1)
def match_documents(task: Task) -> Counts:
    """Find the near-duplicates that some of the bands bring together: `matches.npy`, [matches, 2].

    Inputs: digests, sketches and band keys of every partition, by turns.
    """
    bands = Bands.of(task.options)
    with tempfile.TemporaryDirectory() as scratch:
        parts = [mapped_array(address, Path(scratch)) for address in task.inputs]
        whole: Keys = np.concatenate(parts[0::3])
        components = Components(len(whole))
        each_band = (np.concatenate([keys[band] for keys in parts[2::3]]) for band in range(len(parts[2])))
        match(whole, each_band, Sketches(parts[1::3]), bands, components)
    np.save(task.folder / "matches.npy", components.matches())
    task.progress(len(whole))
    return Counts(len(whole), len(whole))


def mapped_array(address: str, scratch: Path) -> Any:
    """Map an array from the local disk, where it is copied first if it lies elsewhere."""
    path = storage.local_path(address)
    if path is None:
        path = scratch / f"{len(list(scratch.iterdir()))}.npy"
        with storage.open_read(address) as source, path.open("wb") as copy:
            shutil.copyfileobj(source, copy, 2**20)
    return np.load(path, mmap_mode="r" if path.stat().st_size > 2**20 else None)


def copies_file(number: int) -> str:
    """The file that names the copies among one partition's documents."""
    return f"{number:05d}.parquet"


@output_version(2)
def find_duplicates(task: Task) -> Counts:
    """Name every document that is a copy of another: in one file a partition (`copies_file`).

    Inputs: the matches of every task, then keys and sketches of every partition, by turns. Of each cluster
    the document stays that has the highest karma, was seen first, has the smallest address; each other
    one is reported as a duplicate of it: an exact one if it has the same words, else a near one. Their
    similarity can be less than the threshold, where others lie between them.
    """
    bands = Bands.of(task.options)
    tasks = len(band_tasks(task.options))
    matches, key_files, sketch_files = task.inputs[:tasks], task.inputs[tasks::2], task.inputs[tasks + 1 :: 2]
    with tempfile.TemporaryDirectory() as name:
        scratch = Path(name)
        parts = [mapped_array(address, scratch) for address in sketch_files]
        starts = np.cumsum([0, *(len(part) for part in parts)])
        roots = _roots([mapped_array(address, scratch) for address in matches], starts[-1])
        clustered = _clustered(key_files, starts, roots)
        removed, drops = _drops(clustered, Sketches(parts), bands)
    kept = np.ones(starts[-1], np.bool_)
    kept[removed] = False
    smallest: list[str] = []
    for number, address in enumerate(key_files):
        first, last = starts[number : number + 2]
        mine = drops.slice(*_span(removed, first, last)).cast(DROPS)
        pq.write_table(mine, task.folder / copies_file(number), compression="zstd")
        ids = read_tables([address], pa.schema([KEYS.field("id")]))["id"].filter(pa.array(kept[first:last]))
        smallest = heapq.nsmallest(LEAST_VALIDATION + 1, [*smallest, *ids.to_pylist()])
    task.progress(len(kept))
    task.notes["smallest_ids"] = smallest
    task.notes["cluster_sizes"] = _histogram(clustered["root"].to_numpy())
    task.notes["bands"] = bands.notes()
    reasons = Counter(drops["reason"].to_pylist())
    return Counts(len(kept), len(kept) - len(drops), dict(sorted(reasons.items())))


def _roots(matches: Sequence[Numbers], documents: int) -> Numbers:
    """Return the root of each document, [documents], in what all tasks have matched."""
    components = Components(documents)
    for found in matches:
        components.join(found[:, 0], found[:, 1])
    return components.roots(np.arange(documents))


def _clustered(key_files: Sequence[str], starts: Numbers, roots: Numbers) -> pa.Table:
    """Return the keys of the documents in clusters, with number and root, in the order of survival."""
    chosen = np.bincount(roots, minlength=len(roots))[roots] > 1
    tables = []
    for address, first, last in zip(key_files, starts, starts[1:], strict=False):
        table = read_tables([address], KEYS).drop_columns("id")
        assert len(table) == last - first, f"{address} has {len(table)} rows for {last - first} signatures"
        tables.append(table.filter(pa.array(chosen[first:last])))
    numbers = np.flatnonzero(chosen)
    table = pa.concat_tables(tables).append_column("number", pa.array(numbers))
    table = table.append_column("root", pa.array(roots[numbers]))
    # 20 million addresses are more than the 2 GiB of text that an Arrow string column can hold in one
    place = table.schema.get_field_index("url")
    table = table.set_column(place, "url", table["url"].cast(pa.large_string()))
    return table.sort_by(list(SURVIVAL.items()))


def _drops(clustered: pa.Table, sketches: Sketches, bands: Bands) -> tuple[Numbers, pa.Table]:
    """Return the numbers of the documents that go, ascending, and the drop record of each."""
    _, first, cluster = np.unique(clustered["root"].to_numpy(), return_index=True, return_inverse=True)
    survivor = first[cluster]  # [clustered], a place in the table
    going = np.flatnonzero(survivor != np.arange(len(survivor)))
    going = going[np.argsort(clustered["number"].to_numpy()[going])]
    gone, stay = clustered.take(going), clustered.take(survivor[going])
    agreeing = sketches.agreeing(gone["number"].to_numpy(), stay["number"].to_numpy())
    similarity = pa.array(np.char.mod("%.2f", bands.estimate(agreeing)), pa.large_string())
    exact = pc.equal(gone["exact"], stay["exact"])
    of, like, nothing = (pa.scalar(text, pa.large_string()) for text in ("of ", ", similarity ", ""))
    near_detail = pc.binary_join_element_wise(of, stay["url"], like, similarity, nothing)
    exact_detail = pc.binary_join_element_wise(of, stay["url"], nothing)
    columns = {
        "url": gone["url"],
        "reason": pc.if_else(exact, "exact duplicate", "near duplicate"),
        "detail": pc.if_else(exact, exact_detail, near_detail),
    }
    return gone["number"].to_numpy(), pa.table(columns)


def _span(ascending: Numbers, first: int, last: int) -> tuple[int, int]:
    """Return where the numbers from `first` to before `last` begin, and how many they are."""
    begin, end = np.searchsorted(ascending, [first, last])
    return int(begin), int(end - begin)


def _histogram(roots: Numbers) -> dict[str, int]:
    """Return how many clusters there are by size: 2 to 9, and from there on 10, 20, 50, 100 … or more."""
    steps = np.array([*range(2, 10), *(step * 10**power for power in range(1, 9) for step in (1, 2, 5))])
    _, sizes = np.unique(roots, return_counts=True)
    found, counts = np.unique(np.searchsorted(steps, sizes, side="right") - 1, return_counts=True)
    return {str(steps[step]): int(count) for step, count in zip(found, counts, strict=True)}
