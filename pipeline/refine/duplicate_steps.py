"""The shell of the de-duplicating stages: sign documents, name the copies, take them out."""

import contextlib
import dataclasses
import heapq
import io
import tempfile
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from pipeline import storage
from pipeline.corpus import LEAST_VALIDATION, SPLITS, place_of
from pipeline.records import DOCUMENTS, DROPS, Drop
from pipeline.refine.duplicates import cluster
from pipeline.refine.minhash import DuplicateOptions, signature
from pipeline.stages import Counts, Task, edition
from pipeline.tables import TableWriter, read_rows, read_tables

KEYS = pa.schema(
    [("id", pa.string()), ("url", pa.string()), ("karma", pa.int32()), ("characters", pa.int64())]
)


@edition(1, "datasketch")
def sign_documents(task: Task) -> Counts:
    """Write each document's MinHash signature, and what decides between it and its copies."""
    options: DuplicateOptions = task.options
    signatures: list[npt.NDArray[np.uint32]] = []
    with TableWriter(task.folder / "keys.parquet", KEYS) as keys:
        for document in read_rows(task.inputs[0], [*KEYS.names, "text"]):
            signatures.append(signature(document.pop("text"), options))
            keys.write(document)
            task.progress(1)
    matrix = np.array(signatures, np.uint32).reshape(len(signatures), options.bands * options.rows)
    np.save(task.folder / "signatures.npy", matrix)
    return Counts(len(signatures), len(signatures))


def copies_file(number: int) -> str:
    """The file that names the copies among one partition's documents."""
    return f"{number:05d}.parquet"


@edition(1)
def find_duplicates(task: Task) -> Counts:
    """Name every document that is a copy of another: in one file a partition (`copies_file`).

    Inputs: keys and signatures of every partition, by turns. Of documents with the same text one stays,
    by karma and then by address; of those that remain, one of each cluster of near-duplicates.
    """
    options: DuplicateOptions = task.options
    keys = [read_tables([address], KEYS) for address in task.inputs[0::2]]
    table = pa.concat_tables(keys)
    exact = _exact_keepers(table)
    unique = np.flatnonzero(exact == np.arange(len(table)))  # rows of the documents that are left
    with tempfile.TemporaryDirectory() as scratch:
        signatures = _gather_signatures(task.inputs[1::2], unique, options, Path(scratch))
        near = cluster(signatures, _ranks(table.take(unique)), options)
    task.progress(len(table))
    urls = table["url"]
    drops = {
        int(row): Drop("exact duplicate", urls[row].as_py(), f"of {urls[exact[row]]}")
        for row in np.flatnonzero(exact != np.arange(len(table)))
    } | {
        int(unique[i]): Drop(
            "near duplicate",
            urls[unique[i]].as_py(),
            f"of {urls[unique[near.keeper[i]]]}, similarity {near.similarity[i]:.2f}",
        )
        for i in np.flatnonzero(near.keeper != np.arange(len(unique)))
    }
    _write_drops(task.folder, drops, [len(part) for part in keys])
    kept_ids = (i for row, i in enumerate(table["id"].to_pylist()) if row not in drops)
    task.notes["smallest_ids"] = heapq.nsmallest(LEAST_VALIDATION + 1, kept_ids)
    reasons = Counter(drop.reason for drop in drops.values())
    return Counts(len(table), len(table) - len(drops), dict(sorted(reasons.items())))


def _exact_keepers(table: pa.Table) -> npt.NDArray[np.int64]:
    """For each row, the row that stays of all with its id: highest karma, then smallest address."""
    order = _order(table, id="ascending", karma="descending", url="ascending")
    ids = table["id"].take(order).to_numpy(zero_copy_only=False)
    first = np.ones(len(ids), np.bool_)
    first[1:] = ids[1:] != ids[:-1]
    keeper = np.empty(len(order), np.int64)
    keeper[order] = order[first][np.cumsum(first) - 1]
    return keeper


def _ranks(table: pa.Table) -> npt.NDArray[np.int64]:
    """Rank documents from the one most worth keeping: by karma, then length, then id."""
    rank = np.empty(len(table), np.int64)
    rank[_order(table, karma="descending", characters="descending", id="ascending")] = np.arange(len(table))
    return rank


def _order(table: pa.Table, **directions: str) -> npt.NDArray[np.int64]:
    """Return the rows' numbers in the order of the given columns."""
    return pc.sort_indices(table, sort_keys=list(directions.items())).to_numpy().astype(np.int64)  # type: ignore[no-any-return]


def _gather_signatures(
    addresses: Sequence[str], rows: npt.NDArray[np.int64], options: DuplicateOptions, scratch: Path
) -> npt.NDArray[np.uint32]:
    """Bring the signatures of `rows` (ascending) together, [rows, bands x rows a band], on disk."""
    shape = (len(rows), options.bands * options.rows)
    if not len(rows):  # nothing can be mapped
        return np.empty(shape, np.uint32)
    whole = np.memmap(scratch / "signatures", np.uint32, "w+", shape=shape)
    first, done = 0, 0
    for address in addresses:
        with storage.open_read(address) as file:
            part = np.load(io.BytesIO(file.read()))
        mine = rows[(rows >= first) & (rows < first + len(part))]
        whole[done : done + len(mine)] = part[mine - first]
        first, done = first + len(part), done + len(mine)
    return whole


def _write_drops(folder: Path, drops: Mapping[int, Drop], sizes: Sequence[int]) -> None:
    """Write the drops of each partition's rows, `sizes` rows a partition, to a file of its own."""
    start = 0
    for number, size in enumerate(sizes):
        with TableWriter(folder / copies_file(number), DROPS) as writer:
            for row in range(start, start + size):
                if row in drops:
                    writer.write(dataclasses.asdict(drops[row]))
        start += size


@dataclass(frozen=True, kw_only=True)
class SplitOptions:
    """Which documents are for validation: those whose id lies below a place between 0 and 1."""

    validation_limit: float


@edition(1)
def split_documents(task: Task) -> Counts:
    """Take the duplicates out and write each side's documents. Inputs: documents, their duplicates."""
    options: SplitOptions = task.options
    documents_address, drops_address = task.inputs
    drops = {row["url"]: row for row in read_rows(drops_address)}
    read, dropped = 0, Counter[str]()
    with contextlib.ExitStack() as stack:
        drops_writer = stack.enter_context(TableWriter(task.folder / "drops.parquet", DROPS))
        sides = {
            split: stack.enter_context(TableWriter(task.folder / f"{split}.parquet", DOCUMENTS))
            for split in SPLITS
        }
        for document in read_rows(documents_address, DOCUMENTS.names):
            read += 1
            if drop := drops.get(document["url"]):
                drops_writer.write(drop)
                dropped[drop["reason"]] += 1
            else:
                held_out = place_of(document["id"]) < options.validation_limit
                sides["validation" if held_out else "train"].write(document)
            task.progress(1)
    task.notes["documents"] = {split: sides[split].rows for split in SPLITS}
    return Counts(read, read - dropped.total(), dict(sorted(dropped.items())))
