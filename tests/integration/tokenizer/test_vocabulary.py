"""Every library that reads the vocabulary gives the same ids; a damaged one is refused."""

import hashlib
import json
from collections.abc import Callable
from functools import cache
from itertools import pairwise
from pathlib import Path

import pytest
import regex
from hypothesis import given, settings
from hypothesis import strategies as st

from tokenizer.bpe.encoder import Encoder
from tokenizer.bpe.merges import from_printable, printable
from tokenizer.bpe.vocabulary import END_OF_TEXT, Vocabulary

EXPRESSION = r"'s|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+"
Encode = Callable[[str], list[int]]


@pytest.fixture(scope="session")
def encode(vocabulary: Vocabulary) -> Encode:
    encoder = Encoder(vocabulary)
    return lambda text: encoder.encode(text.encode()).tolist()


@pytest.fixture(scope="session")
def others(vocabulary_folder: Path, vocabulary: Vocabulary) -> dict[str, Encode]:
    """How other libraries encode text with the vocabulary's files."""
    import tiktoken
    import tokenizers
    import transformers
    from tiktoken.load import data_gym_to_mergeable_bpe_ranks, load_tiktoken_bpe

    rust = tokenizers.Tokenizer.from_file(str(vocabulary_folder / "tokenizer.json"))
    rust.encode_special_tokens = True  # that is, as text; the file has no place to say so
    hub = transformers.AutoTokenizer.from_pretrained(vocabulary_folder)
    gpt2 = transformers.GPT2TokenizerFast.from_pretrained(vocabulary_folder)
    special = {END_OF_TEXT: vocabulary.end_of_text}
    openai = data_gym_to_mergeable_bpe_ranks(
        str(vocabulary_folder / "vocab.bpe"), str(vocabulary_folder / "encoder.json")
    )
    ranks = {"gym": openai, "ranks": load_tiktoken_bpe(str(vocabulary_folder / "vocabulary.tiktoken"))}
    tiktokens = {
        name: tiktoken.Encoding(name, pat_str=EXPRESSION, mergeable_ranks=ranks[name], special_tokens=special)
        for name in ranks
    }
    return {
        "tokenizers": lambda text: list(rust.encode(text).ids),
        "AutoTokenizer": lambda text: list(hub(text)["input_ids"]),
        "GPT2TokenizerFast": lambda text: list(gpt2(text)["input_ids"]),
        "tiktoken, OpenAI's files": tiktokens["gym"].encode_ordinary,
        "tiktoken": tiktokens["ranks"].encode_ordinary,
        "OpenAI's files": _by_the_definition(vocabulary_folder),
        "sentencepiece": _sentencepiece(vocabulary_folder, vocabulary),
    }


def _by_the_definition(folder: Path) -> Encode:
    """GPT-2's encoding from encoder.json and vocab.bpe as the paper defines it, in plain Python."""
    ids = json.loads((folder / "encoder.json").read_text(encoding="utf-8"))
    version, *lines = (folder / "vocab.bpe").read_text(encoding="utf-8").split("\n")
    assert version.startswith("#version")
    ranks = {tuple(line.split()): rank for rank, line in enumerate(line for line in lines if line)}
    printed = [*range(0x21, 0x7F), *range(0xA1, 0xAD), *range(0xAE, 0x100)]
    others = [byte for byte in range(256) if byte not in printed]
    shown = {byte: chr(byte) for byte in printed} | {byte: chr(256 + i) for i, byte in enumerate(others)}

    @cache
    def merged(word: str) -> list[int]:
        parts = [shown[byte] for byte in word.encode()]
        while len(parts) > 1:
            best = min(pairwise(parts), key=lambda pair: ranks.get(pair, len(ranks)))
            if best not in ranks:
                break
            joined, i = list[str](), 0
            while i < len(parts):
                is_pair = tuple(parts[i : i + 2]) == best
                joined.append("".join(parts[i : i + 1 + is_pair]))
                i += 1 + is_pair
            parts = joined
        return [ids[part] for part in parts]

    return lambda text: [number for word in regex.findall(EXPRESSION, text) for number in merged(word)]


def _sentencepiece(folder: Path, vocabulary: Vocabulary) -> Encode:
    """SentencePiece numbers its pieces otherwise: it is their bytes that count."""
    import sentencepiece

    model = sentencepiece.SentencePieceProcessor(model_file=str(folder / "sentencepiece.model"))
    ids = {token: number for number, token in enumerate(vocabulary.tokens)}
    ours = [
        ids.get(from_printable(model.id_to_piece(i))) if i else None for i in range(model.get_piece_size())
    ]

    def encode(text: str) -> list[int]:
        words = regex.findall(EXPRESSION, text)
        return [ours[piece] for word in words for piece in model.encode(printable(word.encode()))]

    return encode


def test_every_library_gives_the_same_ids_on_documents(
    texts: list[str], encode: Encode, others: dict[str, Encode]
) -> None:
    for text in texts:
        assert {name: other(text) for name, other in others.items()} == dict.fromkeys(others, encode(text))


PIECES = st.sampled_from(
    [END_OF_TEXT, "<|endoftext", " the", "'ll", "  ", "\n\n", "\ufffd", "\U0001f469\u200d\U0001f467"]
)


