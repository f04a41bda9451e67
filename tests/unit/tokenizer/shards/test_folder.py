"""A folder of shards says what is in it, reads as one stream, and whatever is damaged is named."""

import hashlib
import json
import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tokenizer.shards import formats
from tokenizer.shards.folder import (
    Shard,
    ShardIndex,
    Split,
    TokenStream,
    VocabularyReference,
    load_index,
    open_shards,
)
from tokenizer.shards.formats import FormatName, TypeName

PARTS = [[999, 1, 2, 999, 3], [4, 5], [6, 999, 999, 998]]  # the second document ends in the third shard
INDEX = ShardIndex(
    format="llm.c",
    token_type="uint16",
    vocabulary=VocabularyReference("ab" * 32, 1000, 999),
    seed=7,
    splits={
        "train": Split(3, 6, 9, 10, [Shard("train_000000.bin", 6, 3, "cd" * 32)]),
        "validation": Split(0, 0, 0, 0, []),
    },
)


def write(folder: Path, form: FormatName = "llm.c", kind: TypeName = "uint16") -> Path:
    """Write the parts as the train shards of a folder; those that have one file have them in one."""
    parts = PARTS if form == "llm.c" else [[token for part in PARTS for token in part]]
    shards = []
    for number, ids in enumerate(parts):
        file = formats.file_name(form, "train", number)
        raw = formats.header(form, len(ids), kind) + np.array(ids, formats.dtype(kind)).tobytes()
        (folder / file).write_bytes(raw)
        index, index_file = None, formats.index_name(form, file)
        if index_file:
            raw_index = formats.megatron_index(np.array([3, 5, 1, 2]), kind)
            (folder / index_file).write_bytes(raw_index)
            index = hashlib.sha256(raw_index).hexdigest()
        shards.append(Shard(file, len(ids), ids.count(999), hashlib.sha256(raw).hexdigest(), index))
    split = Split(4, 11, 20, 20, shards)
    whole = replace(INDEX, format=form, token_type=kind, splits={"train": split})
    (folder / "shards.json").write_text(whole.to_json())
    return folder


@pytest.mark.parametrize("form", ["llm.c", "nanogpt", "megatron"])
def test_every_format_reads_as_the_tokens_that_were_written(tmp_path: Path, form: FormatName) -> None:
    shards = open_shards(str(write(tmp_path, form)))
    assert shards.open("train").read(0, 100).tolist() == [token for part in PARTS for token in part]
    assert len(shards.open("validation")) == 0
    for shard in shards.index.splits["train"].shards:
        shards.check(shard, whole=True)


@pytest.mark.parametrize("form", ["llm.c", "nanogpt", "megatron"])
def test_a_document_is_found_though_it_runs_over_several_shards(tmp_path: Path, form: FormatName) -> None:
    shards = open_shards(str(write(tmp_path, form)))
    assert [shards.document("train", number) for number in range(4)] == [(0, 3), (3, 8), (8, 9), (9, 11)]
    for number in (-1, 4):
        with pytest.raises(ValueError, match=f"no document {number} in train: it has 4"):
            shards.document("train", number)


@given(st.lists(st.integers(0, 9), min_size=1, max_size=8), st.integers(0, 40), st.integers(0, 40))
def test_the_shards_read_as_one_stream(lengths: list[int], start: int, count: int) -> None:
    whole = np.arange(sum(lengths), dtype=np.uint16)
    stream = TokenStream(np.split(whole, np.cumsum(lengths)[:-1]))
    assert len(stream) == len(whole)
    assert stream.read(start, count).tolist() == whole.tolist()[start : start + count]


def test_a_shard_other_than_the_one_that_the_index_names_is_refused(tmp_path: Path) -> None:
    shutil.copy(write(tmp_path) / "train_000001.bin", tmp_path / "train_000000.bin")
    with pytest.raises(ValueError, match=r"train_000000\.bin has 2 tokens, but shards\.json says 5"):
        open_shards(str(tmp_path)).open("train")


def test_a_missing_shard_is_named(tmp_path: Path) -> None:
    (write(tmp_path) / "train_000001.bin").unlink()
    with pytest.raises(ValueError, match=r"train_000001\.bin is missing"):
        open_shards(str(tmp_path)).open("train")


