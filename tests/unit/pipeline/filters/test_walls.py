"""Walls are known by phrases of their own words, and talk about walls is none."""

import pytest

from pipeline.filters.walls import find_wall

STORY = "The harbour was quiet that morning, and the boats lay still at their moorings while it rained. "


@pytest.mark.parametrize(
    ("title", "text"),
    [
        (
            "Sweets",
            "She bakes because cookies are what children like. He eats them because cookies are there.",
        ),
        ("Weather", "Mauricewillaccept allowed it. Nobody else does."),
        ("Adblock Plus will sell ads", "Adblock Plus will sell ads, its makers say. " * 3 + STORY * 9),
        ("Access denied to the archives for years", "Access denied: so it was for years. " * 3 + STORY * 9),
    ],
)
def test_words_that_only_contain_a_phrase_and_titles_that_go_on_are_no_wall(title: str, text: str) -> None:
    assert find_wall(text, title, 25) is None


@pytest.mark.parametrize(
    ("title", "text", "kind"),
    [
        ("", "We use cookies. Accept all cookies or manage preferences.", "cookie wall"),
        ("Page not found | A site", "Page not found. " * 5 + STORY, "error page"),
        ("404 Not Found", "404 not found. " * 5 + STORY, "error page"),
    ],
)
def test_walls_are_still_found(title: str, text: str, kind: str) -> None:
    found = find_wall(text, title, 25)
    assert found is not None and found[0] == kind
