"""Files of tokens are the other projects' own: readers written from their descriptions find every token."""

import struct
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest

from tokenizer.shards.formats import (
    FormatName,
    TypeName,
    dtype,
    file_name,
    header,
    index_name,
    megatron_index,
    open_tokens,
    read_megatron_index,
    token_type,
)

IDS = [999, 1, 2, 999, 999, 65535]


def write(path: Path, form: FormatName, kind: TypeName = "uint16", ids: list[int] = IDS) -> Path:
    path.write_bytes(header(form, len(ids), kind) + np.array(ids, dtype(kind)).tobytes())
    return path


def read_llm_c(path: Path) -> list[int]:
    """Read a shard as llm.c's dataloader.h and data_common.py describe it."""
    raw = path.read_bytes()
    magic, version, tokens, *zeros = struct.unpack("<256i", raw[:1024])
    size, letter = {(20240520, 1): (2, "H"), (20240801, 7): (4, "I")}[magic, version]
    assert not any(zeros)
    assert len(raw) == 1024 + size * tokens
    return list(struct.unpack(f"<{tokens}{letter}", raw[1024:]))


def read_megatron(prefix: Path) -> list[list[int]]:
    """Read every document as Megatron's IndexedDataset does."""
    raw = prefix.with_suffix(".idx").read_bytes()
    assert raw[:9] == b"MMIDIDX\x00\x00"
    version, code, sequences, documents = struct.unpack_from("<QBQQ", raw, 9)
    assert version == 1
    kind = {1: "u1", 2: "i1", 3: "<i2", 4: "<i4", 5: "<i8", 8: "<u2"}[code]
    at = 34
    lengths = np.frombuffer(raw, "<i4", sequences, at)
    pointers = np.frombuffer(raw, "<i8", sequences, at + 4 * sequences)
    ends = np.frombuffer(raw, "<i8", documents, at + 12 * sequences)
    assert len(raw) == at + 12 * sequences + 8 * documents
    tokens = prefix.with_suffix(".bin").read_bytes()
    found = [
        np.frombuffer(tokens, kind, length, pointer).tolist()
        for length, pointer in zip(lengths, pointers, strict=True)
    ]
    return [[number for part in found[first:end] for number in part] for first, end in pairwise(ends)]


@pytest.mark.parametrize(("kind", "last"), [("uint16", 65_535), ("uint32", 128_255)])
def test_llm_cs_own_reading_finds_every_token(tmp_path: Path, kind: TypeName, last: int) -> None:
    ids = [*IDS, last]
    path = write(tmp_path / "a.bin", "llm.c", kind, ids)
    assert read_llm_c(path) == ids
    assert open_tokens(path, "llm.c", kind).tolist() == ids


@pytest.mark.parametrize("kind", ["uint16", "uint32"])
def test_nanogpts_own_reading_finds_every_token(tmp_path: Path, kind: TypeName) -> None:
    path = write(tmp_path / "train.bin", "nanogpt", kind)
    assert np.memmap(path, dtype=kind, mode="r").tolist() == IDS
    assert open_tokens(path, "nanogpt", kind).tolist() == IDS


@pytest.mark.parametrize("kind", ["uint16", "int32"])
def test_megatrons_own_reading_finds_every_document(tmp_path: Path, kind: TypeName) -> None:
    path = write(tmp_path / "train.bin", "megatron", kind)
    path.with_suffix(".idx").write_bytes(megatron_index(np.array([3, 1, 2]), kind))
    assert read_megatron(tmp_path / "train") == [[999, 1, 2], [999], [999, 65535]]
    assert open_tokens(path, "megatron", kind).tolist() == IDS
    index = read_megatron_index(path.with_suffix(".idx"))
    assert (index.kind, index.lengths.tolist()) == (kind, [3, 1, 2])