@pytest.mark.parametrize("size", [0, 100, 1024, 1033])
def test_a_truncated_shard_is_named(tmp_path: Path, size: int) -> None:
    path = write(tmp_path) / "train_000000.bin"
    path.write_bytes(path.read_bytes()[:size])
    with pytest.raises(ValueError, match=r"train_000000\.bin is (damaged|not a shard)"):
        open_shards(str(tmp_path)).open("train")


@pytest.mark.parametrize(
    ("form", "file", "place", "value", "message"),
    [
        ("llm.c", "train_000000.bin", 1024, 1, "documents, but"),  # an end of text less
        ("llm.c", "train_000000.bin", 1027, 4, "not in its vocabulary"),
        ("llm.c", "train_000000.bin", 1026, 7, "SHA-256"),
        ("llm.c", "train_000000.bin", 1000, 7, "SHA-256"),  # in the header's zeros
        ("megatron", "train.bin", 2, 7, "SHA-256"),
        ("megatron", "train.idx", 34, 2, "are not consecutive"),
        ("megatron", "train.idx", 46, 3, "does not match"),  # the last document's length
        ("megatron", "train.idx", -1, 7, "SHA-256"),
    ],
)
def test_every_changed_byte_is_found(
    tmp_path: Path, form: FormatName, file: str, place: int, value: int, message: str
) -> None:
    raw = bytearray((write(tmp_path, form) / file).read_bytes())
    raw[place] = value
    (tmp_path / file).write_bytes(raw)
    shards = open_shards(str(tmp_path))
    with pytest.raises(ValueError, match=message):
        shards.check(shards.index.splits["train"].shards[0], whole=True)


def test_an_index_of_megatrons_that_is_missing_is_named_without_reading_the_tokens(tmp_path: Path) -> None:
    (write(tmp_path, "megatron") / "train.idx").unlink()
    shards = open_shards(str(tmp_path))
    with pytest.raises(ValueError, match=r"train\.idx is missing"):
        shards.check(shards.index.splits["train"].shards[0], whole=False)


def test_the_index_is_read_back(tmp_path: Path) -> None:
    (tmp_path / "shards.json").write_text(INDEX.to_json())
    assert load_index(str(tmp_path)) == INDEX


def test_the_index_says_what_other_programs_expect() -> None:
    whole = json.loads(INDEX.to_json())
    assert (whole["version"], whole["format"], whole["token_type"], whole["seed"]) == (
        2,
        "llm.c",
        "uint16",
        7,
    )
    assert whole["vocabulary"] == {"fingerprint": "ab" * 32, "size": 1000, "end_of_text": 999}
    assert whole["splits"]["train"] == {
        "documents": 3,
        "tokens": 6,
        "characters": 9,
        "bytes": 10,
        "shards": [{"file": "train_000000.bin", "tokens": 6, "documents": 3, "sha256": "cd" * 32}],
    }


@pytest.mark.parametrize(
    "text",
    [
        "",
        "{}",
        "[]",
        "null",
        INDEX.to_json()[:-20],
        INDEX.to_json().replace("llm.c", "other"),
        INDEX.to_json().replace("uint16", "uint32"),
        INDEX.to_json().replace('"version": 2', '"version": 1'),
        INDEX.to_json().replace('"tokens": 6', '"tokens": 7', 1),
        INDEX.to_json().replace('"tokens": 6', '"tokens": "6"'),
        INDEX.to_json().replace("train_000000.bin", "../train_000000.bin"),
        INDEX.to_json().replace("train_000000.bin", "/etc/passwd"),
        INDEX.to_json().replace('"documents": 3', '"documents": 30'),
        INDEX.to_json().replace('"seed": ', '"seed": null, "was": '),
        INDEX.to_json().replace('"train": ', '"train": [], "was": '),
        "[" * 100_000,
        '{"version": ' * 100_000,
    ],
)
def test_what_is_no_index_is_refused(tmp_path: Path, text: str) -> None:
    (tmp_path / "shards.json").write_text(text)
    with pytest.raises(ValueError, match=r"shards\.json is not an index"):
        load_index(str(tmp_path))


def test_a_folder_without_an_index_holds_no_finished_shards(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="no finished shards"):
        load_index(str(tmp_path))


def test_an_address_without_shards_is_named() -> None:
    with pytest.raises(ValueError, match="no finished shards at memory://shards"):
        open_shards("memory://shards")
