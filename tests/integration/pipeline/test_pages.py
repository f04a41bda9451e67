"""Pages become text whatever is in them, copies at once, foreign ones not at all, in any order the same."""

import dataclasses
import gzip
import random
from collections.abc import Iterator
from datetime import UTC, datetime
from typing import Any

import pytest

from pipeline.extract import sandbox as sandboxes
from pipeline.extract.extraction import TITLE_CHARACTERS, Extraction, ExtractOptions
from pipeline.extract.pages import PageExtractor, PageOptions
from pipeline.extract.sandbox import Sandbox
from pipeline.runner.records import Drop
from pipeline.web.warc import Page

ENGLISH = "The harbour was quiet that morning, and the boats lay still at their moorings while it rained. "
GERMAN = "Der Hafen war an diesem Morgen still, und die Boote lagen ruhig an ihren Plätzen im Regen. "


def page(body: bytes | str, url: str = "http://a.example/", charset: str = "") -> Page:
    return Page(
        url=url, status=200, content_type="text/html", charset=charset, date=datetime(2020, 1, 2, tzinfo=UTC),
        headers=(), body=body.encode() if isinstance(body, str) else body,
    )  # fmt: skip


def article(text: str, head: str = "", menu: str = "") -> str:
    paragraphs = "".join(f"<p>{text * 3}</p>" for _ in range(4))
    return (
        f"<html><head><title>The harbour</title>{head}</head><body><nav>{menu}</nav>"
        f"<article><h1>The harbour</h1>{paragraphs}</article></body></html>"
    )


def extract(
    pages: dict[str, Page], languages: tuple[str, ...] = (), extract: ExtractOptions | None = None
) -> dict[str, Extraction | Drop]:
    options = PageOptions(
        extract=extract or ExtractOptions(), languages=languages, respect_opt_outs=True, drop_wikipedia=True
    )
    with PageExtractor(options) as extractor:
        found = list(extractor.extract(pages.items()))
    assert sorted(url for url, _ in found) == sorted(pages)
    return dict(found)


HOSTILE = {
    "empty": "",
    "nothing but space": " \n\t" * 1000,
    "binary": random.Random(0).randbytes(200_000),
    "zeros": b"\0" * 1_000_000,
    "deep": "<html><body>" + "<div>" * 100_000 + ENGLISH * 20,
    "deep and closed": "<html><body>" + "<b>" * 50_000 + ENGLISH + "</b>" * 50_000,
    "wide table": f"<html><body><table><tr><td colspan={2**53} rowspan={2**53}>{ENGLISH * 9}</td></table>",
    "one line": f"<html><body><p>{ENGLISH * 50_000}</p>",
    "one word": "<html><body><p>" + "a" * 5_000_000,
    "many attributes": "<html><body><p " + "".join(f"a{i}=1 " for i in range(30_000)) + f">{ENGLISH * 9}",
    "many names": "<html><body>" + "".join(f"<n{i}>x</n{i}>" for i in range(30_000)),
    "open brackets": "<" * 1_000_000,
    "open comment": "<html><!--" + "-" * 1_000_000,
    "references": "<html><body><p>" + "&#x110000;&#0;&#xd800;&#1;" * 10_000 + ENGLISH * 9,
    "unfinished": "<html><body><p>" + ENGLISH * 9 + "<a href='",
    "charset of a megabyte": "<meta charset=" + "x" * 1_000_000,
}


def test_hostile_pages_end_as_text_or_as_a_drop_with_a_reason() -> None:
    pages = {name: page(body) for name, body in HOSTILE.items()} | {"well": page(article(ENGLISH))}
    found = extract(pages, extract=ExtractOptions(extract_deadline_s=1.5))
    for name, result in found.items():
        if isinstance(result, Drop):
            assert result.url == name
            assert result.reason in {
                "empty page", "no text found", "extraction timed out", "extraction failed"
            }  # fmt: skip
        else:
            result.text.encode()
    assert isinstance(found["well"], Extraction)
    assert {name for name in HOSTILE if found[name] == Drop("empty page", name)} == {
        "empty", "nothing but space"
    }  # fmt: skip


def test_what_a_page_comes_to_depends_on_no_page_before_it(monkeypatch: pytest.MonkeyPatch) -> None:
    texts = [ENGLISH, GERMAN, ENGLISH[::-1], "<b>x</b> " * 50, "<table><tr><td>1<td>2</table>" + ENGLISH]
    pages = {f"http://{i}.example/": page(article(text)) for i, text in enumerate(texts)}
    forwards = extract(pages)
    assert extract(dict(reversed(pages.items()))) == forwards
    monkeypatch.setattr(sandboxes, "BYTES_PER_CHILD", 1)  # each page has a child of its own
    assert extract(pages) == forwards


