"""Records that say "as before" stand for the page that they mean, wherever in the archives that is."""

import json
from pathlib import Path

import orjson
import pyarrow.dataset as ds
import pytest

from pipeline.build_webtext import Options, main
from pipeline.corpus.funnel import read_funnel

SENTENCE = "The {} harbour was quiet that morning, and boat {} lay still at its moorings while it rained. "


def body(name: str) -> bytes:
    text = "".join(f"<p>{SENTENCE.format(name, number)}</p>" for number in range(12))
    return f"<html><head><title>{name}</title></head><body><article>{text}</article></body></html>".encode()


def record(kind: str, url: str, day: int, http: bytes = b"", **fields: str) -> bytes:
    headers = {
        "WARC-Type": kind, "WARC-Target-URI": url, "WARC-Date": f"2015-01-{day:02d}T00:00:00Z",
        "Content-Type": "application/http; msgtype=response", "Content-Length": str(len(http)),
    } | {name.replace("_", "-"): value for name, value in fields.items()}  # fmt: skip
    lines = "".join(f"{name}: {value}\r\n" for name, value in headers.items())
    return b"WARC/1.1\r\n" + lines.encode() + b"\r\n" + http + b"\r\n\r\n"


def page(url: str, day: int, name: str, **fields: str) -> bytes:
    return record(
        "response", url, day, b"HTTP/1.1 200 OK\r\nContent-Type: text/html\r\n\r\n" + body(name), **fields
    )


def revisit(
    url: str, day: int, head: bytes = b"HTTP/1.1 200 OK\r\nContent-Type: text/html\r\n\r\n", **fields: str
) -> bytes:
    profile = "http://netpreserve.org/warc/1.1/revisit/identical-payload-digest"
    return record("revisit", url, day, head, WARC_Profile=profile, **fields)


def earlier(url: str, day: int) -> dict[str, str]:
    return {"WARC_Refers_To_Target_URI": url, "WARC_Refers_To_Date": f"2015-01-{day:02d}T00:00:00Z"}


A, B, C, D, E, F, G, H = (f"http://{letter}.example.com/" for letter in "abcdefgh")
FIRST = [
    page(A, 1, "amber", WARC_Payload_Digest="sha1:AAAA"),
    page(A, 2, "azure", WARC_Payload_Digest="sha1:BBBB"),
    page(B, 3, "brown", WARC_Payload_Digest="sha1:CCCC"),
    page(B, 5, "beige", WARC_Payload_Digest="sha1:DDDD"),
    page(D, 1, "dusky"),
    page(D, 2, "denim"),
    page(G, 1, "green", WARC_Payload_Digest="sha1:EEEE"),
]
SECOND = [
    revisit(A, 3, WARC_Payload_Digest="sha1:aaaa"),  # as it was before its last change
    revisit(C, 4, WARC_Payload_Digest="sha1:CCCC", **earlier(B, 3)),  # as another page was once
    revisit(D, 3, b"", **earlier(D, 1)),  # by its date alone, and without a head
    revisit(E, 3, WARC_Payload_Digest="sha1:FFFF", **earlier("http://nowhere.example.com/", 1)),
    revisit(F, 3, b"HTTP/1.1 301 Moved\r\nLocation: http://b.example.com/\r\n\r\n", **earlier(F, 1)),
    revisit(G, 2, b"HTTP/1.1 304 Not Modified\r\n\r\n"),
    revisit(H, 2, b"HTTP/1.1 404 Not Found\r\nContent-Type: text/html\r\n\r\n"),
    revisit("http://i.example.com/", 2, b"HTTP/1.1 200 OK\r\nContent-Type: image/png\r\n\r\n"),
    record("metadata", A, 1, b"via: x"),
]
NAMES = {A: "amber", B: "beige", C: "brown", D: "dusky", F: "beige", G: "green"}


def build(tmp_path: Path, partitions: int, *, is_dumped: bool) -> tuple[Path, dict[str, str], dict[str, str]]:
    """Return the output, what each link's text is about, and why other links have none."""
    (tmp_path / "first.warc").write_bytes(b"".join(FIRST))
    (tmp_path / "second.warc").write_bytes(b"".join(SECOND))
    posts = [{"id": f"a{n}", "url": url, "score": 9, "title": "t"} for n, url in enumerate((*NAMES, E, H))]
    (tmp_path / "RS_made").write_bytes(b"\n".join(map(orjson.dumps, posts)))
    output = tmp_path / "out"
    main(
        Options(
            submissions=(str(tmp_path / "RS_made"),) if is_dumped else (), partitions=partitions,
            warcs=(str(tmp_path / "first.warc"), str(tmp_path / "second.warc")), output=str(output),
        )
    )  # fmt: skip
    documents = ds.dataset(list(output.glob("documents/*/documents.parquet"))).to_table().to_pylist()
    drops = ds.dataset(list(output.glob("pages*/*/drops.parquet"))).to_table().to_pylist()
    return (
        output,
        {row["url"]: row["title"] for row in documents},
        {row["url"]: row["reason"] for row in drops},
    )


@pytest.mark.parametrize("partitions", [1, 4])
def test_revisits_stand_for_what_they_refer_to(ray: None, tmp_path: Path, partitions: int) -> None:
    output, titles, drops = build(tmp_path, partitions, is_dumped=True)
    assert titles == NAMES
    assert drops == {E: "not in the archives", H: "not in the archives"}
    fetches = ds.dataset(list(output.glob("pages*/*/fetches.parquet"))).to_table().to_pylist()
    ends = {row["url"]: (row["final_url"], row["redirects"]) for row in fetches if not row["reason"]}
    assert ends[C] == (C, []) and ends[F] == (B, [B])


def test_no_record_of_an_archive_vanishes(ray: None, tmp_path: Path) -> None:
    output, titles, drops = build(tmp_path, 3, is_dumped=False)
    assert titles == {url: name for url, name in NAMES.items() if url != F}  # that one only redirects
    assert drops == {E: "not in the archives"}
    index = next(
        stage
        for stage in json.loads((output / "run.json").read_text())["stages"]
        if stage["stage"] == "index"
    )
    assert (index["read"], index["kept"]) == (7 + 6, 7 + 4)
    steps = {step["step"]: step for step in read_funnel(str(output / "corpus"))["steps"]}
    assert steps["index"]["dropped"] == {"not status 200": 1, "not HTML": 1}
    assert (steps["links"]["read"], steps["links"]["dropped"]) == (11, {"same page again": 5})
    assert (steps["pages"]["read"], steps["pages"]["kept"]) == (6, 5)
