"""Where the indexes of archives lie: Common Crawl's by the names of its crawls, others by their files.

Of each crawl the columnar table is read, of which older crawls have all; where there is none, the ZipNum
index. Lists of the files (`cc-index-table.paths.gz`, `cc-index.paths.gz`) serve where a root cannot be
listed.
"""

import fnmatch
import gzip
import hashlib
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import islice
from typing import Any

import orjson

from pipeline.common_crawl.cdx_index import CLUSTER
from pipeline.common_crawl.index_batch import Answer, UnreadableIndexError, patiently
from pipeline.common_crawl.options import ArchiveOptions
from pipeline.runner import storage
from pipeline.runner.names import bare, file_name, without_secrets
from pipeline.runner.stages import InputFile

TABLE = "cc-index/table/cc-main/warc"
COLLECTIONS = "cc-index/collections"
SUBSETS = ("warc", "crawldiagnostics")  # pages; redirects and what failed
COLLECTION_INFO = "https://index.commoncrawl.org/collinfo.json"
PUBLIC_ROOT = "https://data.commoncrawl.org"
FILES_PER_TASK = 16

_CRAWL = re.compile(r"crawl=([^/]+)/|collections/([^/]+)/indexes?/")
_SHARD = re.compile(r"cdx-\d+\.gz")


@dataclass(frozen=True)
class IndexPart:
    """Some files of one index, for one task."""

    name: str  # of the task's partition
    files: Sequence[InputFile]


def find_indexes(options: ArchiveOptions) -> list[IndexPart]:
    """Return the index files of all archives that the options name, in parts.

    Raises:
        ValueError: a crawl or an index is not there.
    """
    parts: list[IndexPart] = []
    for crawl in _crawls(options):
        parts += _parts_of_crawl(options.archive_root, crawl)
    if options.archive_index:
        files = storage.find_files(options.archive_index, _is_index, "index")
        for number, address in enumerate(files):
            name = f"index-{number:03d}-{file_name(address)[:60]}"
            parts += [IndexPart(name, [_input(address)])]
    return parts


def source_of(address: str) -> str:
    """Return what to call the archive that an index file is of: the crawl, or the file's own name."""
    crawl = _CRAWL.search(bare(address) + "/")
    if crawl:
        return crawl[1] or crawl[2]
    name = file_name(address)
    if name == CLUSTER:
        name = file_name(bare(address).rpartition("/")[0]) or name
    return re.sub(r"\.(gz|cdxj?|parquet|paths)\b", "", name) or name


def _is_index(name: str) -> bool:
    return name.endswith((".cdxj", ".cdxj.gz", ".cdx", ".cdx.gz", ".parquet")) or name == CLUSTER


# --- Common Crawl's ---


def _crawls(options: ArchiveOptions) -> list[str]:
    """Return the crawls that are meant, in order, each once."""
    patterns = [name for name in options.common_crawl if any(mark in name for mark in "*?[")]
    there = _known_crawls(options.archive_root) if patterns else []
    found: list[str] = []
    for name in options.common_crawl:
        named = sorted(fnmatch.filter(there, name)) if name in patterns else [name]
        if not named:
            root = without_secrets(options.archive_root)
            raise ValueError(f"no crawl at {root} is called {name}: there are {', '.join(there) or 'none'}")
        found += named
    return list(dict.fromkeys(found))


def _known_crawls(root: str) -> list[str]:
    """Return the names of all crawls at a root."""
    names = {
        name.removeprefix("crawl=")
        for name in _folders(storage.join(root, TABLE))
        if name.startswith("crawl=")
    }
    names |= {name for name in _folders(storage.join(root, COLLECTIONS)) if "." not in name}
    if not names:
        for address in (storage.join(root, "collinfo.json"), COLLECTION_INFO):
            if address != COLLECTION_INFO or root.rstrip("/") in (PUBLIC_ROOT, "s3://commoncrawl"):
                names |= {entry["id"] for entry in _json(address)}
    return sorted(names)


def _json(address: str) -> list[dict[str, Any]]:
    text = _read(address)
    try:
        content = orjson.loads(text) if text else []
    except ValueError:
        return []
    return [entry for entry in content if isinstance(entry, dict) and isinstance(entry.get("id"), str)]


def _folders(address: str) -> list[str]:
    """Return the names of what lies in a folder; none if it cannot be listed."""
    return [str(entry["name"]).rstrip("/").rsplit("/", 1)[-1] for entry in _entries(address)]


