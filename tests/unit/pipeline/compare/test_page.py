"""The page of a comparison: strangers' text is text, and what is missing is said."""

import dataclasses
import re

import pytest

from pipeline.compare.changes import Changes, Rule
from pipeline.compare.comparison import BuildChanges, Comparison, Containment, Shown
from pipeline.compare.domains import DomainLikeness
from pipeline.compare.page import comparison_html, comparison_text, percent
from pipeline.compare.survey import Totals
from pipeline.compare.words import TellingWord, WordLikeness
from pipeline.corpus.likeness import likeness_to_webtext
from pipeline.corpus.rankings import compare_rankings
from pipeline.dedup.bands import Bands
from pipeline.dedup.minhash import DuplicateOptions

EVIL = "<script>alert(1)</script>|\x1b[31m"
TOTALS = Totals(documents=4, words=400, characters=2000, with_domain=4, rows=5)
TOTALS.left_out["no text"] = 1
TOTALS.lengths.update({"8": 3, "10": 1})
TOTALS.years.update({"2012": 2, "": 2})
TOTALS.languages.update({f"l{number}": 1 for number in range(20)})
ROW = {"domain": EVIL, "documents": 3, "words": 9, "tokens": 1, "other_documents": 1, "other_words": 2}
COUNTS = {EVIL: 3, "a.org": 1}
SHOWN = Shown(url=EVIL, title=EVIL, characters=7, excerpt=EVIL, similarity=0.93, partner=EVIL)
RULE = Rule(
    stage="refined",
    reason="too short",
    count=12,
    samples=[{"url": EVIL, "title": EVIL, "detail": EVIL, "moved": EVIL}],
)
FOUND = Comparison(
    names=(EVIL, "other"),
    totals=(TOTALS, TOTALS),
    has_tokens=False,
    webtext=(likeness_to_webtext([(EVIL, 3)]), None),
    domains=DomainLikeness(
        distinct=(2, 2),
        shared=1,
        covered=(0.5, 0.25),
        ranking=compare_rankings(COUNTS, {"a.org": 1, "b.org": 2}, 4, 3),
        largest=[ROW | {"other_tokens": 1}],
    ),
    words=WordLikeness(
        distinct=(10, 11),
        shared=9,
        covered=(0.9, 0.8),
        divergence_bits=0.25,
        more=[TellingWord(word=EVIL, count=3, other_count=1, bits=0.1)],
        less=[],
    ),
    bands=Bands.of(DuplicateOptions()),
    contained=(
        Containment(documents=4, words=400, matched=1, matched_words=100, exact=1),
        Containment(documents=8, words=400, matched=1, matched_words=40, exact=0),
    ),
    samples={"only_a": [SHOWN], "only_b": [], "both": [SHOWN]},
    changes=BuildChanges(
        documents=Changes(
            same=3,
            changed=1,
            changed_samples=[{"url": EVIL, "title": "", "characters": [5, 6]}],
            came=[RULE],
            went=[],
            moved=1,
            moved_away=0,
        ),
        options=[{"option": "refine.min_words", "now": 50, "before": [EVIL]}],
    ),
)
ALONE = Comparison(
    names=("mine", None),
    totals=(dataclasses.replace(TOTALS, with_domain=0), None),
    has_tokens=True,
    webtext=(None, None),
    domains=DomainLikeness(
        distinct=(0, 0), shared=0, covered=(0.0, 0.0), ranking=compare_rankings({}, {}, 0, 0), largest=[]
    ),
)


def test_every_figure_is_on_the_page_and_all_text_is_escaped() -> None:
    page = comparison_html(FOUND)
    shares = ("25.0 %", "12.5 %", "0.500")
    for printed in (*shares, "too short", "refine.min_words", "similarity 0.93", "6 characters before"):
        assert printed in page
    assert page.count("&lt;script&gt;") > 10
    assert "<script" not in page


def test_the_page_loads_nothing() -> None:
    assert not re.search(r"https?:|src=|@import|url\(", comparison_html(ALONE))


def test_what_cannot_be_compared_is_said() -> None:
    page = comparison_html(ALONE)
    assert "No document has an address or a domain" in page
    assert "nothing to compare with WebText" in page
    assert "Near-duplicates" not in page and "What changed" not in page
    without = comparison_html(dataclasses.replace(FOUND, domains=ALONE.domains, webtext=(None, None)))
    assert "No document of either corpus has an address" in without
    one_sided = dataclasses.replace(FOUND.domains, ranking=compare_rankings(COUNTS, {}, 4, 0))
    assert "Only one of the two has addresses" in comparison_html(
        dataclasses.replace(FOUND, domains=one_sided)
    )


def test_rare_languages_are_shown_as_one() -> None:
    page = comparison_html(FOUND)
    assert "others" in page and ">l9<" not in page


def test_the_terminal_gets_the_same_figures() -> None:
    text = comparison_text(FOUND)
    assert re.search(r"25\.0 %  of A are in B \(1\)", text)
    assert re.search(r"12  +refined: too short", text)
    assert "no  domains" in comparison_text(ALONE)


def test_derived_figures_are_in_the_json() -> None:
    content = FOUND.to_json()
    assert content["words"]["distance"] == 0.5
    assert [side["share"] for side in content["near_duplicates"]["sides"]] == [0.25, 0.125]
    assert content["domains"]["ranking"]["overlap"] == 0.5
    assert content["corpora"][0]["lengths"] == {"10": 1, "8": 3}
    assert ALONE.to_json()["near_duplicates"] is None


@pytest.mark.parametrize(
    ("share", "text"),
    [
        (0, "0.0 %"),
        (1, "100.0 %"),
        (1e-4, "< 0.1 %"),
        (1 - 1e-5, "> 99.9 %"),
        (0.4, "40.0 %"),
        (5e-4, "0.1 %"),
    ],
)
def test_nearly_nothing_is_not_nothing_and_nearly_all_not_all(share: float, text: str) -> None:
    assert percent(share) == text
