"""Every library that reads the vocabulary gives the same ids; a damaged one is refused."""

import hashlib
import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import regex
from hypothesis import given, settings
from hypothesis import strategies as st

from tokenizer.encoder import Encoder
from tokenizer.merges import from_printable, printable
from tokenizer.vocabulary import END_OF_TEXT, Vocabulary, load_vocabulary, parse_vocabulary

EXPRESSION = r"'s|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+"
SHARED = Path(__file__).parents[2].parent / "shared" / "data"
Encode = Callable[[str], list[int]]


@pytest.fixture(scope="session")
def encode(vocabulary: Vocabulary) -> Encode:
    encoder = Encoder(vocabulary)
    return lambda text: encoder.encode(text.encode()).tolist()


@pytest.fixture(scope="session")
def others(vocabulary_folder: Path, vocabulary: Vocabulary) -> dict[str, Encode]:
    """How other libraries encode ordinary text with the vocabulary's files."""
    import tiktoken
    import tokenizers
    import transformers
    from tiktoken.load import data_gym_to_mergeable_bpe_ranks

    rust = tokenizers.Tokenizer.from_file(str(vocabulary_folder / "tokenizer.json"))
    rust.encode_special_tokens = True  # that is, as text
    hub = transformers.AutoTokenizer.from_pretrained(vocabulary_folder)
    ranks = data_gym_to_mergeable_bpe_ranks(
        str(vocabulary_folder / "merges.txt"), str(vocabulary_folder / "vocab.json")
    )
    special = {END_OF_TEXT: vocabulary.end_of_text}
    openai = tiktoken.Encoding("ours", pat_str=EXPRESSION, mergeable_ranks=ranks, special_tokens=special)
    return {
        "tokenizers": lambda text: list(rust.encode(text).ids),
        "transformers": lambda text: list(hub(text, split_special_tokens=True)["input_ids"]),
        "tiktoken": openai.encode_ordinary,
        "sentencepiece": _sentencepiece(vocabulary_folder, vocabulary),
    }


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


@settings(deadline=None)
@given(st.text(st.characters(exclude_categories=["Cs", "Cn"])))
def test_every_library_gives_the_same_ids_on_any_text(
    encode: Encode, others: dict[str, Encode], text: str
) -> None:
    assert {name: other(text) for name, other in others.items()} == dict.fromkeys(others, encode(text))


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


@pytest.mark.skipif(not SHARED.exists(), reason="needs OpenAI's vocabulary, which is no part of the project")
def test_gpt2s_own_vocabulary_is_one_of_ours() -> None:
    theirs = parse_vocabulary((SHARED / "gpt2_tokenizer.json").read_text())
    again = parse_vocabulary(Vocabulary.of(theirs.merges).tokenizer_json)
    assert (theirs.size, theirs.end_of_text, again.merges) == (50257, 50256, theirs.merges)


@pytest.mark.parametrize("name", ["tokenizer.json", "vocab.json", "merges.txt"])
@pytest.mark.parametrize("damage", ["missing", "cut", "not text"])
def test_damaged_files_are_refused_by_name(
    vocabulary_folder: Path, tmp_path: Path, name: str, damage: str
) -> None:
    copy = _copy(vocabulary_folder, tmp_path)
    raw = (copy / name).read_bytes()
    if damage == "missing":
        (copy / name).unlink()
    else:
        (copy / name).write_bytes(raw[: len(raw) // 2] if damage == "cut" else b"\xff" + raw)
    with pytest.raises(ValueError, match=name):
        load_vocabulary(str(copy))


def _normalise(whole: dict[str, Any]) -> None:
    whole["normalizer"] = {"type": "NFC"}


def _prefix(whole: dict[str, Any]) -> None:
    whole["pre_tokenizer"]["add_prefix_space"] = True


def _swap(whole: dict[str, Any]) -> None:
    merges = whole["model"]["merges"]
    merges[0], merges[1] = merges[1], merges[0]


def _more_special(whole: dict[str, Any]) -> None:
    whole["added_tokens"].append({**whole["added_tokens"][0], "content": "<pad>", "id": 1000})


@pytest.mark.parametrize("change", [_normalise, _prefix, _swap, _more_special])
def test_a_tokenizer_json_that_encodes_otherwise_is_refused(
    vocabulary: Vocabulary, change: Callable[[dict[str, Any]], None]
) -> None:
    whole = json.loads(vocabulary.tokenizer_json)
    parse_vocabulary(json.dumps(whole))
    change(whole)
    with pytest.raises(ValueError, match=r"tokenizer\.json is no byte-level BPE"):
        parse_vocabulary(json.dumps(whole))


def test_a_fresh_memory_in_between_changes_no_ids(
    vocabulary: Vocabulary, texts: list[str], encode: Encode, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("tokenizer.encoder.CACHE_TEXT_BYTES", 1000)
    forgetful = Encoder(vocabulary)
    assert [forgetful.encode(text.encode()).tolist() for text in texts] == [encode(text) for text in texts]


def _copy(folder: Path, target: Path) -> Path:
    return Path(shutil.copytree(folder, target / "copy", ignore=shutil.ignore_patterns(".stages")))
