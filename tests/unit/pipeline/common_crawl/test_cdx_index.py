"""A ZipNum index whose cluster.idx is damaged or hostile is unreadable, and no run ends by it."""

import gzip
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from pipeline.common_crawl.cdx_index import read_zipnum
from pipeline.common_crawl.index_batch import IndexTally, UnreadableIndexError
from pipeline.common_crawl.sought import Sought, sought_table
from pipeline.runner.records import ROUTED

LINE = b'org,example)/a 20140101000000 {"url": "http://example.org/a"}\n'
BLOCK = gzip.compress(LINE, mtime=0)


@pytest.fixture
def sought(tmp_path: Path) -> Sought:
    links = pa.Table.from_pylist([{"url": "http://example.org/a", "hops": []}], ROUTED)
    pq.write_table(sought_table(links), tmp_path / "sought.parquet")
    return Sought([str(tmp_path / "sought.parquet")])


def surts(
    folder: Path, cluster: bytes, sought: Sought, *, tally: IndexTally, shards: tuple[str, ...] = ()
) -> list[str]:
    (folder / "cluster.idx").write_bytes(cluster)
    (folder / "cdx-00000.gz").write_bytes(BLOCK)
    batches = read_zipnum(str(folder / "cluster.idx"), shards, sought, tally)
    return [surt for batch in batches for surt in batch.surts.to_pylist()]


@pytest.mark.parametrize("shards", [(), ("cdx-00000.gz",)])
@pytest.mark.parametrize("end", [b"\n", b"\r\n", b"", b"\t1\n", b"\t1\tmore\n"])
def test_block_is_read_with_its_shards_named_or_not(
    sought: Sought, tmp_path: Path, end: bytes, shards: tuple[str, ...]
) -> None:
    tally = IndexTally()
    cluster = b"org,example)/a 20140101000000\tcdx-00000.gz\t0\t%d" % len(BLOCK) + end
    assert surts(tmp_path, cluster, sought, tally=tally, shards=shards) == ["org,example)/a"]
    assert (tally.files, tally.groups, tally.groups_read) == (1, 1, 1)


@pytest.mark.parametrize(
    "entry",
    [
        b"cdx-00000.gz\t-5\t60", b"cdx-00000.gz\t0\t0", b"cdx-00000.gz\t0\t-1",
        b"cdx-00000.gz\t0\t99999999999", b"cdx-00000.gz\t0\t" + b"9" * 5_000, b"cdx-00000.gz\t0\t1_0",
        b"../cdx-00000.gz\t0\t60", b"/etc/passwd\t0\t60", b"http://a\t0\t60", b"a\0b\t0\t60",
        b"c" * 300 + b"\t0\t60", b"..\t0\t60", b"\xff\xfe\t0\t60", b"", b"cdx-00000.gz", b"cdx-00000.gz\t0",
    ],
)  # fmt: skip
def test_line_that_names_no_block_makes_it_unreadable(sought: Sought, tmp_path: Path, entry: bytes) -> None:
    with pytest.raises(UnreadableIndexError, match=r"cluster\.idx has a line that is none of its"):
        surts(tmp_path, b"org,example)/a 20140101000000\t" + entry + b"\n", sought, tally=IndexTally())


@pytest.mark.parametrize(
    ("entry", "what"),
    [
        (b"cdx-00007.gz\t0\t60", "not found"),
        (b"cdx-00000.gz\t5\t60", "at byte 5"),
        (b"cdx-00000.gz\t0\t20", "cut short"),
        (b"cdx-00000.gz\t900000\t20", "cut short"),
    ],
)
def test_block_that_is_not_there_makes_it_unreadable(
    sought: Sought, tmp_path: Path, entry: bytes, what: str
) -> None:
    with pytest.raises(UnreadableIndexError, match=what):
        surts(tmp_path, b"org,example)/a 20140101000000\t" + entry + b"\n", sought, tally=IndexTally())


def test_first_surt_that_is_no_utf8_hides_no_block(sought: Sought, tmp_path: Path) -> None:
    cluster = b"com,\xff)/ 2014\tcdx-00000.gz\t0\t%d\norg,example)/b 2014\tcdx-00000.gz\t0\t%d\n"
    found = surts(tmp_path, cluster % (len(BLOCK), len(BLOCK)), sought, tally=IndexTally())
    assert found[:1] == ["org,example)/a"]
