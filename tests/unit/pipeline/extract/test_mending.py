"""Old pages: deep nesting, tables for layout, blocks outside paragraphs, frames."""

import pytest

from pipeline.extract.extraction import Extraction, extract_text

SENTENCE = (
    "The harbour was quiet on day {} of that winter, and the boats lay still at their moorings in the rain. "
)
PROSE = [SENTENCE.format(number) * 3 for number in range(12)]
PARAGRAPHS = "".join(f"<p>{text}</p>" for text in PROSE[:4])
REST = PROSE[4:]


def lines(body: str, head: str = "") -> list[str]:
    page = f"<!DOCTYPE html><html><head><title>A winter</title>{head}</head><body>{body}</body></html>"
    found = extract_text(page.encode(), "")
    assert isinstance(found, Extraction), found
    return found.text.split("\n")


REST_IN = {tag: "".join(f"<{tag}>{text}</{tag}>" for text in REST) for tag in ("p", "li", "dd")}
APART = [f"<p>{text}</p></article>" for text in REST]
ROWS = "".join(f"<tr><td>{text}</td></tr>" for text in REST)
BROKEN = "<br><br>".join(PROSE)
LAYOUTS = {
    "lists beside paragraphs": f"{PARAGRAPHS}<ul>{REST_IN['li']}</ul>",
    "several articles": f"<article>{PARAGRAPHS}</article>{'<article>'.join(['', *APART])}",
    "all in an aside": f"<aside class=content><article>{PARAGRAPHS}{REST_IN['p']}</article></aside>",
    "cells": f"<table width=600><tr><td>{PARAGRAPHS}</td></tr>{ROWS}</table>",
    "definitions": f"{PARAGRAPHS}<dl><dt>Day</dt>{REST_IN['dd']}</dl>",
    "after the end": f"{PARAGRAPHS}</body></html>{REST_IN['p']}",
    "centred": f"<center>{BROKEN}</center>",
    "no frames": f"<frameset><frame src=a></frameset><noframes>{PARAGRAPHS}{REST_IN['p']}</noframes>",
    "layout table": f"<table><tr><td width=9>&nbsp;</td><td><font size=2>{BROKEN}</font></td></tr></table>",
}


@pytest.mark.parametrize("layout", sorted(LAYOUTS))
def test_all_prose_of_an_old_page_is_found_as_paragraphs(layout: str) -> None:
    found = lines(LAYOUTS[layout])
    text = "\n".join(found)
    assert [number for number in range(12) if SENTENCE.format(number).strip() not in text] == []
    assert "|" not in text and "<" not in text
    assert len(found) >= 8


@pytest.mark.parametrize("depth", [250, 300, 600])
@pytest.mark.parametrize("tag", ["div", "font", "b"])
def test_what_stands_deep_is_not_lost(tag: str, depth: int) -> None:
    deep = f"<{tag}>" * depth + f"<p>{PROSE[9]}</p>" + f"</{tag}>" * depth
    text = "\n".join(lines(f"<article>{PARAGRAPHS}{deep}<p>{PROSE[10]}</p></article>"))
    assert PROSE[9].strip() in text and PROSE[10].strip() in text


def test_attribute_or_text_of_11_mb_hides_nothing_that_follows() -> None:
    image = f"<img src='data:image/png;base64,{'A' * 11_000_000}'>"
    assert PROSE[9].strip() in lines(f"<article>{PARAGRAPHS}{image}<p>{PROSE[9]}</p></article>")


def test_text_behind_an_article_that_was_closed_too_early_belongs_to_it() -> None:
    assert "So it ended." in lines(f"<article>{PARAGRAPHS}</article>So it ended.</article>")


def test_small_table_of_data_stays_a_table() -> None:
    table = "<table><tr><th>Day</th><th>Boats</th></tr><tr><td>Monday</td><td>12</td></tr></table>"
    assert any(
        "Monday" in line and "12" in line
        for line in lines(f"<article>{PARAGRAPHS}{table}{PARAGRAPHS}</article>")
    )
