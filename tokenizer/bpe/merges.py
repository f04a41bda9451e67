"""Learning the merges of byte-level BPE from counted pre-tokens, with SentencePiece's trainer.

SentencePiece learns from characters, GPT-2's BPE from bytes: so each byte of a word is passed to it as one
of 256 printable characters, and all of SentencePiece's own text processing is switched off. It gets words
and their counts, never the text, so learning takes seconds for any corpus.
"""

import io
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Final


def _byte_characters() -> list[str]:
    """Return the printable character that stands for each byte (GPT-2 paper, section 2.2).

    Printable Latin-1 characters stand for themselves; the others take the code points from 256 on.
    """
    own = {*range(0x21, 0x7F), *range(0xA1, 0xAD), *range(0xAE, 0x100)}
    others = iter(range(0x100, 0x200))
    return [chr(byte) if byte in own else chr(next(others)) for byte in range(256)]


BYTE_TO_CHARACTER: Final = _byte_characters()
CHARACTER_TO_BYTE: Final = {character: byte for byte, character in enumerate(BYTE_TO_CHARACTER)}
_TABLE: Final = dict(enumerate(BYTE_TO_CHARACTER))

# SentencePiece numbers the symbols of a word with 16 bits, and ends the process if they do not suffice.
LONGEST_WORD_BYTES: Final = 2**15
LONGEST_PIECE_BYTES: Final = 512

MORE_THAN_ANY_BYTE: Final = 2**40

Merge = tuple[bytes, bytes]


@dataclass(frozen=True)
class Learned:
    """The merges in order of rank, and the SentencePiece model that they were read from."""

    merges: Sequence[Merge]
    model: bytes


def printable(token: bytes) -> str:
    """Write bytes as GPT-2's vocabulary files do, one printable character per byte."""
    return token.decode("latin-1").translate(_TABLE)


def from_printable(token: str) -> bytes:
    """Read bytes from their printable form.

    Raises:
        ValueError: a character does not stand for a byte.
    """
    try:
        return bytes(CHARACTER_TO_BYTE[character] for character in token)
    except KeyError as error:
        raise ValueError(f"{token!r} has a character that does not stand for a byte: {error}") from error


def learn_merges(counts: Iterable[tuple[bytes, int]], merges: int) -> Learned:
    """Learn `merges` merges, or fewer if the words have no more, from distinct words and their counts.

    The merges are those of exact BPE, in its order, wherever the count decides the next pair. Among pairs
    with the same count the shorter comes first, then the one whose printable form sorts first
    (`tokenizers` takes the one whose parts have lower ids). So two trainers' lists differ in the order of
    ties, and in what follows from it. No token is longer than `LONGEST_PIECE_BYTES`. The order of the
    words does not matter.
    """
    import sentencepiece

    model = io.BytesIO()
    sentencepiece.SentencePieceTrainer.train(
        sentence_iterator=_lines(counts),
        input_format="tsv",
        model_writer=model,
        model_type="bpe",
        vocab_size=1 + 256 + merges,  # its <unk> comes first
        hard_vocab_limit=False,
        character_coverage=1.0,
        normalization_rule_name="identity",
        add_dummy_prefix=False,
        remove_extra_whitespaces=False,
        split_by_unicode_script=False,
        split_by_number=False,
        split_by_whitespace=False,
        split_digits=False,
        max_sentencepiece_length=LONGEST_PIECE_BYTES,
        max_sentence_length=4 * LONGEST_WORD_BYTES,
        bos_id=-1,
        eos_id=-1,
        num_threads=1,  # it would be written into the model
        minloglevel=2,
    )
    learned = merges_of(learned_tokens(model.getvalue()))
    assert len(learned) <= merges, "SentencePiece left out bytes"
    return Learned(learned, model.getvalue())


def learned_tokens(model: bytes) -> list[bytes]:
    """Return a SentencePiece model's pieces of more than one byte, in order of rank."""
    import sentencepiece

    processor = sentencepiece.SentencePieceProcessor(model_proto=model)
    pieces = [
        (-processor.get_score(number), processor.id_to_piece(number))
        for number in range(processor.get_piece_size())
        if not processor.is_unknown(number)
    ]
    return [from_printable(piece) for _, piece in sorted(pieces) if len(piece) > 1]


def merges_of(tokens: Iterable[bytes]) -> list[Merge]:
    """Find the two parts that each token was merged from, given the tokens in order of rank.

    The parts are what BPE with the earlier merges makes of the token's own bytes. They must be two: the
    token came into being by joining neighbours in some word, and until then no merge had crossed its ends,
    so inside it the same merges were made in the same order as they are made in the token by itself.

    Raises:
        ValueError: a token is not two earlier ones joined, so this is not a byte-level BPE.
    """
    ranks: dict[bytes, int] = {}
    merges = []
    for rank, token in enumerate(tokens):
        parts = _merge_all(token, ranks)
        if len(parts) != 2:
            raise ValueError(f"{printable(token)!r} is not two earlier tokens joined")
        merges.append((parts[0], parts[1]))
        ranks[token] = rank
    return merges


def _merge_all(token: bytes, ranks: dict[bytes, int]) -> list[bytes]:
    """Split bytes into the tokens that BPE joins them to: lowest rank first, leftmost among equals."""
    parts = [token[i : i + 1] for i in range(len(token))]
    never = len(ranks)
    while len(parts) > 1:
        candidates = [ranks.get(left + right, never) for left, right in pairwise(parts)]
        best = min(candidates)
        if best == never:
            break
        i = candidates.index(best)
        parts[i : i + 2] = [parts[i] + parts[i + 1]]
    return parts


def _lines(counts: Iterable[tuple[bytes, int]]) -> Iterator[str]:
    """Write counts as SentencePiece's TSV; a word that is too long for it is cut.

    Each byte comes first as a word of its own, far more often than in any text: SentencePiece leaves out
    the rarest characters as soon as the share of the others rounds to 1 in 32 bits, even if all are
    requested. One-byte words have nothing to merge, so their counts change nothing else.
    """
    for character in BYTE_TO_CHARACTER:
        yield f"{character}\t{MORE_THAN_ANY_BYTE}"
    for word, count in counts:
        for start in range(0, len(word), LONGEST_WORD_BYTES):
            yield f"{printable(word[start : start + LONGEST_WORD_BYTES])}\t{count}"
