"""Searches find within a survey what they find without one, whatever happens to a page in between."""

from hypothesis import given
from hypothesis import strategies as st
from lxml.html import HtmlElement, document_fromstring

from pipeline.extract import patches
from pipeline.extract.searches import LONGEST_KIND, MOST_KINDS, Search, _alternatives, _longest_word
from pipeline.extract.survey import Survey
from tests.unit.pipeline.extract.test_searches import LEFT_TO_XPATH, PATHS, VALUES, trees

ASKED = [path for path in PATHS if path not in LEFT_TO_XPATH] + [".//*[not(@class='post')]", ".//p[@class]"]
CHANGES = st.sampled_from(["drop", "rename", "bare", "wrap"])


def surveyed(paths: list[str]) -> tuple[Survey, list[Search]]:
    survey, searches = Survey(), [Search(path) for path in paths]
    for search in searches:
        survey.add(search)
    return survey, searches


def change(tree: HtmlElement, how: str, place: int) -> None:
    elements = list(tree.iterdescendants())[1:]
    if not elements:
        return
    element = elements[place % len(elements)]
    if how == "drop":
        element.drop_tree()
    elif how == "rename":
        element.tag = "list" if element.tag != "list" else "section"
    elif how == "bare":
        element.attrib.clear()
    else:
        element.addprevious(wrapper := element.makeelement("div", {"class": "post", "id": "new"}))
        wrapper.append(element)


SURVEY, SEARCHES = surveyed(ASKED)


@given(trees(), st.lists(st.tuples(CHANGES, st.integers(0, 99)), max_size=6))
def test_what_is_found_is_what_is_found_without(tree: HtmlElement, changes: list[tuple[str, int]]) -> None:
    with SURVEY:
        for how, place in [("rename", 0), *changes]:
            assert [search(tree) for search in SEARCHES] == [Search(path)(tree) for path in ASKED]
            change(tree, how, place)


def test_nothing_is_remembered_of_another_page() -> None:
    survey, (search,) = surveyed([".//p[@class='post']"])
    tree = document_fromstring("<div><p>a</p></div>")
    with survey:
        assert search(tree) == []
    tree.find(".//p").set("class", "post")
    assert len(search(tree)) == 1
    with survey:
        assert len(search(tree)) == 1


@given(VALUES, st.sampled_from(["^", "x", " ", ""]), st.sampled_from([" ", "-", ""]))
def test_true_conditions_have_their_clues(value: str, before: str, after: str) -> None:
    value = before + value + after
    for path in ASKED:
        for _, clue, is_true in Search(path).conditions:
            assert clue in value or not is_true(value)


def test_clues_are_in_all_that_an_expression_is_true_of() -> None:
    examples = {
        "post[-_]text": "post", "post-?entry": "entry", "(?:entry|page)-content": "-content",
        r"(^|\s)link(\s|$)": "link", "^[Cc]omment(?!ary)": "omment", "ab*c": "", "a{2}b": "", "a.c": "",
        "((a)b)cd": "", r"a\db": "", "(?i)a": "", "plain words": "plain words",
    }  # fmt: skip
    assert {each: _longest_word(each) for each in examples} == examples
    assert _alternatives("^(?:a(?!b)|cd)|e") == ["^a(?!b)", "^cd", "e"]
    assert _alternatives("^(?:a)b(?:c)") == ["^(?:a)b(?:c)"]


def test_memory_is_bounded_and_long_values_are_answered() -> None:
    survey, (search,) = surveyed([".//p[re:test(@class, 'post|story')]"])
    long = "x" * LONGEST_KIND + "story"
    page = "".join(f"<p class='post{number}'>a</p>" for number in range(MOST_KINDS + 9))
    tree = document_fromstring(f"<div>{page}<p class='{long}'>a</p></div>")
    with survey:
        assert len(search(tree)) == MOST_KINDS + 10
    (conditions,) = survey._attributes.values()
    assert len(conditions.known) <= MOST_KINDS
    assert long not in conditions.known


def test_searches_of_an_extraction_are_surveyed() -> None:
    patches.apply_patches()
    assert {"id", "class", "style", "role"} <= patches.SURVEY._attributes.keys()
