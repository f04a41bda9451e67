"""nanoGPT's meta.pkl gives the size of its vocabulary, and runs nothing."""

import os
import pickle
import struct
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tokenizer.bpe.vocabulary import Vocabulary
from tokenizer.shards import meta_pickle
from tokenizer.shards.meta_pickle import read_vocabulary_size, write_meta

CHARACTERS = "\n abcé東"
META = {
    "vocab_size": len(CHARACTERS),
    "itos": dict(enumerate(CHARACTERS)),
    "stoi": {character: number for number, character in enumerate(CHARACTERS)},
}


def size_in(folder: Path, raw: bytes) -> int:
    (folder / "meta.pkl").write_bytes(raw)
    return read_vocabulary_size(folder / "meta.pkl")


@pytest.mark.parametrize("protocol", range(pickle.HIGHEST_PROTOCOL + 1))
def test_what_nanogpt_writes_is_read_in_every_protocol(tmp_path: Path, protocol: int) -> None:
    assert size_in(tmp_path, pickle.dumps(META, protocol)) == 7


class Calls:
    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple[Any, ...]:
        return os.system, (f"touch {self.path}",)


@pytest.mark.parametrize("protocol", range(pickle.HIGHEST_PROTOCOL + 1))
def test_a_pickle_that_calls_something_is_refused_and_not_run(tmp_path: Path, protocol: int) -> None:
    raw = pickle.dumps({"vocab_size": 7, "more": Calls(tmp_path / "ran")}, protocol)
    with pytest.raises(ValueError, match=r"cannot be read safely.*--vocabulary-size"):
        size_in(tmp_path, raw)
    assert not (tmp_path / "ran").exists()


@pytest.mark.parametrize(
    "raw",
    [
        b"",
        b"\x80\x04",
        b"not a pickle",
        pickle.dumps(META)[:-9],
        b"\x80\x02}\x8d" + struct.pack("<Q", 2**60) + b"x.",  # a string of an exabyte
        b"\x80\x02}r" + struct.pack("<I", 2**32 - 1) + b".",  # a table of 4 billion values
        b"\x80\x02}]K\x01s.",  # a list as a key
        b"\x80\x02h\x05.",  # a value that was never kept
        b"I" + b"9" * 5000 + b"\n.",
        b"\x80\x02}" + b"(" * 100_000 + b".",
        b"\x80\x02Pid\n.",
        pickle.dumps({"vocab_size": np.int64(7)}),
        pickle.dumps({"vocab_size": ((((7,),),),)}),
    ],
)
def test_a_damaged_or_hostile_pickle_is_one_plain_error(tmp_path: Path, raw: bytes) -> None:
    with pytest.raises(ValueError, match=r"meta\.pkl cannot be read safely"):
        size_in(tmp_path, raw)


@pytest.mark.parametrize("content", [[], {}, {"vocab_size": 0}, {"vocab_size": True}, {"vocab_size": "7"}, 7])
def test_no_size_is_told(tmp_path: Path, content: object) -> None:
    with pytest.raises(ValueError, match="should be a positive integer"):
        size_in(tmp_path, pickle.dumps(content))


def test_a_large_file_is_not_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(meta_pickle, "MOST_BYTES", 100)
    with pytest.raises(ValueError, match="has 101 bytes"):
        size_in(tmp_path, bytes(101))


def test_our_own_serves_nanogpts_train_and_sample(tmp_path: Path) -> None:
    vocabulary = Vocabulary([(b"h", b"e"), (b"\xc3", b"\xa9")], 0)
    raw = write_meta(vocabulary)
    assert size_in(tmp_path, raw) == 259
    assert write_meta(vocabulary) == raw
    meta = pickle.loads(raw)
    assert meta["vocab_size"] == 259
    # As sample.py encodes and decodes.
    ids = [meta["stoi"][character] for character in "The café\n"]
    assert b"".join(vocabulary.entries[number] for number in ids) == "The café\n".encode()
    assert "".join([meta["itos"][number] for number in ids]) == "The café\n"
    assert set(meta["itos"]) == set(range(259))
    assert set(map(chr, range(128))) <= set(meta["stoi"])
