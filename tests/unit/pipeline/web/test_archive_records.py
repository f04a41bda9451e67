"""Damage in an archive costs the record that has it, and is told; every record is accounted for."""

import gzip
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import pytest
import zstandard

from pipeline.runner.records import Drop
from pipeline.web.archive_records import ArchiveRecord
from pipeline.web.warc import (
    OtherRecord,
    Page,
    PageRecord,
    Redirect,
    Revisit,
    read_page,
    scan_archive,
    scan_pages,
)

BODY = b"<p>The harbour was quiet that morning, number %d.</p>"
HEAD = b"HTTP/1.1 200 OK\r\nContent-Type: text/html; charset=utf-8\r\n\r\n"


def record(
    number: int,
    block: bytes | None = None,
    *,
    length: int | str | None = "right",
    kind: bytes = b"response",
    end: bytes = b"\r\n",
    version: bytes = b"1.0",
) -> bytes:
    """Return a record, its lines ended as asked for."""
    block = HEAD + BODY % number if block is None else block
    lines = [b"WARC/" + version, b"WARC-Type: " + kind, b"WARC-Date: 2015-03-04T05:06:07Z"]
    lines += [b"WARC-Target-URI: http://site.example/%d" % number, b"Content-Type: application/http"]
    if length == "right":
        lines.append(b"Content-Length: %d" % len(block))
    elif length is not None:
        lines.append(b"Content-Length: %d" % int(length))
    return end.join(lines) + end * 2 + block + end * 2


def whole(records: list[bytes]) -> bytes:
    return b"".join(records)


CONTAINERS: dict[str, Callable[[list[bytes]], bytes]] = {
    "plain.warc": whole,
    "members.warc.gz": lambda records: b"".join(map(gzip.compress, records)),
    "frames.warc.zst": lambda records: b"".join(map(zstandard.compress, records)),
}
everywhere = pytest.mark.parametrize("container", sorted(CONTAINERS))


def write(folder: Path, container: str, records: list[bytes]) -> str:
    path = folder / container
    path.write_bytes(CONTAINERS[container](records))
    return str(path)


def pages(address: str) -> tuple[dict[int, bytes], list[str]]:
    """Return the bodies of an archive's pages by their numbers, and what is told of damage."""
    found, damage = {}, []
    for item in scan_pages(address):
        if isinstance(item, Drop):
            damage.append(f"{item.reason}: {item.detail}")
            continue
        page = read_page(address, item.offset)
        assert isinstance(page, Page), page
        found[int(page.url.rpartition("/")[2])] = page.body
    return found, damage


@everywhere
@pytest.mark.parametrize("end", [b"\r\n", b"\n"])
@pytest.mark.parametrize("version", [b"0.17", b"0.18", b"1.0", b"1.1"])
def test_every_version_and_line_end_is_read(
    tmp_path: Path, container: str, end: bytes, version: bytes
) -> None:
    address = write(tmp_path, container, [record(n, end=end, version=version) for n in range(4)])
    assert pages(address) == ({n: BODY % n for n in range(4)}, [])


@everywhere
@pytest.mark.parametrize("length", [0, 1, 40, 100, 150, 400, 10**9])
def test_wrong_length_costs_no_other_record_and_not_its_own(
    tmp_path: Path, container: str, length: int
) -> None:
    records = [record(0), record(1, length=length), record(2), record(3)]
    found, damage = pages(write(tmp_path, container, records))
    assert found == {n: BODY % n for n in range(4)}
    assert len(damage) == 1 and "says it has" in damage[0] + "says it has" * ("is said to be" in damage[0])


@everywhere
def test_missing_length_costs_its_record(tmp_path: Path, container: str) -> None:
    found, damage = pages(write(tmp_path, container, [record(0), record(1, length=None), record(2)]))
    assert (sorted(found), len(damage)) == ([0, 2], 1)


@pytest.mark.parametrize("container", ["members.warc.gz", "frames.warc.zst"])
@pytest.mark.parametrize("nothing", [b"", b"\r\n\r\n"])
def test_empty_member_costs_nothing(tmp_path: Path, container: str, nothing: bytes) -> None:
    records = [nothing, record(0), nothing, nothing, record(1), nothing]
    assert pages(write(tmp_path, container, records)) == ({0: BODY % 0, 1: BODY % 1}, [])


@everywhere
def test_lost_and_foreign_bytes_between_records_cost_those_that_they_hit(
    tmp_path: Path, container: str
) -> None:
    address = write(tmp_path, container, [record(n) for n in range(5)])
    content = Path(address).read_bytes()
    second, third, fourth = (
        item.offset for item in list(scan_pages(address))[1:4] if isinstance(item, PageRecord)
    )
    middle = (second + third) // 2
    broken = (
        content[: second + 3]
        + content[middle:third]
        + b"foreign bytes"
        + content[third:fourth]
        + content[fourth:]
    )
    Path(address).write_bytes(broken)
    found, damage = pages(address)
    assert found.keys() >= {0, 2, 3, 4}
    assert 1 <= len(damage) <= 2


def test_dictionary_of_all_frames_is_found_as_it_is_or_compressed(tmp_path: Path) -> None:
    samples = [record(n) for n in range(300)]
    trained = zstandard.train_dictionary(4_000, samples)
    compressor = zstandard.ZstdCompressor(dict_data=trained)
    frames = b"".join(compressor.compress(record(n)) for n in range(20))
    for content in (trained.as_bytes(), zstandard.compress(trained.as_bytes())):
        path = tmp_path / "dictionary.warc.zst"
        path.write_bytes(b"\x5d\x2a\x4d\x18" + len(content).to_bytes(4, "little") + content + frames)
        found, damage = pages(str(path))
        assert (found, damage) == ({n: BODY % n for n in range(20)}, [])
    path.write_bytes(b"\x5d\x2a\x4d\x18" + b"\xff\xff\xff\xff" + frames)
    assert pages(str(path)) == (
        {},
        [
            f"damaged archive: {path}: its dictionary cannot be used: "
            + pages(str(path))[1][0].rpartition("used: ")[2]
        ],
    )


