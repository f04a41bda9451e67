"""Which rule kept a document from a build: the last step that its address reached."""

import itertools

import pytest

from pipeline.compare.changes import NO_LINK, UNKNOWN, Fate, Tally, add_up, changed_options, key_of, order_of

STEPS = ["submissions", "links", "pages", "documents", "refined", "split"]


def test_stages_are_ordered_by_their_steps() -> None:
    stages = ["split", "pages_2", "lost_by_crawl", "refined", "links", "pages"]
    assert order_of(stages, STEPS) == {
        **{"split": 5, "pages_2": 2, "lost_by_crawl": 2, "refined": 4, "links": 1, "pages": 2}
    }
    assert order_of(["links"], []) == {"links": -1}


def test_the_last_step_counts_and_further_submissions_never() -> None:
    drops = [
        (1, "links", "duplicate link", ""),
        (1, "links", "low karma", "2"),
        (4, "refined", "too short", "80 words"),
        (4, "refined", "other language", "de"),
    ]
    for order in itertools.permutations(drops):
        fate = Fate()
        for drop in order:
            fate.add_drop(*drop)
        assert fate.rule(knows_links=True) == ("refined", "other language")
        assert fate.detail == "de"


@pytest.mark.parametrize(
    ("has_link", "knows_links", "reason"),
    [(False, True, NO_LINK), (True, True, UNKNOWN), (False, False, UNKNOWN)],
)
def test_without_a_drop_it_is_said_what_is_known(has_link: bool, knows_links: bool, reason: str) -> None:
    fate = Fate(has_link=has_link)
    fate.add_drop(1, "links", "duplicate submission", "")
    assert fate.rule(knows_links) == ("", reason)


def test_an_address_is_known_without_its_scheme_and_as_it_was_submitted() -> None:
    assert key_of("http://a.org/x") == key_of("https://a.org/x") == "a.org/x"
    assert key_of("HTTP://A.org:80/x#y", is_raw=True) == "a.org/x"
    assert key_of("not an address", is_raw=True) == ""


def document(url: str, text: str = "1", characters: int = 5) -> dict[str, object]:
    return {"url": url, "id": text, "title": "", "characters": characters}


def test_counts_of_buckets_add_up_and_the_most_frequent_rule_comes_first() -> None:
    first, second = Tally(), Tally()
    first.add_common(document("http://a.org/"), document("http://a.org/"))
    first.add_common(document("http://b.org/", "2", 7), document("http://b.org/", "1", 5))
    first.add_document(0, document("http://c.org/"), ("links", "low karma"), "2", "http://moved.org/")
    for number in range(9):
        second.add_document(0, document(f"http://d.org/{number}"), ("refined", "too short"), "", "")
    second.add_document(1, document("http://e.org/"), ("", NO_LINK), "", "")
    found = add_up([first.to_json(), second.to_json()])
    assert found == add_up([second.to_json(), first.to_json()])
    assert (found.same, found.changed, found.moved, found.moved_away) == (1, 1, 1, 0)
    assert found.changed_samples == [{"url": "http://b.org/", "title": "", "characters": [7, 5]}]
    assert [(rule.stage, rule.reason, rule.count) for rule in found.came] == [
        ("refined", "too short", 9),
        ("links", "low karma", 1),
    ]
    assert [len(rule.samples) for rule in found.came] == [4, 1]
    assert found.came[1].samples[0]["moved"] == "http://moved.org/"
    assert [(rule.stage, rule.reason, rule.count) for rule in found.went] == [("", NO_LINK, 1)]


def test_options_that_differ_are_named_in_full_and_places_are_not() -> None:
    before = {"output": "a", "karma": {"min_karma": 3}, "refine": {"languages": ["en"], "min_words": 100}}
    now = {"output": "b", "karma": {"min_karma": 5}, "refine": {"languages": ["en"]}, "new": True}
    assert changed_options(now, before) == [
        {"option": "karma.min_karma", "now": 5, "before": 3},
        {"option": "new", "now": True, "before": None},
        {"option": "refine.min_words", "now": None, "before": 100},
    ]
    assert changed_options(now, now) == []
