"""Code comes out as it stood: its lines, its indentation, and nothing of the tables that it stood in."""

import time

import pytest

from pipeline.extract.characters import tidy, tidy_line
from pipeline.extract.code_blocks import LINE_MARK
from pipeline.extract.extraction import Extraction, extract_text

SENTENCE = "The ferry crossed the bay at dawn, and captain {} looked out to sea and said nothing of it. "
BEFORE, AFTER = ("".join(f"<p>{SENTENCE.format(name) * 2}</p>" for name in names) for names in ("AB", "YZ"))
CODE = ["def f(x):", "    if x < 3:", "        return {'a':  1}", "\treturn None"]
ESCAPED = [line.replace("<", "&lt;") for line in CODE]


def spans(line: str) -> str:
    return "".join(f'<span class="w">{word}</span> ' if word else " " for word in line.split(" ")).rstrip()


LISTINGS = {
    "pre": "<pre>\n{}\n\n</pre>".format("\n\n".join(ESCAPED)),
    "dos": "<pre>{}</pre>".format("\r\n".join(ESCAPED)),
    "code in pre": '<pre class="x"><code class="language-python">{}</code></pre>'.format("\n".join(ESCAPED)),
    "spans": '<div class="highlight"><pre><span></span>{}\n</pre></div>'.format(
        "\n".join(map(spans, ESCAPED))
    ),
    "a span a line": "<pre><code>{}</code></pre>".format(
        "\n".join(f'<span class="line"><span>{line[:6]}</span>{line[6:]}</span>' for line in ESCAPED)
    ),
    "a block a line": "<pre>{}</pre>".format("".join(f"<div>{line}</div>" for line in ESCAPED)),
    "a list": "<pre><ol>{}</ol></pre>".format("".join(f"<li>{spans(line)}</li>" for line in ESCAPED)),
    "breaks": "<pre>{}</pre>".format("<br>".join(ESCAPED)),
    "code with breaks": "<code>{}</code>".format("<br/>".join(ESCAPED)).replace("  ", "&nbsp;&nbsp;"),
    "xmp": "<xmp>{}</xmp>".format("\n".join(CODE)),
    "numbers beside": "<table><tr><td><pre>1\n2\n3\n4</pre></td><td><pre>{}</pre></td></tr></table>".format(
        "\n".join(ESCAPED)
    ),
    "figure": '<figure class="highlight"><pre><code>{}</code></pre></figure>'.format("\n".join(ESCAPED)),
}


def lines_of(listing: str) -> list[str]:
    html = (
        f"<html><head><title>t</title></head><body><article>{BEFORE}{listing}{AFTER}</article></body></html>"
    )
    found = extract_text(html.encode(), "utf-8")
    assert isinstance(found, Extraction)
    return found.text.split("\n")


@pytest.mark.parametrize("name", LISTINGS)
def test_code_keeps_its_lines_and_their_spaces(name: str) -> None:
    lines = lines_of(LISTINGS[name])
    assert [line for line in lines if "The ferry" not in line] == CODE
    assert [line.count("The ferry") for line in lines if "The ferry" in line] == [2, 2, 2, 2]


def test_code_in_a_list_stands_on_lines_of_its_own() -> None:
    lines = lines_of("<ul><li>First this:<pre>  make\n    all</pre></li><li>Then that.</li></ul>")
    assert lines[2:-2] == ["- First this:", "  make", "    all", "- Then that."]


def test_code_within_a_sentence_stays_there() -> None:
    text = "Call <code>f( x )</code> and  <code>g(y)</code> to see what it does in the end, and wait for it."
    assert lines_of(f"<p>{text}</p>")[2:-2] == [
        "Call f( x ) and g(y) to see what it does in the end, and wait for it."
    ]


def test_a_pre_that_nobody_closed_does_not_flatten_the_page() -> None:
    assert lines_of(f"<pre>{BEFORE}")[:2] == lines_of("")[:2]


def test_numbers_that_are_no_numbering_stay() -> None:
    assert "  12  24" in lines_of("<table><tr><td><pre>  12  24\n  13  26</pre></td></tr></table>")


def test_marks_show_nowhere_and_prose_is_tidied() -> None:
    assert tidy(f"  a   b {LINE_MARK}\u2800\u2800c\u2800\u2800d \n e") == "a b\n  c  d\ne"
    assert tidy_line(f"{LINE_MARK}\u2800x\u2800\u2800y") == "x y"
    assert tidy("\u283f\u2813 \u2800") == "\u283f\u2813 \u2800"  # Braille is text


@pytest.mark.parametrize(
    "html",
    ["<pre>" + "<span>" * 20_000 + "x\n y", "<pre>" + "x\n" * 100_000, "<code><br>" * 1_000, "<pre>" * 5_000],
)
def test_deep_and_long_listings_cost_little(html: str) -> None:
    started = time.process_time()
    extract_text(html.encode(), "utf-8")
    assert time.process_time() - started < 5
