"""The merges are those of exact BPE, and are recovered exactly from SentencePiece's pieces."""

import json
import random
import sysconfig
from collections import Counter
from itertools import pairwise
from pathlib import Path

import pytest
import sentencepiece
import tokenizers
from hypothesis import given, settings
from hypothesis import strategies as st
from tokenizers import models, pre_tokenizers, trainers

from tokenizer.bpe.encoder import Encoder
from tokenizer.bpe.learning import merges_used
from tokenizer.bpe.merges import Merge, from_printable, learn_merges, merges_of, printable
from tokenizer.bpe.pretokens import count_words
from tokenizer.bpe.vocabulary import Vocabulary

SHARED = Path(__file__).parents[4].parent / "shared" / "data"


def exact_merges(counts: list[tuple[bytes, int]], merges: int) -> list[Merge]:
    """Learn BPE as it is defined, counting all pairs again at every merge.

    Ties go to the shorter token, then to the one whose printable form sorts first, as in SentencePiece.
    """
    words = [([bytes([byte]) for byte in word], count) for word, count in counts]
    learned: list[Merge] = []
    while len(learned) < merges:
        pairs = Counter[Merge]()
        for parts, count in words:
            for pair in pairwise(parts):
                pairs[pair] += count
        if not pairs:
            break
        best = min(
            pairs, key=lambda pair: (-pairs[pair], len(pair[0] + pair[1]), printable(pair[0] + pair[1]))
        )
        learned.append(best)
        for parts, _ in words:
            join(parts, best)
    return learned


def join(parts: list[bytes], pair: Merge) -> None:
    i = 0
    while i + 1 < len(parts):
        if (parts[i], parts[i + 1]) == pair:
            parts[i : i + 2] = [pair[0] + pair[1]]
        i += 1


def counted(texts: list[bytes]) -> list[tuple[bytes, int]]:
    table = count_words(texts).sort_by("word")
    return list(zip(table["word"].to_pylist(), table["count"].to_pylist(), strict=True))


WORDS = st.dictionaries(st.text("abé", min_size=1, max_size=9), st.integers(1, 9), min_size=1, max_size=40)


@settings(max_examples=60, deadline=None)
@given(WORDS, st.integers(0, 60))
def test_learned_merges_are_those_of_exact_bpe_to_the_last_that_occurs(
    words: dict[str, int], merges: int
) -> None:
    counts = sorted((word.encode(), count) for word, count in words.items())
    learned = learn_merges(counts, merges).merges
    used = merges_used(Vocabulary(learned), counts)
    assert learned[:used] == exact_merges(counts, merges)


def test_learned_merges_are_those_of_exact_bpe_on_english(texts: list[str]) -> None:
    counts = counted([text.encode() for text in texts[::2]])
    assert learn_merges(counts, 250).merges == exact_merges(counts, 250)


@pytest.fixture(scope="module")
def sources() -> list[bytes]:
    """Some megabytes of text that every Python has: the sources of its modules."""
    paths = sorted(Path(sysconfig.get_path("stdlib")).glob("*.py"))
    return [path.read_bytes().decode("utf-8", "replace").encode() for path in paths[::2]]


def test_every_merge_is_of_a_pair_that_occurs_most_often_at_its_time(sources: list[bytes]) -> None:
    counts = counted(sources[::4])
    counts_of_pairs, words_with = Counter[Merge](), dict[Merge, set[int]]()
    words = [([bytes([byte]) for byte in word], count) for word, count in counts]

    def take(number: int, sign: int) -> None:
        parts, count = words[number]
        for pair in pairwise(parts):
            counts_of_pairs[pair] += sign * count
            words_with.setdefault(pair, set()).add(number)

    for number in range(len(words)):
        take(number, 1)
    merges = learn_merges(counts, 1500).merges
    assert len(merges) == 1500
    for pair in merges:
        assert counts_of_pairs[pair] == max(counts_of_pairs.values()) > 0
        for number in words_with.pop(pair):
            take(number, -1)
            join(words[number][0], pair)
            take(number, 1)


def test_compression_is_that_of_an_independent_trainer(sources: list[bytes]) -> None:
    train, held_out = [text for i, text in enumerate(sources) if i % 8 != 1], sources[1::8]
    byte_level = pre_tokenizers.ByteLevel(add_prefix_space=False)
    theirs = tokenizers.Tokenizer(models.BPE())
    theirs.pre_tokenizer = byte_level
    trainer = trainers.BpeTrainer(
        vocab_size=256 + 2000, initial_alphabet=byte_level.alphabet(), show_progress=False
    )
    theirs.train_from_iterator([text.decode() for text in train], trainer)
    written = json.loads(theirs.to_str())["model"]["merges"]
    merges = {
        "ours": learn_merges(counted(train), 2000).merges,
        "theirs": [(from_printable(left), from_printable(right)) for left, right in written],
    }
    encoders = {name: Encoder(Vocabulary(found)) for name, found in merges.items()}
    tokens = {name: sum(len(encoder.encode(text)) for text in held_out) for name, encoder in encoders.items()}
    assert tokens["ours"] == pytest.approx(tokens["theirs"], rel=0.001)


def test_bytes_that_occur_nowhere_cost_no_merges() -> None:
    assert learn_merges([(b"abab", 3), (b"ba", 1)], 2).merges == [(b"a", b"b"), (b"ab", b"ab")]


def test_no_byte_is_too_rare_to_be_learned_from() -> None:
    counts = [(b"abab", 10**12), (b"\x00\x01\x00\x01\x00", 1)]
    learned = learn_merges(counts, 4)
    assert learned.merges == [(b"a", b"b"), (b"ab", b"ab"), (b"\x00", b"\x01"), (b"\x00\x01", b"\x00")]
    model = sentencepiece.SentencePieceProcessor(model_proto=learned.model)
    pieces = {model.id_to_piece(number) for number in range(model.get_piece_size())}
    assert pieces >= {printable(bytes([byte])) for byte in range(256)}
    assert len(pieces) == 1 + 256 + 4  # its <unk> is the first


def test_words_longer_than_sentencepiece_can_number_are_cut_not_lost() -> None:
    assert learn_merges([(b"ab" * 50_000, 1)], 3).merges == [(b"a", b"b"), (b"ab", b"ab"), (b"abab", b"abab")]


@given(st.randoms(use_true_random=False))
@settings(max_examples=5)
def test_the_order_of_the_words_changes_not_a_byte(chance: random.Random) -> None:
    counts = [(b"%d" % (number * number), 1 + number % 5) for number in range(500)]
    expected = learn_merges(counts, 200)
    chance.shuffle(counts)
    assert learn_merges(counts, 200) == expected


@given(st.binary())
def test_printable_form_keeps_every_byte(token: bytes) -> None:
    assert from_printable(printable(token)) == token


@pytest.mark.skipif(not SHARED.exists(), reason="needs OpenAI's vocabulary, which is no part of the project")
def test_gpt2s_own_merges_are_recovered_from_its_tokens() -> None:
    written = json.loads((SHARED / "gpt2_tokenizer.json").read_text())["model"]["merges"]
    merges = [tuple(from_printable(part) for part in merge.split(" ")) for merge in written]
    assert merges_of(left + right for left, right in merges) == merges
