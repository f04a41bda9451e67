"""A shard is llm.c's, byte for byte, and whatever is not is refused."""

import hashlib
import json
from pathlib import Path

import numpy as np
import pytest

from tokenizer.shards import (
    Shard,
    ShardIndex,
    Split,
    VocabularyReference,
    load_index,
    open_shard,
    write_shard,
)

DOCUMENTS = [np.array([999, 1, 2], np.uint16), np.array([999], np.uint16), np.array([999, 65535], np.uint16)]
INDEX = ShardIndex(
    vocabulary=VocabularyReference("ab" * 32, 1000, 999),
    seed=7,
    splits={
        "train": Split(3, 6, 9, 10, [Shard("train_000000.bin", 6, 3, "cd" * 32)]),
        "validation": Split(0, 0, 0, 0, []),
    },
)


def test_the_layout_is_llm_cs_to_the_byte(tmp_path: Path) -> None:
    tokens, checksum = write_shard(tmp_path / "a.bin", DOCUMENTS)
    raw = (tmp_path / "a.bin").read_bytes()
    header = (20240520).to_bytes(4, "little") + (1).to_bytes(4, "little") + (6).to_bytes(4, "little")
    ids = [999, 1, 2, 999, 999, 65535]
    assert raw == header + bytes(1024 - 12) + b"".join(number.to_bytes(2, "little") for number in ids)
    assert (tokens, checksum) == (6, hashlib.sha256(raw).hexdigest())


def test_a_written_shard_is_read_back(tmp_path: Path) -> None:
    write_shard(tmp_path / "a.bin", DOCUMENTS)
    assert open_shard(tmp_path / "a.bin").tolist() == [999, 1, 2, 999, 999, 65535]


def test_an_empty_shard_is_read_back(tmp_path: Path) -> None:
    write_shard(tmp_path / "a.bin", [])
    assert open_shard(tmp_path / "a.bin").tolist() == []


@pytest.mark.parametrize(
    ("raw", "message"),
    [
        (b"", "not a shard"),
        (bytes(1024), "not a shard"),
        (np.array([20240520, 2, 0] + [0] * 253, "<i4").tobytes(), "version 2"),
        (np.array([20240520, 1, 5] + [0] * 253, "<i4").tobytes() + bytes(8), "counts 5 tokens"),
        (np.array([20240520, 1, 5] + [0] * 253, "<i4").tobytes() + bytes(12), "counts 5 tokens"),
    ],
)
def test_what_is_no_whole_shard_is_refused(tmp_path: Path, raw: bytes, message: str) -> None:
    (tmp_path / "a.bin").write_bytes(raw)
    with pytest.raises(ValueError, match=message):
        open_shard(tmp_path / "a.bin")


def test_the_index_is_read_back(tmp_path: Path) -> None:
    (tmp_path / "shards.json").write_text(INDEX.to_json())
    assert load_index(str(tmp_path)) == INDEX


def test_the_index_says_what_other_programs_expect() -> None:
    whole = json.loads(INDEX.to_json())
    assert (whole["format"], whole["version"], whole["seed"]) == ("llm.c", 1, 7)
    assert whole["vocabulary"] == {"fingerprint": "ab" * 32, "size": 1000, "end_of_text": 999}
    assert whole["splits"]["train"] == {
        "documents": 3,
        "tokens": 6,
        "characters": 9,
        "bytes": 10,
        "shards": [{"file": "train_000000.bin", "tokens": 6, "documents": 3, "sha256": "cd" * 32}],
    }


@pytest.mark.parametrize("text", ["", "{}", "[]", "null", INDEX.to_json().replace("llm.c", "other")])
def test_what_is_no_index_is_refused(tmp_path: Path, text: str) -> None:
    (tmp_path / "shards.json").write_text(text)
    with pytest.raises(ValueError, match=r"shards\.json is not an index"):
        load_index(str(tmp_path))


def test_a_folder_without_an_index_holds_no_finished_shards(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="no finished shards"):
        load_index(str(tmp_path))
