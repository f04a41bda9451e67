import pytest
from hypothesis import given
from hypothesis import strategies as st
from tokenizers import Tokenizer

from tokenizer.bpe.vocabulary import Vocabulary
from trainer.generation.text_stream import TextStream

BYTES = [bytes([byte]) for byte in range(256)]
words = st.text(alphabet="abcä€\U0001f600", max_size=30)


def streamed(content: bytes, stops: list[str]) -> tuple[list[str], TextStream]:
    """Return the pieces that come of bytes one by one, and the stream."""
    stream = TextStream(BYTES, stops)
    pieces = []
    for byte in content:
        pieces.append(stream.add(byte))
        if stream.stopped:
            break
    return [*pieces, stream.end()], stream


@given(st.binary(max_size=60))
def test_pieces_make_up_the_text_that_tokenizers_decodes(content):
    vocabulary = Vocabulary([])
    tokens = [vocabulary.tokens.index(bytes([byte])) for byte in content]
    stream = TextStream(vocabulary.tokens)
    text = "".join(stream.add(token) for token in tokens) + stream.end()
    assert text == content.decode(errors="replace")
    assert text == Tokenizer.from_str(vocabulary.tokenizer_json).decode(tokens)


@given(words)
def test_no_piece_holds_a_part_of_a_character(text):
    pieces, _ = streamed(text.encode(), [])
    assert "".join(pieces) == text
    assert [piece for piece in pieces if piece] == list(text)


@given(words, st.lists(st.text(alphabet="abcä€", min_size=1, max_size=4), max_size=3))
def test_text_ends_before_the_first_stop_string_and_no_part_of_one_was_ever_shown(text, stops):
    pieces, stream = streamed(text.encode(), stops)
    # The text as far as it had to be known for the first stop string to be whole.
    ends = [text.find(stop) + len(stop) for stop in stops if stop in text]
    known = text[: min(ends, default=len(text))]
    assert stream.stopped == bool(ends)
    expected = min((known.find(stop) for stop in stops if stop in known), default=len(known))
    assert "".join(pieces) == text[:expected]


@pytest.mark.parametrize(
    ("content", "pieces"),
    [
        ("one END two", ["o", "n", "e", " ", "", "", "", ""]),
        ("EENDx", ["", "E", "", "", ""]),
        ("ENx", ["", "", "ENx", ""]),
        ("xEN", ["x", "", "", "EN"]),
    ],
)
def test_what_may_become_a_stop_string_waits(content, pieces):
    assert streamed(content.encode(), ["END"])[0] == pieces
