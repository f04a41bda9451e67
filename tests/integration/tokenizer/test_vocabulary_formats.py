"""A vocabulary is read from every form, GPT-2's own too; what is damaged or encodes otherwise is refused."""

import hashlib
import json
import re
import shutil
from pathlib import Path
from typing import Any

import pytest
import tiktoken
import tokenizers
from tiktoken.load import load_tiktoken_bpe
from tokenizers import models, pre_tokenizers, trainers

from tokenizer import write_shards
from tokenizer.bpe.encoder import Encoder
from tokenizer.bpe.vocabulary import Vocabulary, load_vocabulary
from tokenizer.bpe.vocabulary_formats import (
    END_OF_TEXT,
    read_tiktoken,
    read_tokenizer_json,
    read_vocab_and_merges,
)
from tokenizer.write_shards import ShardOptions

SHARED = Path(__file__).parents[3].parent / "shared" / "data"
FORMATS = [
    ["tokenizer.json"],
    ["vocab.json", "merges.txt"],
    ["encoder.json", "vocab.bpe"],
    ["vocabulary.tiktoken"],
]
SMALL = Vocabulary([(b"a", b"b"), (b"ab", b"ab"), (b" ", b"c")])
ENTRIES = (SMALL.merges, 259)
GPT2_PATTERN = r"""'(?:[sdmt]|ll|ve|re)| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+"""


def tokenizer_json(**changes: Any) -> str:
    """A small tokenizer.json with some of its parts changed; those of its model as `model__name`."""
    whole = json.loads(SMALL.tokenizer_json)
    for name, value in changes.items():
        part = whole["model"] if name.startswith("model__") else whole
        part[name.removeprefix("model__")] = value
    return json.dumps(whole)


@pytest.mark.parametrize("names", FORMATS, ids=lambda names: names[0])
def test_each_form_alone_gives_the_same_vocabulary(
    vocabulary_folder: Path, vocabulary: Vocabulary, tmp_path: Path, names: list[str]
) -> None:
    for name in names:
        shutil.copy(vocabulary_folder / name, tmp_path / name)
    found = load_vocabulary(str(tmp_path))
    assert (found, found.fingerprint) == (vocabulary, vocabulary.fingerprint)
    if len(names) == 1:
        shutil.copy(vocabulary_folder / names[0], tmp_path / f"renamed.{names[0].split('.')[-1]}")
        assert load_vocabulary(str(tmp_path / f"renamed.{names[0].split('.')[-1]}")) == vocabulary


def test_commands_take_any_form_and_write_the_same_shards(
    vocabulary_folder: Path, corpus: Path, tmp_path: Path
) -> None:
    written = []
    for name in ("tokenizer.json", "vocabulary.tiktoken"):
        output = tmp_path / name
        options = ShardOptions(
            corpus=str(corpus), vocabulary=str(vocabulary_folder / name), output=str(output)
        )
        write_shards.main(options)
        written.append({file: (output / file).read_bytes() for file in ("train_000000.bin", "shards.json")})
    assert written[0] == written[1]


def test_what_tokenizers_saves_and_learns_is_read(tmp_path: Path, texts: list[str]) -> None:
    learned = tokenizers.Tokenizer(models.BPE())
    learned.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet(), key=lambda one: (ord(one) >= 256, one))
    trainer = trainers.BpeTrainer(vocab_size=400, initial_alphabet=alphabet, show_progress=False)
    learned.train_from_iterator(texts, trainer)
    learned.add_special_tokens([END_OF_TEXT])
    learned.save(str(tmp_path / "theirs.json"))
    text = "".join(texts[:20])
    whole = json.loads((tmp_path / "theirs.json").read_text())
    whole["model"]["vocab"][END_OF_TEXT] = 400  # they keep added tokens apart, GPT-2 does not
    (tmp_path / "theirs.json").write_text(json.dumps(whole))
    ids = Encoder(load_vocabulary(str(tmp_path / "theirs.json"))).encode(text.encode()).tolist()
    learned.encode_special_tokens = True
    assert ids == learned.encode(text).ids


def test_merges_in_either_of_the_two_ways_that_tokenizers_writes_them_are_read() -> None:
    assert read_tokenizer_json(tokenizer_json(model__merges=["a b", "ab ab", "Ġ c"])) == ENTRIES
    assert (
        read_tokenizer_json(tokenizer_json(model__merges=[["a", "b"], ["ab", "ab"], ["Ġ", "c"]])) == ENTRIES
    )