@settings(max_examples=200)
@given(st.lists(st.one_of(st.characters(exclude_categories=["Cs", "Cn"]), PIECES)).map("".join))
def test_every_library_gives_the_same_ids_on_any_text(
    encode: Encode, others: dict[str, Encode], text: str
) -> None:
    assert {name: other(text) for name, other in others.items()} == dict.fromkeys(others, encode(text))


@pytest.mark.parametrize(
    "text",
    [
        *(character * 1500 for character in "a= \n\t0é\u3000\U0001f600"),
        "".join(map(chr, range(0xD800))),
        f"{END_OF_TEXT}{END_OF_TEXT} {END_OF_TEXT}\n{END_OF_TEXT}s",
        "an unpaired surrogate \ud83d, and what takes its place".encode("utf-8", "replace").decode(),
        "half a character: \ufffd \ufffd\ufffd",
        "\U0001f468\u200d\U0001f469\u200d\U0001f466 \U0001f1e9\U0001f1ea \U0001f44d\U0001f3fd e\u0301",
        "",
    ],
    ids=lambda text: ascii(text[:3]),
)
def test_every_library_gives_the_same_ids_on_odd_text(
    encode: Encode, others: dict[str, Encode], text: str
) -> None:
    assert {name: other(text) for name, other in others.items()} == dict.fromkeys(others, encode(text))


def test_every_byte_has_the_id_that_tiktoken_gives_it(
    vocabulary_folder: Path, vocabulary: Vocabulary
) -> None:
    from tiktoken.load import load_tiktoken_bpe

    ranks = load_tiktoken_bpe(str(vocabulary_folder / "vocabulary.tiktoken"))
    assert ranks == {token: number for number, token in enumerate(vocabulary.tokens)}
    encoder = Encoder(vocabulary)
    for byte in range(256):  # bytes alone are no UTF-8; encoded they are all the same
        assert encoder.encode(bytes([byte])).tolist() == [ranks[bytes([byte])]]


@settings(deadline=None)
@given(st.text())
def test_any_text_comes_back_from_its_ids(vocabulary: Vocabulary, encode: Encode, text: str) -> None:
    assert b"".join(vocabulary.tokens[number] for number in encode(text)) == text.encode()


def test_every_byte_is_an_entry_and_end_of_text_is_the_last(vocabulary: Vocabulary) -> None:
    assert sorted(vocabulary.tokens[:256]) == [bytes([byte]) for byte in range(256)]
    assert vocabulary.tokens[:3] == [b"!", b'"', b"#"]  # GPT-2's numbering
    assert (vocabulary.size, vocabulary.end_of_text, len(vocabulary.tokens)) == (1000, 999, 999)


def test_the_name_of_the_end_of_text_is_text_like_any_other(vocabulary: Vocabulary, encode: Encode) -> None:
    ids = encode(f"a{END_OF_TEXT}b{END_OF_TEXT}")
    assert vocabulary.end_of_text not in ids
    assert b"".join(vocabulary.tokens[number] for number in ids) == f"a{END_OF_TEXT}b{END_OF_TEXT}".encode()


def test_transformers_knows_the_end_of_text(vocabulary_folder: Path, vocabulary: Vocabulary) -> None:
    import transformers

    tokenizer = transformers.AutoTokenizer.from_pretrained(vocabulary_folder)
    assert (tokenizer.eos_token, tokenizer.eos_token_id) == (END_OF_TEXT, vocabulary.end_of_text)
    assert len(tokenizer) == vocabulary.size
    assert tokenizer(END_OF_TEXT, split_special_tokens=False)["input_ids"] == [vocabulary.end_of_text]
    assert tokenizer.decode(tokenizer("Hello, it's here.")["input_ids"]) == "Hello, it's here."


def test_fingerprint_is_the_checksum_of_tokenizer_json(
    vocabulary_folder: Path, vocabulary: Vocabulary
) -> None:
    raw = (vocabulary_folder / "tokenizer.json").read_bytes()
    assert vocabulary.fingerprint == hashlib.sha256(raw).hexdigest()
    assert json.loads((vocabulary_folder / "training.json").read_text())["vocabulary"] == {
        "fingerprint": vocabulary.fingerprint,
        "size": 1000,
    }


def test_a_fresh_memory_in_between_changes_no_ids(
    vocabulary: Vocabulary, texts: list[str], encode: Encode, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("pipeline.sources.tokens.TEXT_BYTES_BETWEEN_CHECKS", 1000)
    monkeypatch.setattr("pipeline.sources.tokens.GROWTH_BYTES", -(2**40))
    forgetful = Encoder(vocabulary)
    assert [forgetful.encode(text.encode()).tolist() for text in texts] == [encode(text) for text in texts]


def test_readers_without_a_setting_keep_the_end_of_text_as_text_if_the_file_names_no_added_token(
    vocabulary_folder: Path, encode: Encode
) -> None:
    import tokenizers
    from gigatoken.gigatoken_rs import load_hf_json

    whole = json.loads((vocabulary_folder / "tokenizer.json").read_text(encoding="utf-8"))
    without = json.dumps({**whole, "added_tokens": []})
    text = f"a{END_OF_TEXT} b{END_OF_TEXT}"
    assert list(load_hf_json(without).encode(text.encode())) == encode(text)
    assert tokenizers.Tokenizer.from_str(without).encode(text).ids == encode(text)
    assert list(load_hf_json(json.dumps(whole)).encode(text.encode())) != encode(text)
