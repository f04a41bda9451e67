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


ARTICLES = {
    "Adblock Plus will sell ads": (
        "The company behind Adblock Plus said on Tuesday that Adblock would start to sell "
        "ads. Adblock Plus, which many millions of people use, has long let some through. "
        "Under the plan, publishers buy from an exchange that Adblock runs. The maker of "
        "Adblock keeps six percent. An ad blocker that sells ads is like a dog that sells "
        "sausages, a critic said. Shares of an advertising firm fell after Adblock told of "
        "it. "
    ),
    "Adblock Plus": (
        "Reviewers liked Adblock Plus for its speed. An ad blocker must be quick, they wrote, "
        "and Adblock is. The rival of Adblock was slower. Whether Adblock hurts the press was "
        "not their question. "
    ),
    "Because cookies are best": (
        "Because cookies are best eaten warm, we use cookies of last week for the trifle "
        "only. Grandmother said to use cookies with little sugar, and to remember meeting the "
        "baker. "
    ),
    "New privacy policy for schools": (
        "The school board adopted a privacy policy on Monday. Parents had asked for a privacy "
        "policy for years. A lawyer found the privacy policy good. The town wrote its privacy "
        "policy in 2014, and the cookie policy of its site is older. "
    ),
    "The man who owned a country's name": (
        "The domain owner lives in a village. A domain owner like him pays ten pounds a year. "
        "Buy this domain, his friends said, and he did. The domain owner will never sell. "
    ),
    "Phones fail in the north": (
        "Phone service was temporarily unavailable for thousands on Monday. The regulator "
        "asks why it was temporarily unavailable, and says that an error occurred while "
        "engineers changed a switch. "
    ),
    "X-ray identification of paintings": (
        "X-ray identification shows what lies under the paint. The X-ray idea is old. "
    ),
    "A cafe without JavaScript": (
        "Without JavaScript the menu of the cafe is a plain page. It was made without "
        "JavaScript by a student, who says that most pages could do without JavaScript. "
    ),
}


@pytest.mark.parametrize("title", ARTICLES)
def test_articles_about_what_walls_are_about_stay(title: str) -> None:
    text = ARTICLES[title]
    text *= -(-110 // len(text.split()))
    assert find_wall(text, title, 100) is None
    assert find_wall(text, "", 100) is None


LONG_WALLS = {
    "JavaScript wall": (
        "It looks like you have an ad blocker turned on. To read on, please turn off Adblock. "
        "Click the AdBlock icon in your browser. Choose not to run it on this domain. Reload "
        "the page. If you use Adblock Plus, click its icon, then the switch. Still seeing "
        "this? Write to us, and we shall help. "
    ),
    "parked domain": (
        "This domain is for sale. Buy this domain today. The domain owner may take an offer. "
        "Inquire about this domain. Support by day and night. Safe payment. Fast transfer. "
    ),
    "cookie wall": (
        "We value your privacy. We and our partners store information on a device, such as "
        "cookies. You can manage preferences at any time. See our privacy policy. "
    ),
    "login wall": (
        "Log in to continue. Remember me. Forgot your password? Don't have an account? Create an account. "
    ),
    "error page": (
        "Sorry, the page you requested could not be shown. It may have been moved or deleted. "
        "Check the URL, or return to the home page. "
    ),
}
MENU = "Home\nAbout us\nContact\nTerms\nImprint\nNews of the week\nSports and weather\nAll rights reserved\n"


@pytest.mark.parametrize("kind", LONG_WALLS)
@pytest.mark.parametrize("title", ["Harbour News", ""])
def test_walls_as_long_as_articles_are_still_found(kind: str, title: str) -> None:
    text = LONG_WALLS[kind]
    text = text * -(-90 // len(text.split())) + "\n" + MENU
    assert len(text.split()) >= 100
    found = find_wall(text, title, 100)
    assert found is not None and found[0] == kind


def test_the_title_of_an_error_is_enough() -> None:
    text = "Page not found. " * 20 + MENU * 4
    assert find_wall(text, "Page not found | Harbour News", 100) is not None
    assert find_wall(text, "Harbour News", 100) is None
