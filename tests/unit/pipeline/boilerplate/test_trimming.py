"""What goes of a document: runs at its ends, and nothing that could be its own."""

import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.boilerplate.paragraphs import WHERE, Where, normalised, paragraph_hash
from pipeline.boilerplate.trimming import BoilerplateOptions, trim
from pipeline.runner.ranges import check_ranges

OPTIONS = BoilerplateOptions()
MENU, FOLLOW, ABOUT = "The Daily Example, news for all", "Follow us on Twitter", "About the company"
BODY = [
    f"This is sentence number {number} of an article about harbours and their boats." for number in range(6)
]


def hashes(*paragraphs: str, where: tuple[Where, ...] = ("beginning", "end")) -> set[int]:
    texts = ("\n".join(map(normalised, paragraph.split("\n"))) for paragraph in paragraphs)
    return {paragraph_hash(text, edge) for text in texts for edge in where}


def left(lines: list[str], repeated: set[int], options: BoilerplateOptions = OPTIONS) -> list[str]:
    trimmed = trim("\n".join(lines), repeated, options)
    return lines if trimmed is None else trimmed.text.split("\n")


def test_runs_at_both_ends_go_and_what_went_is_told() -> None:
    lines = [MENU, *BODY, FOLLOW, ABOUT]
    trimmed = trim("\n".join(lines), hashes(MENU, FOLLOW, ABOUT), OPTIONS)
    assert trimmed is not None
    assert trimmed.text == "\n".join(BODY)
    assert trimmed.taken == (MENU, f"{FOLLOW}\n{ABOUT}")


def test_nothing_in_the_middle_goes() -> None:
    lines = [BODY[0], MENU, *BODY[1:4], FOLLOW, ABOUT, BODY[5]]
    assert left(lines, hashes(MENU, FOLLOW, ABOUT)) == lines


def test_a_paragraph_of_the_end_stays_at_the_beginning() -> None:
    lines = ["Follow us on Twitter and more.", *BODY]
    assert left(lines, hashes(lines[0], where=("end",))) == lines
    assert left(lines, hashes(lines[0], where=("beginning",))) == BODY


def test_a_text_that_is_boilerplate_alone_stays_whole_for_deduplication_to_judge() -> None:
    lines = [MENU, FOLLOW, ABOUT]
    assert left(lines, hashes(*lines)) == lines
    assert left([MENU], hashes(MENU)) == [MENU]


def test_a_copy_with_little_of_its_own_stays_whole() -> None:
    """Such as an article that stands at many addresses of one site, each with a line of its own."""
    lines = [*BODY, "Page 1 of 12, printed on Monday."]
    assert left(lines, hashes(*BODY)) == lines
    generous = BoilerplateOptions(max_trimmed_share=0.99)
    assert left(lines, hashes(*BODY), generous) == lines[-1:]


def test_a_short_line_before_the_text_may_be_its_heading_and_stays() -> None:
    assert left(["SYNOPSIS", *BODY], hashes("SYNOPSIS")) == ["SYNOPSIS", *BODY]
    lines = [MENU, "Summary", *BODY]
    assert left(lines, hashes(MENU, "Summary")) == ["Summary", *BODY]
    assert left([*BODY, "Also on"], hashes("Also on")) == BODY  # at the end nothing follows it


def test_no_sentence_is_cut_where_its_lines_are_wrapped() -> None:
    wrapped = [*BODY, "It conforms to the standard, but for a", "PostgreSQL extension."]
    assert left(wrapped, hashes("PostgreSQL extension.")) == wrapped
    wrapped = ["This module is trusted, that is, it can", "be installed by those who may.", *BODY]
    assert left(wrapped, hashes(wrapped[0])) == wrapped
    assert left(wrapped, hashes(*wrapped[:2])) == BODY


def test_after_a_line_that_is_no_sentence_it_goes_if_it_begins_elsewhere_after_one() -> None:
    lines = [*BODY, "By our own correspondent", FOLLOW]
    assert left(lines, hashes(FOLLOW)) == lines
    assert left(lines, hashes(FOLLOW, where=WHERE)) == lines[:-1]


def test_after_a_list_it_goes_unless_it_may_be_the_rest_of_an_item() -> None:
    lines = [*BODY, "- An item", FOLLOW, "of the site"]
    assert left(lines, hashes(FOLLOW, "of the site")) == lines[:-2]
    assert left(lines[:-2] + lines[-1:], hashes("of the site")) == lines[:-2] + lines[-1:]


def test_a_list_goes_as_a_whole_or_not_at_all() -> None:
    lines = [*BODY, "- Terms", "- Privacy"]
    assert left(lines, hashes("- Terms", "- Privacy")) == lines
    assert left(lines, hashes("- Terms\n- Privacy")) == BODY
    own = [*BODY, "- An item of the page's own", "- Terms", "- Privacy"]
    assert left(own, hashes("- Terms\n- Privacy", "- Terms", "- Privacy")) == own


def test_the_licence_at_the_top_of_code_stays() -> None:
    lines = ["// Licensed under the Apache License, Version 2.0.", "int main() {", *BODY, "}"]
    assert left(lines, hashes(*lines)) == lines


def test_no_more_paragraphs_go_than_were_counted() -> None:
    options = BoilerplateOptions(max_boilerplate_paragraphs=2)
    lines = [*BODY, *(f"Read the newsletter number {number}." for number in range(3))]
    assert left(lines, hashes(*lines[-3:]), options) == lines[:-2]


@given(st.integers(0, 10**6))
def test_what_stays_is_a_part_of_the_text_with_all_that_only_it_has(seed: int) -> None:
    chance = random.Random(seed)
    common = [MENU, FOLLOW, ABOUT, "- Terms\n- Privacy", "Share", "Subscribe for only a dollar a week."]
    paragraphs = [chance.choice(common) if chance.random() < 0.6 else chance.choice(BODY) for _ in range(12)]
    text = "\n".join(paragraphs)
    trimmed = trim(text, hashes(*common, where=WHERE), BoilerplateOptions(max_trimmed_share=0.9))
    if trimmed is None:
        return
    beginning, end = trimmed.taken
    assert "\n".join(filter(None, [beginning, trimmed.text, end])) == text
    assert len(trimmed.text) < len(text)
    assert not [sentence for sentence in BODY if sentence in beginning or sentence in end]
    assert trimmed.text.count("harbours") == text.count("harbours")


@pytest.mark.parametrize(
    "changed",
    [
        {"min_boilerplate_pages": 1},
        {"min_boilerplate_share": 1.1},
        {"max_trimmed_share": -0.1},
        {"max_boilerplate_paragraphs": 0},
        {"min_opening_words": 0},
    ],
)
def test_thresholds_out_of_range_are_refused(changed: dict[str, float]) -> None:
    with pytest.raises(ValueError, match=next(iter(changed)).replace("_", "-")):
        check_ranges(BoilerplateOptions(**changed))  # type: ignore[arg-type]