@pytest.mark.parametrize("encode", [bytes, gzip.compress])
def test_arc_is_read(tmp_path: Path, encode: Callable[[bytes], bytes]) -> None:
    about = b"1 0 InternetArchive\nURL IP-address Archive-date Content-type Archive-length\n"
    parts = [b"filedesc://made.arc 0.0.0.0 20050607080910 text/plain %d\n" % len(about) + about + b"\n"]
    for number in range(3):
        block = HEAD + BODY % number
        head = b"http://site.example/%d 192.0.2.1 20050607080910 text/html %d\n"
        parts.append(head % (number, len(block)) + block + b"\n")
    path = tmp_path / "made.arc.gz"
    path.write_bytes(b"".join(map(encode, parts)))
    assert pages(str(path)) == ({n: BODY % n for n in range(3)}, [])
    first = next(item for item in scan_pages(str(path)) if isinstance(item, PageRecord))
    assert first.date.isoformat() == "2005-06-07T08:09:10+00:00"


KINDS = {
    "page": (record(0), PageRecord),
    "bare line feeds in the answer": (record(1, (HEAD + BODY % 1).replace(b"\r\n", b"\n")), PageRecord),
    "type said twice in one field": (
        record(2, HEAD.replace(b"html;", b"html, text/html;") + b"<p>"),
        PageRecord,
    ),
    "no type": (record(3, b"HTTP/1.1 200 OK\r\n\r\n<p>"), Drop),
    "image": (record(4, HEAD.replace(b"text/html", b"image/gif")), Drop),
    "missing": (record(5, HEAD.replace(b"200 OK", b"404 Not Found")), Drop),
    "redirect": (record(6, b"HTTP/1.1 301 Moved\r\nLocation: /7\r\n\r\n"), Redirect),
    "redirect to nowhere": (record(7, b"HTTP/1.1 302 Found\r\n\r\n"), Drop),
    "no answer": (record(8, b"babble"), Drop),
    "request": (record(9, b"GET / HTTP/1.1\r\n\r\n", kind=b"request"), OtherRecord),
    "seen before": (record(10, HEAD, kind=b"revisit"), OtherRecord),
    "seen before, at a known time": (
        record(12, HEAD, kind=b"revisit").replace(b"WARC-Date", b"WARC-Refers-To-Date"),
        Revisit,
    ),
    "folded": (record(11, b"HTTP/1.0 200\nContent-Type:\n text/html\n\n<p>"), PageRecord),
}


@everywhere
def test_every_record_is_a_page_a_redirect_a_drop_or_of_another_type(tmp_path: Path, container: str) -> None:
    address = write(tmp_path, container, [made for made, _ in KINDS.values()])
    found = list(scan_archive(address))
    assert [type(item) for item in found] == [kind for _, kind in KINDS.values()]
    reasons = Counter(item.reason for item in found if isinstance(item, Drop))
    assert reasons == {"not HTML": 2, "not status 200": 1, "bad redirect": 1, "bad HTTP": 1}
    (redirect,) = (item for item in found if isinstance(item, Redirect))
    assert (redirect.url, redirect.target) == ("http://site.example/6", "http://site.example/7")


CHUNKS = b"1a\r\n<p>The harbour was quiet i\r\n9;a=b\r\nn winter.\r\n4\r\n</p>\r\n0\r\n\r\n"
CHUNKED = b"<p>The harbour was quiet in winter.</p>"
TWICE = b"%x\r\n%s\r\n0\r\n\r\n" % (len(CHUNKS), CHUNKS)


@pytest.mark.parametrize(
    "said", [b"Transfer-Encoding: chunked\r\n", b"Transfer-Encoding: chunked, chunked\r\n", b""]
)
@pytest.mark.parametrize(
    ("stored", "expected"),
    [
        (CHUNKS, CHUNKED),
        (TWICE, CHUNKED),
        (CHUNKED, CHUNKED),
        (CHUNKS.replace(b"\r\n", b"\n"), CHUNKED),
        (CHUNKS[:-5], CHUNKED),
        (CHUNKS[:50], CHUNKED[:35]),
        (CHUNKS.replace(b"9;a", b"zz;a"), CHUNKED[:26]),
        (b"12\r\nis a number of which a page may tell", b"12\r\nis a number of which a page may tell"),
    ],
)
def test_no_chunk_size_is_left_in_a_page(tmp_path: Path, said: bytes, stored: bytes, expected: bytes) -> None:
    head = HEAD[:-2] + said + b"\r\n"
    address = write(tmp_path, "plain.warc", [record(0, head + stored)])
    (body,) = pages(address)[0].values()
    assert body == expected


def test_record_is_what_a_scan_gives(tmp_path: Path) -> None:
    from pipeline.web.archive_records import ArchiveFile

    address = write(tmp_path, "members.warc.gz", [record(0)])
    with Path(address).open("rb") as file:
        (found,) = ArchiveFile(file).scan(10)
    assert isinstance(found, ArchiveRecord)
    assert (found.kind, found.block, found.size_bytes) == ("response", HEAD[:10], len(HEAD + BODY % 0))
