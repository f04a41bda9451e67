"""Pages that send their readers on, as browsers read them."""

import gzip
import time
from datetime import UTC, datetime
from pathlib import Path

import pytest

from pipeline.web.http_head import Response
from pipeline.web.refresh import LOOKED_AT_BYTES, refresh_target
from pipeline.web.warc import PageRecord, Redirect, response_record, scan_archive

URL = "http://a.example/dir/page?x=1"


def of_meta(head: str | bytes) -> str:
    return refresh_target(URL, (), head if isinstance(head, bytes) else head.encode())


CONTENTS = [
    ("0;url=/next", "http://a.example/next"),
    ("0; URL=next", "http://a.example/dir/next"),
    ("5; url='http://b.example/a;b'", "http://b.example/a;b"),
    ('0;url="/a b"rest', "http://a.example/a b"),
    ("0;url='/open", "http://a.example/open"),
    ("  3 , url = //b.example/Case", "http://b.example/Case"),
    ("1 url=/spaced", "http://a.example/spaced"),
    ("1;/bare", "http://a.example/bare"),
    ("0.9;url=/x", "http://a.example/x"),
    (".5;url=/x", "http://a.example/x"),
    ("10;url=/x", "http://a.example/x"),
    ("00000000000000000003;url=/x", "http://a.example/x"),
    ("0;url=?y=2", "http://a.example/dir/page?y=2"),
    ("0", URL),
    ("0;", URL),
    ("5; url=", URL),
    ("11;url=/x", ""),
    ("30;url=/slide2", ""),
    ("99999999999999999999;url=/x", ""),
    ("900", ""),
    (";url=/x", ""),
    ("url=/x", ""),
    ("5url=/x", ""),
    ("-1;url=/x", ""),
    ("0;url=javascript:go()", ""),
    ("0;url=data:text/html,x", ""),
    ("0;url=http://[broken", ""),
    ("", ""),
]


@pytest.mark.parametrize(("content", "target"), CONTENTS)
def test_content_means_what_it_means_to_a_browser_in_header_and_meta(content: str, target: str) -> None:
    assert refresh_target(URL, [("Content-Type", "text/html"), ("REFRESH", content)]) == target
    quoted = content.replace("&", "&amp;").replace('"', "&quot;")
    assert of_meta(f'<meta http-equiv="refresh" content="{quoted}">') == target


GO = '<meta http-equiv=refresh content="0;url=/next">'
NEXT = "http://a.example/next"
HEADS = [
    (GO, NEXT),
    (f"<!doctype html><html><head><title>Moved</title>{GO}</head><body>", NEXT),
    (f"<head><script>var a = '<body>';</script><style>p {{}}</style>{GO}", NEXT),
    ("<HEAD><META CONTENT='0;URL=/Next' HTTP-EQUIV=' Refresh '>", "http://a.example/Next"),
    ('<meta content="0;url=/a?b=1&amp;c=2" http-equiv="&#114;efresh"/>', "http://a.example/a?b=1&c=2"),
    (f'<base href="/other/"><base href="/no/">{GO.replace("/next", "next")}', "http://a.example/other/next"),
    (f"{GO}<meta http-equiv=refresh content='0;url=/second'>", NEXT),
    (f"<noscript></noscript><template></template>{GO}", NEXT),
    (f"<head></head>{GO}", NEXT),
    (f"<!--[if IE]>{GO}<![endif]-->", ""),
    (f"<noscript>{GO}</noscript>", ""),
    (f"<noscript><!-- </noscript>{GO}", NEXT),  # what looks like a comment is text to a browser with scripts
    (f"<template><template></template>{GO}</template>", ""),
    (f"<title>{GO}</title><body>", ""),
    (f"<script>document.write('{GO}')</script>", ""),
    (f"<textarea>{GO}</textarea>", ""),
    (f"<body><p>To redirect, write</p>{GO}</body>", ""),
    (f"<p>{GO}", ""),
    ('<meta name="refresh" content="0;url=/next">', ""),
    ('<meta property="og:description" content="refresh: 0;url=/next">', ""),
    (" " * LOOKED_AT_BYTES + GO, ""),
]


@pytest.mark.parametrize(("head", "target"), HEADS)
def test_only_elements_of_the_head_count(head: str, target: str) -> None:
    assert of_meta(head) == target


def test_encodings_of_a_page_do_not_hide_it() -> None:
    assert of_meta(GO.replace("next", "b\u00fccher")) == "http://a.example/b\u00fccher"
    assert of_meta(GO.replace("next", "b\u00fccher").encode("latin-1")) == "http://a.example/b\u00fccher"
    assert of_meta(f"<html><head>{GO}".encode("utf-16")) == NEXT
    assert of_meta(f"<html><head>{GO}".encode("utf-16-le")) == NEXT


@pytest.mark.parametrize(
    "text", ["<meta ", "<meta refresh ", "refresh<template>", "<meta http-equiv=refresh content=' "]
)
def test_long_heads_cost_their_length(text: str) -> None:
    started = time.process_time()
    of_meta("refresh" + text * 100_000)
    refresh_target(URL, [("Refresh", "0;" + " " * 1_000_000 + "x")])
    refresh_target(URL, [("Refresh", "0" * 1_000_000)])
    assert time.process_time() - started < 0.2


STUB = f"<html><head>{GO}</head><body>Moved.</body></html>".encode()
CHUNKED = b"%x\r\n%s\r\n0\r\n\r\n" % (len(STUB), STUB)
STORED = [
    ([("Content-Type", "text/html")], STUB, NEXT),
    ([("Content-Type", "text/html"), ("Content-Encoding", "gzip")], gzip.compress(STUB, mtime=0), NEXT),
    ([("Content-Type", "text/html"), ("Content-Encoding", "gzip")], gzip.compress(STUB, mtime=0)[:-9], NEXT),
    ([("Content-Type", "text/html"), ("Content-Encoding", "br")], STUB, NEXT),
    ([("Content-Type", "text/html"), ("X", "y")], CHUNKED, NEXT),
    ([("Content-Type", "text/html"), ("Refresh", "0; /h")], b"", "http://a.example/h"),
    ([("Content-Type", "text/plain"), ("Refresh", "0; /h")], b"", "http://a.example/h"),
    ([("Content-Type", "text/html"), ("Refresh", "60; /h")], STUB, ""),
    ([("Content-Type", "text/html"), ("Refresh", "0")], STUB, ""),
    ([("Content-Type", "text/html"), ("Content-Encoding", "gzip")], b"\x1f\x8b\x08broken", ""),
]


@pytest.mark.parametrize(("headers", "body", "target"), STORED)
def test_records_that_send_on_are_redirects(
    headers: list[tuple[str, str]], body: bytes, target: str, tmp_path: Path
) -> None:
    raw = [(name.encode(), value.encode()) for name, value in headers]
    made = Response(
        url=URL, status=200, phrase="OK", headers=raw, body=body, address="192.0.2.1",
        at=datetime(2020, 1, 1, tzinfo=UTC),
    )  # fmt: skip
    (tmp_path / "a.warc.gz").write_bytes(response_record(made))
    (found,) = scan_archive(str(tmp_path / "a.warc.gz"))
    if target:
        assert isinstance(found, Redirect) and (found.url, found.target) == (URL, target)
    else:
        assert isinstance(found, PageRecord)
