"""What a paragraph is at the ends of a text, and when two of them are the same."""

import unicodedata

from hypothesis import given
from hypothesis import strategies as st

from pipeline.boilerplate.paragraphs import (
    DOCUMENT,
    WHERE,
    begins_lower,
    edge_hashes,
    ends_sentence,
    normalised,
    paragraph_hash,
    paragraphs_at,
)


def texts(edge: str, text: str, most: int = 20) -> list[str]:
    return [paragraph.text for paragraph in paragraphs_at(edge, text.split("\n"), most)]  # type: ignore[arg-type]


def test_paragraphs_come_from_the_edge_inwards_and_no_more_than_are_asked_for() -> None:
    assert texts("beginning", "One.\nTwo.\nThree.", 2) == ["one.", "two."]
    assert texts("end", "One.\nTwo.\nThree.", 2) == ["three.", "two."]
    assert texts("end", "One.", 5) == ["one."]


def test_a_list_is_one_paragraph_whichever_end_it_is_looked_at_from() -> None:
    text = "- Home\n- News\nA sentence.\n| a | b |\n|---|---|\n- Terms\n- Privacy"
    assert texts("beginning", text) == [
        "- home\n- news",
        "a sentence.",
        "| a | b |\n|---|---|",
        "- terms\n- privacy",
    ]
    assert texts("end", text) == texts("beginning", text)[::-1]


def test_code_is_where_it_stops() -> None:
    for code in (
        "    indented()",
        "// Licensed under the Apache License.",
        "/* Copyright */",
        "#include <stdio.h>",
        "# Licensed under the Apache License.",
        "#!/bin/sh",
        ">>> 1 + 1",
        "$ make install",
        "return 0;",
        "int main() {",
        "})",
    ):
        assert texts("beginning", f"Follow us.\n{code}\nFollow us.") == ["follow us."], code
        assert texts("end", f"Follow us.\n{code}\nFollow us.") == ["follow us."], code
    for prose in ("#hashtags are welcome", "***", "—", "A sentence (with brackets)", "2 > 1"):
        assert len(texts("beginning", f"Follow us.\n{prose}\nFollow us.")) == 3, prose


def test_spaces_case_and_forms_of_unicode_tell_no_paragraphs_apart() -> None:
    written = "Suivez l’équipe ﬁdèle\u00a0sur Twitter"
    for other in (
        unicodedata.normalize("NFD", written),
        unicodedata.normalize("NFKC", written),
        written.upper().replace("FI", "ﬁ"),
        f"  {written} ",
        written.replace(" ", "\t  "),
        written.replace("Twitter", "Twit\u00adter\u200b"),
    ):
        assert normalised(other) == normalised(written)
    assert normalised("Follow us in 2012") != normalised("Follow us in 2013")


@given(st.text(max_size=40))
def test_hashes_tell_the_edges_apart_and_are_never_that_of_a_document(text: str) -> None:
    hashes = {paragraph_hash(text, where) for where in WHERE}
    assert len(hashes) == 3 and DOCUMENT not in hashes and max(hashes) < 2**64


def test_sentences_end_in_any_script_and_in_quotes() -> None:
    for line in ("An end.", "“An end.”", "(Is it?)", "It is!'", "完了。", "समाप्त।", "*An end.*", "to be …"):
        assert ends_sentence(line), line
    for line in ("no end", "a list:", "Follow us", "1, 2,", ""):
        assert not ends_sentence(line), line
    assert (
        begins_lower("(and so on")
        and not begins_lower("And")
        and not begins_lower("12")
        and not begins_lower("")
    )


def test_nothing_beyond_a_paragraph_that_is_not_among_the_wanted_is_counted() -> None:
    text = "Menu of the site\nOwn.\nMenu of the site\nFollow us."
    wanted = {
        paragraph_hash(normalised(line), where)
        for line in ("Menu of the site", "Follow us.")
        for where in WHERE
    }
    found = set(edge_hashes(text, 20, wanted))
    assert found == {
        paragraph_hash("menu of the site", "beginning"),
        paragraph_hash("menu of the site", "end"),
        paragraph_hash("menu of the site", "begun anew"),
        paragraph_hash("follow us.", "end"),
    }
    assert found < set(edge_hashes(text, 20))
    assert not set(edge_hashes(text, 20, ()))
