"""A document's side follows from its id, and even a small corpus has something to validate on."""

import hashlib

from hypothesis import given
from hypothesis import strategies as st

from pipeline.corpus.split import LEAST_VALIDATION, place_of, validation_limit


def ids(count: int) -> list[str]:
    return [hashlib.sha256(str(number).encode()).hexdigest()[:32] for number in range(count)]


def held_out(documents: list[str], share: float) -> set[str]:
    smallest = sorted(documents)[: LEAST_VALIDATION + 1]
    limit = validation_limit(share, smallest, len(documents))
    return {document for document in documents if place_of(document) < limit}


def test_large_corpus_holds_out_its_share() -> None:
    assert 0.008 < len(held_out(ids(20_000), 0.01)) / 20_000 < 0.012


def test_document_of_a_large_corpus_keeps_its_side_as_the_corpus_grows() -> None:
    before = held_out(ids(5_000), 0.01)
    assert before == held_out(ids(50_000), 0.01) & set(ids(5_000))


def test_small_corpus_holds_out_ten_documents_or_a_tenth() -> None:
    assert len(held_out(ids(300), 0.01)) == 10
    assert len(held_out(ids(60), 0.01)) == 6
    assert len(held_out(ids(3), 0.01)) == 1


@given(st.integers(0, 40))
def test_training_side_is_never_empty_while_there_are_two_documents(count: int) -> None:
    out = held_out(ids(count), 0.01)
    assert len(out) <= max(1, count // 10)
    assert count < 2 or out


def test_no_share_holds_nothing_out() -> None:
    assert held_out(ids(100), 0.0) == set()