def _entries(address: str) -> list[dict[str, Any]]:
    filesystem, path = storage.locate(address)
    return _if_there(lambda: list(filesystem.ls(path, detail=True)), [])


def _read(address: str) -> bytes:
    """Return what a small file holds; nothing if it is not there."""

    def read() -> bytes:
        with storage.open_read(address) as file:
            return file.read()

    return _if_there(read, b"")


def _if_there(ask: Callable[[], Answer], nothing: Answer) -> Answer:
    """Ask an archive for something that it may have not, or not show."""
    try:
        return patiently(ask)
    except UnreadableIndexError as error:
        if error.temporary:
            raise
        return nothing


def _parts_of_crawl(root: str, crawl: str) -> Iterator[IndexPart]:
    tables = _table_files(root, crawl)
    for subset, files in tables.items():
        for number, group in enumerate(_groups(files)):
            yield IndexPart(f"{crawl}-{subset}-{number:03d}", group)
    if tables:
        return
    folder = storage.join(root, COLLECTIONS, crawl, "indexes")
    shards = _listed(root, crawl, "cc-index.paths.gz", _SHARD) or _files_in(folder, _SHARD)
    if not shards and storage.exists(storage.join(folder, CLUSTER)):  # which names them
        yield IndexPart(f"{crawl}-cdx", [_input(storage.join(folder, CLUSTER))])
        return
    if not shards:
        what = f"{without_secrets(storage.join(root, TABLE))}/crawl={crawl}/"
        raise ValueError(
            f"no index of {crawl}: neither files in {what} nor {COLLECTIONS}/{crawl}/indexes/{CLUSTER}"
        )
    cluster = _input(storage.join(folder, CLUSTER))
    for number, group in enumerate(_groups(shards)):
        yield IndexPart(f"{crawl}-cdx-{number:03d}", [cluster, *group])


def _table_files(root: str, crawl: str) -> dict[str, list[InputFile]]:
    """Return the files of a crawl's table by subset; none where it has no table."""
    listed = _listed(root, crawl, "cc-index-table.paths.gz", re.compile(r".*\.parquet"))
    found = {}
    for subset in SUBSETS:
        within = f"/subset={subset}/"
        files = [file for file in listed if within in file.address]
        folder = storage.join(root, TABLE, f"crawl={crawl}", f"subset={subset}")
        files = files or _files_in(folder, re.compile(r".*\.parquet"))
        if files:
            found[subset] = files
    return found


def _groups(files: Sequence[InputFile]) -> Iterator[list[InputFile]]:
    rest = iter(files)
    while group := list(islice(rest, FILES_PER_TASK)):
        yield group


def _listed(root: str, crawl: str, name: str, wanted: re.Pattern[str]) -> list[InputFile]:
    """Return the files that a crawl's list names, if there is one: what it names never changes."""
    address = storage.join(root, "crawl-data", crawl, name)
    try:
        paths = gzip.decompress(_read(address)).decode().split()
    except (OSError, EOFError, ValueError) as error:
        raise ValueError(f"cannot read {without_secrets(address)}: {error}") from error
    return [
        InputFile(storage.absolute(storage.join(root, path)), hashlib.sha256(path.encode()).hexdigest())
        for path in sorted(paths)
        if wanted.fullmatch(path.rpartition("/")[2])
    ]


def _files_in(folder: str, wanted: re.Pattern[str]) -> list[InputFile]:
    """Return the files of a folder, by one listing; none if it is not there."""
    found = []
    for entry in sorted(_entries(folder), key=lambda entry: str(entry["name"])):
        name = str(entry["name"]).rstrip("/").rsplit("/", 1)[-1]
        if wanted.fullmatch(name):
            found.append(InputFile(storage.absolute(storage.join(folder, name)), _fingerprint(name, entry)))
    return found


def _fingerprint(name: str, entry: Mapping[str, Any]) -> str:
    changed = entry.get("ETag") or entry.get("mtime") or entry.get("LastModified")
    return hashlib.sha256(repr((name, entry.get("size"), str(changed))).encode()).hexdigest()


def _input(address: str) -> InputFile:
    """A file of an index; it is read in parts, so its size is not what is read."""
    return InputFile(storage.absolute(address), storage.fingerprint(address))