def test_megatrons_reader_finds_every_document(tmp_path: Path) -> None:
    # Not among our requirements: `pip install --no-deps megatron-core==0.16.1` lets this run.
    megatron = pytest.importorskip("megatron.core.datasets.indexed_dataset")
    path = write(tmp_path / "train.bin", "megatron")
    path.with_suffix(".idx").write_bytes(megatron_index(np.array([3, 1, 2]), "uint16"))
    dataset = megatron.IndexedDataset(str(tmp_path / "train"))
    assert [document.tolist() for document in dataset[:]] == [[999, 1, 2], [999], [999, 65535]]
    assert dataset.document_indices.tolist() == [0, 1, 2, 3]


def test_an_index_of_no_documents_is_read_back(tmp_path: Path) -> None:
    (tmp_path / "a.idx").write_bytes(megatron_index(np.empty(0, np.int64), "uint16"))
    assert read_megatron_index(tmp_path / "a.idx").lengths.tolist() == []


@pytest.mark.parametrize("form", ["llm.c", "nanogpt", "megatron"])
def test_no_tokens_are_read_back(tmp_path: Path, form: FormatName) -> None:
    assert open_tokens(write(tmp_path / "a.bin", form, ids=[]), form, "uint16").tolist() == []


def test_ids_take_two_bytes_as_long_as_the_vocabulary_allows() -> None:
    forms: list[FormatName] = ["llm.c", "nanogpt", "megatron"]
    assert [token_type(form, 65_536) for form in forms] == ["uint16"] * 3
    assert [token_type(form, 65_537) for form in forms] == ["uint32", "uint32", "int32"]


def test_files_are_called_as_their_readers_expect() -> None:
    assert file_name("llm.c", "validation", 12) == "validation_000012.bin"
    assert [file_name("nanogpt", split, 0) for split in ("train", "validation")] == ["train.bin", "val.bin"]
    assert file_name("megatron", "train", 0) == "train.bin"
    assert (index_name("megatron", "train.bin"), index_name("nanogpt", "train.bin")) == ("train.idx", None)


HEADER = np.array([20240520, 1, 5] + [0] * 253, "<i4").tobytes()


@pytest.mark.parametrize(
    ("raw", "message"),
    [
        (b"", r"a\.bin is not a shard"),
        (bytes(1024), r"a\.bin is not a shard"),
        (np.array([20240801, 7, 0] + [0] * 253, "<i4").tobytes(), "not a shard in .* with uint16 ids"),
        (np.array([20240520, 2, 0] + [0] * 253, "<i4").tobytes(), "version 2"),
        (HEADER[:1023], "not a shard"),
        (HEADER + bytes(8), "header says 5 tokens"),
        (HEADER + bytes(12), "header says 5 tokens"),
    ],
)
def test_what_is_no_whole_shard_is_refused(tmp_path: Path, raw: bytes, message: str) -> None:
    (tmp_path / "a.bin").write_bytes(raw)
    with pytest.raises(ValueError, match=message):
        open_tokens(tmp_path / "a.bin", "llm.c", "uint16")


def test_half_an_id_is_refused(tmp_path: Path) -> None:
    (tmp_path / "a.bin").write_bytes(bytes(7))
    with pytest.raises(ValueError, match="not a whole number of uint16 ids"):
        open_tokens(tmp_path / "a.bin", "nanogpt", "uint16")


def test_every_cut_and_every_wrong_field_of_an_index_is_refused(tmp_path: Path) -> None:
    path, whole = tmp_path / "a.idx", megatron_index(np.array([3, 1, 2]), "uint16")
    for size in range(len(whole)):
        path.write_bytes(whole[:size])
        with pytest.raises(ValueError, match=r"a\.idx is"):
            read_megatron_index(path)
    for place in (0, 9, 17, 18, 26, 54):  # magic, version, type, two counts, the second pointer
        path.write_bytes(whole[:place] + b"\x07" + whole[place + 1 :])
        with pytest.raises(ValueError, match=r"a\.idx is"):
            read_megatron_index(path)


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"a\.bin is missing"):
        open_tokens(tmp_path / "a.bin", "nanogpt", "uint16")
    with pytest.raises(ValueError, match=r"a\.idx is missing"):
        read_megatron_index(tmp_path / "a.idx")
