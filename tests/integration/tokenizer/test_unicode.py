"""The ids are those of tokenizers and tiktoken for every character that there is."""

import json
from collections import Counter

import pytest
import tiktoken
from tokenizers import Tokenizer

from tokenizer.bpe import vocabulary_formats
from tokenizer.bpe.encoder import Encoder
from tokenizer.bpe.pretokens import count_words
from tokenizer.bpe.unicode_versions import DISPUTED, is_disputed
from tokenizer.bpe.vocabulary import Vocabulary

# GPT-2's, as OpenAI's encoder.py has it.
PATTERN = r"""'s|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+"""
CHARACTERS = [chr(code) for code in range(0x110000) if not 0xD800 <= code < 0xE000]
# With these merges the ids of a probe show what the character was cut off from: a letter, a digit or a mark.
ENDS = [bytes([byte]) for byte in range(0x80, 0xC0)]
MERGES = [(b"a", bytes([byte])) for byte in range(0xC2, 0xF5)]
MERGES += [(end, mark) for end in ENDS for mark in (b"1", b"!")]


def probe(character: str) -> str:
    return f"a{character}1 {character}!"


@pytest.fixture(scope="module")
def vocabulary() -> Vocabulary:
    return Vocabulary(MERGES)


@pytest.mark.slow
def test_every_character_has_the_ids_of_tokenizers_and_tiktoken(vocabulary: Vocabulary) -> None:
    ours = Encoder(vocabulary)
    theirs = Tokenizer.from_str(
        json.dumps(
            {**vocabulary_formats.tokenizer_of(vocabulary.merges, vocabulary.end_of_text), "added_tokens": []}
        )
    )
    ranks = {token: rank for rank, token in enumerate(vocabulary.tokens)}
    openais = tiktoken.Encoding("probe", pat_str=PATTERN, mergeable_ranks=ranks, special_tokens={})
    # Many to a text, which is quicker; but of disputed ones each alone, since they decide how a text is cut.
    agreed = [character for character in CHARACTERS if not is_disputed(character.encode())]
    texts = ["\n".join(map(probe, agreed[first : first + 500])) for first in range(0, len(agreed), 500)]
    texts += [probe(character) for character in sorted(set(CHARACTERS) - set(agreed))]
    found = [ours.encode(text.encode()).tolist() for text in texts]
    assert found == [encoding.ids for encoding in theirs.encode_batch(texts)]
    assert found == openais.encode_ordinary_batch(texts, num_threads=1)


def test_disputed_characters_are_counted_as_they_are_encoded(vocabulary: Vocabulary) -> None:
    new = chr(DISPUTED[-1][0])
    texts = [f"a{new}1 {new}!", "plain words, plain words", f"{new} {new}  {new}\n"]
    counted = dict(zip(*count_words([text.encode() for text in texts]).to_pydict().values(), strict=True))
    cut = Tokenizer.from_str(vocabulary.tokenizer_json).pre_tokenizer
    expected = Counter(
        text[first:last].encode() for text in texts for _, (first, last) in cut.pre_tokenize_str(text)
    )
    assert counted == expected


def test_only_texts_with_disputed_characters_are() -> None:
    assert not is_disputed("Plain, naïve, 東京 नमस्ते 🜚 👩\u200d💻".encode())
    for first, last in DISPUTED:
        for code in {first, last}:
            assert is_disputed(f"plain {chr(code)} text".encode())
