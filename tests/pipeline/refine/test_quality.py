"""English stays, other languages, short texts and copies of Wikipedia go, each with its reason."""

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.records import Drop
from pipeline.refine.language import detect_language
from pipeline.refine.quality import RefineOptions, judge
from pipeline.refine.wikipedia import is_wikipedia_copy

ENGLISH = (
    "The committee met on Tuesday to discuss the harbour, and nobody could agree on what to do with it. "
)
GERMAN = "Der Ausschuss traf sich am Dienstag, um über den Hafen zu sprechen, doch niemand wusste einen Rat. "
FRENCH = (
    "Le comité s'est réuni mardi pour parler du port, mais personne ne savait ce qu'il fallait en faire. "
)
LANGUAGES = Path(__file__).parents[4] / "shared" / "data" / "languages"


def verdict(text: str, options: RefineOptions | None = None) -> tuple[str, float] | Drop:
    return judge(text, "http://a.example/", options or RefineOptions())


def test_english_stays_with_its_share() -> None:
    language, share = verdict(ENGLISH * 10)  # type: ignore[misc]
    assert language == "en"
    assert share > 0.9


@pytest.mark.parametrize(("text", "code"), [(GERMAN, "de"), (FRENCH, "fr")])
def test_other_languages_go_and_are_named(text: str, code: str) -> None:
    assert verdict(text * 10) == Drop("other language", "http://a.example/", code)
    assert isinstance(verdict(text * 10, RefineOptions(languages=(code,))), tuple)
    assert isinstance(verdict(text * 10, RefineOptions(languages=())), tuple)


def test_short_text_goes() -> None:
    assert verdict(ENGLISH) == Drop("too short", "http://a.example/", "19 words")


@pytest.mark.parametrize(
    "mark",
    [
        "From Wikipedia, the free encyclopedia",
        "This article uses material from the Wikipedia article Harbour.",
        'Retrieved from "https://en.wikipedia.org/w/index.php?title=Harbour"',
    ],
)
def test_copy_of_wikipedia_goes(mark: str) -> None:
    assert verdict(f"{mark}\n{ENGLISH * 10}") == Drop("Wikipedia", "http://a.example/")
    assert verdict(f"{ENGLISH * 10}\n{mark}") == Drop("Wikipedia", "http://a.example/")
    assert isinstance(verdict(f"{mark}\n{ENGLISH * 10}", RefineOptions(drop_wikipedia=False)), tuple)


def test_talk_about_wikipedia_stays() -> None:
    assert not is_wikipedia_copy(
        "Wikipedia, the encyclopedia that anyone can edit, has a new editor. " + ENGLISH
    )


@given(st.text())
def test_language_detection_never_raises(text: str) -> None:
    code, share = detect_language(text)
    assert code
    assert 0 <= share <= 1


@given(st.text(st.characters(categories=["Cc", "Cs", "Cn", "Co", "Cf"])))
def test_characters_that_cld2_refuses_do_no_harm(text: str) -> None:
    assert detect_language(f"{ENGLISH} {text} {ENGLISH}")[0] == "en"


@pytest.mark.skipif(not LANGUAGES.is_dir(), reason="needs the sentences in 75 languages")
def test_hardly_any_of_75_languages_passes_for_english() -> None:
    foreign, false_english, missed = 0, 0, 0
    for path in LANGUAGES.glob("*.txt"):
        sentences = path.read_text(encoding="utf-8").splitlines()
        for start in range(0, len(sentences) - 5, 5):
            code, _ = detect_language(" ".join(sentences[start : start + 5]))
            if path.stem == "en":
                missed += code != "en"
            else:
                foreign += 1
                false_english += code == "en"
    assert foreign > 1_000
    assert false_english / foreign < 0.002
    assert missed == 0