@pytest.mark.parametrize(
    "name", ["tokenizer.json", "vocab.json", "merges.txt", "encoder.json", "vocabulary.tiktoken"]
)
@pytest.mark.parametrize("damage", ["cut", "not text"])
def test_a_damaged_file_is_named_though_the_others_are_whole(
    vocabulary_folder: Path, tmp_path: Path, name: str, damage: str
) -> None:
    for path in (vocabulary_folder / file for form in FORMATS for file in form):
        shutil.copy(path, tmp_path)
    raw = (tmp_path / name).read_bytes()
    (tmp_path / name).write_bytes(raw[: len(raw) // 2] if damage == "cut" else b"\xff" + raw)
    with pytest.raises(ValueError, match=re.escape(name)):
        load_vocabulary(str(tmp_path))


def test_half_a_format_is_refused_and_the_other_half_named(vocabulary_folder: Path, tmp_path: Path) -> None:
    shutil.copy(vocabulary_folder / "vocab.json", tmp_path)
    with pytest.raises(ValueError, match=r"lacks merges\.txt"):
        load_vocabulary(str(tmp_path))


def test_formats_that_disagree_are_refused(tmp_path: Path) -> None:
    for vocabulary, names in [(SMALL, FORMATS[0]), (Vocabulary(SMALL.merges[:2]), FORMATS[1])]:
        for name in names:
            (tmp_path / name).write_text(vocabulary.files()[name])
    with pytest.raises(ValueError, match=r"vocab\.json differs from tokenizer\.json"):
        load_vocabulary(str(tmp_path))


def test_no_vocabulary_is_told(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"no vocabulary at .*nowhere: learn one"):
        load_vocabulary(str(tmp_path / "nowhere"))
    with pytest.raises(
        ValueError, match=r"no vocabulary in .*it has none of: tokenizer\.json, vocab\.json with"
    ):
        load_vocabulary(str(tmp_path))


LLAMA_3 = {
    "type": "Sequence",
    "pretokenizers": [
        {"type": "Split", "pattern": {"Regex": r"\p{N}{1,3}"}, "behavior": "Isolated", "invert": False},
        {"type": "ByteLevel", "add_prefix_space": False, "trim_offsets": True, "use_regex": False},
    ],
}
BYTE_LEVEL = {"type": "ByteLevel", "add_prefix_space": False, "trim_offsets": True, "use_regex": True}
VOCAB = json.loads(SMALL.files()["vocab.json"])
SPECIAL = json.loads(SMALL.tokenizer_json)["added_tokens"][0]
REFUSED: dict[str, tuple[str, str]] = {
    "cut": (SMALL.tokenizer_json[:500], "not JSON, or truncated"),
    "a list": ("[1]", "not a JSON object"),
    "something else": ('{"version": "1.0"}', "not a file of the `tokenizers` library"),
    "WordPiece": (tokenizer_json(model__type="WordPiece"), "its model is WordPiece, not BPE"),
    "Unigram": (json.dumps({"model": {"type": "Unigram", "vocab": [["a", 0.5]]}}), "its model is Unigram"),
    "no merges": (json.dumps({"model": {"vocab": VOCAB}}), "its model has no merges"),
    "Llama 3": (tokenizer_json(pre_tokenizer=LLAMA_3), r"does not split text by GPT-2's .*\(Sequence\)"),
    "no splitting": (tokenizer_json(pre_tokenizer=None), r"does not split text by GPT-2's .*\(none\)"),
    "bytes only": (
        tokenizer_json(pre_tokenizer={**BYTE_LEVEL, "use_regex": False}),
        "does not split text by",
    ),
    "a space before": (
        tokenizer_json(pre_tokenizer={**BYTE_LEVEL, "add_prefix_space": True}),
        "puts a space",
    ),
    "normalised": (tokenizer_json(normalizer={"type": "NFC"}), r"normalises text \(NFC\)"),
    "tokens around": (
        tokenizer_json(post_processor={"type": "RobertaProcessing"}),
        "adds tokens to each text",
    ),
    "dropout": (tokenizer_json(model__dropout=0.1), "dropout 0.1"),
    "ignored merges": (tokenizer_json(model__ignore_merges=True), "ignore_merges True"),
    "another special": (
        tokenizer_json(added_tokens=[SPECIAL, {**SPECIAL, "content": "<pad>", "id": 260}]),
        "<pad> 260",
    ),
    "no special": (tokenizer_json(added_tokens=[]), "special token should be .* it has none"),
    "a byte missing": (
        tokenizer_json(model__vocab={entry: number for entry, number in VOCAB.items() if entry != "Ā"}),
        r"byte 0x00 \('Ā'\) has no entry",
    ),
    "an id twice": (
        tokenizer_json(model__vocab={**VOCAB, "abab": 256}),
        "'ab' and 'abab' have the same id, 256",
    ),
    "numbered otherwise": (
        tokenizer_json(model__vocab={**VOCAB, "ab": 257, "abab": 256}),
        "'ab' has id 257, not 256",
    ),
    "an entry too many": (
        tokenizer_json(model__vocab={**VOCAB, "xyz": 260}),
        "261 entries, but 256 bytes, 3 merges",
    ),
    "merges out of order": (
        tokenizer_json(model__merges=["ab ab", "a b", "Ġ c"]),
        "merge 0 joins 'ab', which is not",
    ),
    "a merge twice": (
        tokenizer_json(model__merges=["a b", "ab ab", "a b"]),
        "merge 2 makes 'ab', which is already an entry",
    ),
    "three in a merge": (tokenizer_json(model__merges=["a b c"]), "'a b c' is not a merge of two"),
    "no byte-level merge": (
        tokenizer_json(model__merges=["a 你"]),
        "character that does not stand for a byte",
    ),
    "numbers for merges": (tokenizer_json(model__merges=[1]), "merges cannot be read"),
}


@pytest.mark.parametrize("name", REFUSED)
def test_a_tokenizer_json_that_is_damaged_or_encodes_otherwise_is_refused_in_one_line(
    tmp_path: Path, name: str
) -> None:
    text, why = REFUSED[name]
    (tmp_path / "tokenizer.json").write_text(text)
    with pytest.raises(ValueError, match=why) as failure:
        load_vocabulary(str(tmp_path))
    assert f"{tmp_path}/tokenizer.json is not a GPT-2 vocabulary" in str(failure.value)
    assert "\n" not in str(failure.value)


@pytest.mark.parametrize(
    ("old", "new", "why"),
    [
        ("IQ== 0", "IQ== 1", "line 1 is"),
        ("IQ== 0", "I?== 0", "line 1 is not base64"),
        ("IQ== 0\nIg== 1", "Ig== 0\nIQ== 1", "first 256 tokens are not the bytes in GPT-2's order"),
        ("YWI= 256\nYWJhYg== 257", "YWJhYg== 256\nYWI= 257", "'abab' is not two earlier tokens joined"),
        ("IGM= 258", "YWI= 258", "'ab' is not two earlier tokens joined"),
    ],
)
def test_damaged_ranks_of_tiktoken_are_refused(old: str, new: str, why: str) -> None:
    text = SMALL.files()["vocabulary.tiktoken"]
    assert old in text
    with pytest.raises(ValueError, match=why):
        read_tiktoken(text.replace(old, new))


def test_openais_files_may_lack_the_version_and_have_other_line_ends() -> None:
    files = SMALL.files()
    for change in (lambda text: text.split("\n", 1)[1], lambda text: text.replace("\n", "\r\n")):
        assert read_vocab_and_merges(files["encoder.json"], change(files["vocab.bpe"])) == ENTRIES


needs_gpt2 = pytest.mark.skipif(
    not SHARED.exists(), reason="needs OpenAI's vocabulary, which is no part of the project"
)


@pytest.fixture(scope="module")
def gpt2() -> Vocabulary:
    return load_vocabulary(str(SHARED / "gpt2_tokenizer.json"))


@needs_gpt2
@pytest.mark.parametrize(
    ("text", "ids"),
    [
        ("Hello world", [15496, 995]),
        ("Hello, I'm a language model,", [15496, 11, 314, 1101, 257, 3303, 2746, 11]),
        (" <|endoftext|>", [1279, 91, 437, 1659, 5239, 91, 29]),
        ("<|endoftext|>", [27, 91, 437, 1659, 5239, 91, 29]),
    ],
)
def test_gpt2s_own_vocabulary_gives_openais_ids(gpt2: Vocabulary, text: str, ids: list[int]) -> None:
    assert Encoder(gpt2).encode(text.encode()).tolist() == ids


@needs_gpt2
def test_gpt2s_own_vocabulary_is_the_same_from_every_format(gpt2: Vocabulary, tmp_path: Path) -> None:
    assert (gpt2.size, gpt2.end_of_text) == (50257, 50256)
    files = gpt2.files()
    assert read_tiktoken(files["vocabulary.tiktoken"]) == (gpt2.merges, 50256)
    assert read_vocab_and_merges(files["encoder.json"], files["vocab.bpe"]) == (gpt2.merges, 50256)
    assert read_tokenizer_json(files["tokenizer.json"]) == (gpt2.merges, 50256)


@needs_gpt2
def test_gpt2s_own_vocabulary_is_openais_published_file_to_the_byte(gpt2: Vocabulary) -> None:
    files = gpt2.files()
    for name, checksum in [
        ("encoder.json", "196139668be63f3b5d6574427317ae82f612a97c5d1cdaf36ed2256dbf636783"),
        ("vocab.json", "196139668be63f3b5d6574427317ae82f612a97c5d1cdaf36ed2256dbf636783"),
        ("vocab.bpe", "1ce1664773c50f3e0cc8842619a93edc4624525b728b188a9e0be33b7726adc5"),
    ]:
        assert hashlib.sha256(files[name].encode()).hexdigest() == checksum, name


@pytest.fixture(scope="module")
def trained_first(texts: list[str], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What `tokenizers` learns with its special token, which it numbers first."""
    learned = tokenizers.Tokenizer(models.BPE())
    learned.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    trainer = trainers.BpeTrainer(
        vocab_size=400,
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        special_tokens=[END_OF_TEXT],
        show_progress=False,
    )
    learned.train_from_iterator(texts, trainer)
    path = tmp_path_factory.mktemp("first") / "tokenizer.json"
    learned.save(str(path))
    return path


def test_a_vocabulary_whose_end_of_text_is_the_first_entry_keeps_its_ids(
    trained_first: Path, texts: list[str], tmp_path: Path
) -> None:
    vocabulary = load_vocabulary(str(trained_first))
    assert (vocabulary.size, vocabulary.end_of_text) == (400, 0)
    theirs = tokenizers.Tokenizer.from_file(str(trained_first))
    theirs.encode_special_tokens = True
    encoder = Encoder(vocabulary)
    for text in [*texts, "\U0001fae8 \U00016e40"]:  # the last goes another way: letters new in Unicode
        ids = encoder.encode(text.encode()).tolist()
        assert ids == theirs.encode(text).ids
        assert b"".join(vocabulary.entries[number] for number in ids) == text.encode()
    assert vocabulary.byte_lengths[0] == 0
    for names in FORMATS:
        (tmp_path / names[0]).mkdir()
        for name in names:
            (tmp_path / names[0] / name).write_text(vocabulary.files()[name])
        assert load_vocabulary(str(tmp_path / names[0])) == vocabulary


@pytest.mark.parametrize("place", [0, 1, 100, 256, 258, 259])
def test_the_end_of_text_may_have_any_id_in_every_format(place: int, tmp_path: Path) -> None:
    vocabulary = Vocabulary(SMALL.merges, place)
    assert (vocabulary.end_of_text, vocabulary.size) == (place, 260)
    assert vocabulary.entries[place] == END_OF_TEXT.encode()
    files = vocabulary.files()
    assert read_tokenizer_json(files["tokenizer.json"]) == (SMALL.merges, place)
    assert read_tiktoken(files["vocabulary.tiktoken"]) == (SMALL.merges, place)
    assert read_vocab_and_merges(files["vocab.json"], files["merges.txt"]) == (SMALL.merges, place)
    assert (vocabulary == SMALL) == (place == 259)
    for name, text in files.items():
        (tmp_path / name).write_text(text)
    assert load_vocabulary(str(tmp_path)) == vocabulary
    ranks = load_tiktoken_bpe(str(tmp_path / "vocabulary.tiktoken"))
    theirs = tiktoken.Encoding(
        "small",
        pat_str=GPT2_PATTERN,
        mergeable_ranks=ranks,
        special_tokens={END_OF_TEXT: place},
    )
    text = "ab cab abab <|endoftext|> naïve"
    assert theirs.encode_ordinary(text) == Encoder(vocabulary).encode(text.encode()).tolist()


def test_a_vocabulary_that_was_given_its_end_of_text_later_is_read() -> None:
    whole = json.loads(tokenizer_json())
    del whole["model"]["vocab"][END_OF_TEXT]
    assert read_tokenizer_json(json.dumps(whole)) == ENTRIES
    whole["added_tokens"][0]["id"] = 5
    with pytest.raises(ValueError, match="have the same id, 5"):
        read_tokenizer_json(json.dumps(whole))


def test_vocabulary_files_are_ascii_so_that_any_locale_reads_them() -> None:
    for name in ("encoder.json", "vocab.json"):
        assert SMALL.files()[name].isascii()
        assert not SMALL.files()[name].endswith("\n")
