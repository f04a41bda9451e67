"""A corpus beside OpenAI's list of WebText's domains."""

import pytest

from pipeline.corpus.likeness import likeness_to_webtext, webtext_domains


def test_the_list_is_openais_to_the_number() -> None:
    found = webtext_domains()
    assert len(found) == 999  # one of its thousand rows has no name
    assert sum(found.values()) + 20_068 == 21_793_666
    assert list(found.items())[:2] == [("google", 1_542_261), ("archive", 596_207)]
    assert list(found.items())[-1] == ("memecrunch", 4_889)
    assert found["omegle"] == 5_594  # the list has it with a capital


def test_domains_are_named_as_the_list_names_them() -> None:
    found = likeness_to_webtext(
        [
            ("bbc.co.uk", 3),
            ("someone.blogspot.com", 2),
            ("other.blogspot.de", 1),
            ("unheard-of.org", 4),
            (None, 9),
        ]
    )
    assert found is not None
    assert (found.documents, found.listed, found.share) == (10, 6, 0.6)
    assert (found.ranking.top, found.ranking.shared) == ((3, 999), 2)
    assert [one.domain for one in found.ranking.more] == ["unheard-of", "bbc", "blogspot"]
    assert found.ranking.more[0].share == pytest.approx(0.4)
    assert found.ranking.less[0].domain == "google"


def test_the_list_beside_itself_is_the_same() -> None:
    found = likeness_to_webtext((f"{name}.com", count) for name, count in webtext_domains().items())
    assert found is not None
    assert (found.share, found.ranking.overlap, found.ranking.shared) == (1.0, 1.0, 999)
    assert found.ranking.correlation == pytest.approx(1.0)


def test_a_corpus_without_domains_is_like_nothing() -> None:
    assert likeness_to_webtext([]) is None
    assert likeness_to_webtext([(None, 5), ("", 3)]) is None