def test_exact_copies_are_extracted_once_and_keep_their_own_addresses(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    called = []
    mapping = Sandbox.map

    def counting(self: Sandbox, calls: Any) -> Iterator[tuple[Any, Any]]:
        for tag, outcome in mapping(self, calls):
            called.append(tag[0])
            yield tag, outcome

    monkeypatch.setattr(Sandbox, "map", counting)
    body = article(ENGLISH, head="<link rel=canonical href='/home'>")
    pages = {f"link {i}": page(body, url=f"http://{i}.example/x") for i in range(5)}
    pages["other charset"] = page(body, charset="koi8-r")
    pages["other"] = page(article(GERMAN))
    found = extract(pages)
    assert set(called) >= {"link 0", "other charset", "other"}
    assert len(called) <= 4  # a copy that comes while the first is being extracted is extracted too
    for i in range(5):
        result = found[f"link {i}"]
        assert isinstance(result, Extraction)
        assert result.canonical == f"http://{i}.example/home"
        assert ENGLISH.strip() in result.text


def test_page_in_no_wanted_language_is_dropped_at_first_sight() -> None:
    menu = "".join(f"<a href='/{i}'>Startseite, Nachrichten, Wirtschaft und Wetter</a> " for i in range(60))
    pages = {
        "German": page(article(GERMAN)),
        "English": page(article(ENGLISH)),
        "English under a German menu": page(article(ENGLISH, menu=menu)),
        "German with a line of English": page(article(GERMAN, menu=ENGLISH)),
        "little text": page("<html><body><p>Moin</p></body></html>"),
    }
    found = extract(pages, languages=("en",))
    assert {url: result.reason for url, result in found.items() if isinstance(result, Drop)}.items() >= {
        "German": "other language", "German with a line of English": "other language"
    }.items()  # fmt: skip
    assert isinstance(found["English"], Extraction)
    assert isinstance(found["English under a German menu"], Extraction)
    assert isinstance(extract(pages)["German"], Extraction)
    assert isinstance(extract(pages, languages=("fr", "de"))["German"], Extraction)


def test_codings_and_searches_stand_behind_the_wall_and_under_the_deadline(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Decoding, the search for opt-outs and that for Wikipedia happen to the page in the child alone."""
    for name in ("pages.header_opt_out", "pages.is_wikipedia_address"):
        monkeypatch.setattr(f"pipeline.extract.{name}", lambda given: None)
    coded = ("Content-Encoding", "gzip")
    pages = {
        "opts out": article(ENGLISH, head="<meta name=robots content=noai>"),
        "Wikipedia": article(ENGLISH, menu="<i>From Wikipedia, the free encyclopedia</i>"),
        "story": article(ENGLISH),
    }
    zipped = {
        name: dataclasses.replace(page(gzip.compress(html.encode())), headers=(coded,))
        for name, html in pages.items()
    }
    zipped["cut"] = dataclasses.replace(zipped["story"], body=zipped["story"].body[:-9])
    zipped["bomb"] = dataclasses.replace(zipped["story"], body=gzip.compress(bytes(2**25)))
    found = extract(zipped)
    assert {name: result.reason for name, result in found.items() if isinstance(result, Drop)} == {
        "opts out": "opt-out noai",
        "Wikipedia": "Wikipedia",
        "cut": "bad encoding",
        "bomb": "too large",
    }
    assert isinstance(found["story"], Extraction)


def test_title_and_canonical_address_are_bounded() -> None:
    head = (
        f"<link rel=canonical href='/{'x' * 100_000}'><meta property='og:title' content='{'word ' * 10_000}'>"
    )
    (result,) = extract({"long": page(article(ENGLISH, head=head))}).values()
    assert isinstance(result, Extraction)
    assert (len(result.title), result.canonical) == (TITLE_CHARACTERS, "")


def test_date_after_the_day_of_fetching_is_not_believed() -> None:
    meta = '<meta property="article:published_time" content="{}T10:00:00Z">'
    found = extract(
        {day: page(article(ENGLISH, head=meta.format(day))) for day in ("2019-12-31", "2031-01-01")}
    )
    dates = {day: result.date for day, result in found.items() if isinstance(result, Extraction)}
    assert dates == {"2019-12-31": "2019-12-31", "2031-01-01": ""}
