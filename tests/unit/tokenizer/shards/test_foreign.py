"""Shards of other tools are read as those tools lay them out, and whatever is wrong with them is told."""

import pickle
import struct
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from tokenizer.bpe.vocabulary import Vocabulary
from tokenizer.shards.folder import Shards, open_shards

TRAIN = [[9, 1, 2, 3, 9, 4], [5, 6, 7]]
ALL = [*TRAIN[0], *TRAIN[1]]
VALIDATION = [9, 8, 7, 6]
VOCABULARY = Vocabulary([(b"a", b"b")])  # 258 entries; <|endoftext|> is 257


def llm_c(path: Path, ids: list[int], *, magic: int = 20240520, version: int = 1, kind: str = "<u2") -> None:
    """As llm.c's dev/data/data_common.py writes a shard."""
    header = np.zeros(256, "<i4")
    header[:3] = magic, version, len(ids)
    path.write_bytes(header.tobytes() + np.array(ids, kind).tobytes())


def megatron(path: Path, documents: list[list[int]], code: int = 8, kind: str = "<u2") -> None:
    """As Megatron-LM's tools/preprocess_data.py writes a data set, given without the ending."""
    lengths = np.array([len(document) for document in documents], "<i4")
    size = np.dtype(kind).itemsize
    starts = np.concatenate([[0], np.cumsum(lengths)[:-1]]).astype("<i8") * size
    head = b"MMIDIDX\x00\x00" + struct.pack("<QBQQ", 1, code, len(lengths), len(lengths) + 1)
    index = head + lengths.tobytes() + starts.tobytes() + np.arange(len(lengths) + 1, dtype="<i8").tobytes()
    path.with_suffix(".idx").write_bytes(index)
    path.with_suffix(".bin").write_bytes(
        np.array([token for document in documents for token in document], kind).tobytes()
    )


def fineweb(folder: Path) -> None:
    for number, ids in enumerate(TRAIN, 1):
        llm_c(folder / f"fineweb_train_{number:06d}.bin", ids)
    llm_c(folder / "fineweb_val_000000.bin", VALIDATION)


def llama(folder: Path) -> None:
    for number, ids in enumerate(TRAIN, 1):
        llm_c(folder / f"edu_fineweb_train_{number:06d}.bin", ids, magic=20240801, version=7, kind="<u4")
    llm_c(folder / "edu_fineweb_val_000000.bin", VALIDATION, magic=20240801, version=7, kind="<u4")


def tiny_shakespeare(folder: Path) -> None:
    (folder / "tiny_shakespeare.txt").write_text("text")
    llm_c(folder / "tiny_shakespeare_train.bin", ALL)
    llm_c(folder / "tiny_shakespeare_val.bin", VALIDATION)


def nanogpt(folder: Path) -> None:
    (folder / "train.bin").write_bytes(np.array(ALL, "<u2").tobytes())
    (folder / "val.bin").write_bytes(np.array(VALIDATION, "<u2").tobytes())


def megatrons(folder: Path) -> None:
    megatron(folder / "my-gpt2_train_text_document", TRAIN)
    megatron(folder / "my-gpt2_valid_text_document", [VALIDATION], code=4, kind="<i4")
    megatron(folder / "my-gpt2_valid_text_document", [VALIDATION])


Layout = Callable[[Path], None]
LAYOUTS: list[Layout] = [fineweb, llama, tiny_shakespeare, nanogpt, megatrons]


def tokens(shards: Shards, split: str) -> list[int]:
    stream = shards.open(split)
    ids: list[int] = stream.read(0, len(stream)).tolist()
    return ids


@pytest.mark.parametrize("layout", LAYOUTS)
def test_each_tools_layout_is_read_as_its_tokens(tmp_path: Path, layout: Layout) -> None:
    layout(tmp_path)
    shards = open_shards(str(tmp_path), vocabulary_size=10)
    assert tokens(shards, "train") == ALL
    assert tokens(shards, "validation") == VALIDATION
    assert shards.are_foreign
    for split in shards.index.splits.values():
        for shard in split.shards:
            shards.check(shard, whole=True)
            assert shards.has_its_checksum(shard)
    with pytest.raises(ValueError, match="cannot be told apart without its --vocabulary"):
        shards.starts(shards.index.splits["train"].shards[0])


@pytest.mark.parametrize("layout", LAYOUTS)
def test_the_vocabulary_must_be_known(tmp_path: Path, layout: Layout) -> None:
    layout(tmp_path)
    with pytest.raises(ValueError, match="give --vocabulary, or --vocabulary-size"):
        open_shards(str(tmp_path))
    with pytest.raises(ValueError, match="only one of"):
        open_shards(str(tmp_path), vocabulary="x", vocabulary_size=10)
    with pytest.raises(ValueError, match="--vocabulary-size is 0"):
        open_shards(str(tmp_path), vocabulary_size=0)
    assert len(open_shards(str(tmp_path), any_vocabulary=True).open("train")) == 9


def test_a_vocabulary_beside_the_shards_or_given_tells_where_documents_begin(tmp_path: Path) -> None:
    (tmp_path / "a").mkdir()
    llm_c(tmp_path / "a" / "x_train_0.bin", [257, 1, 2, 257, 3])
    (tmp_path / "v.json").write_text(VOCABULARY.tokenizer_json)
    given = open_shards(str(tmp_path / "a"), vocabulary=str(tmp_path / "v.json")).counted()
    (tmp_path / "a" / "tokenizer.json").write_text(VOCABULARY.tokenizer_json)
    beside = open_shards(str(tmp_path / "a")).counted()
    assert given.index == beside.index
    assert given.index.vocabulary.fingerprint == VOCABULARY.fingerprint
    assert [given.document("train", number) for number in (0, 1)] == [(0, 3), (3, 5)]
    with pytest.raises(ValueError, match="no document 2 in train: it has 2"):
        given.document("train", 2)


def test_nanogpts_characters_are_counted_by_its_meta(tmp_path: Path) -> None:
    nanogpt(tmp_path)
    (tmp_path / "meta.pkl").write_bytes(pickle.dumps({"vocab_size": 65, "itos": {0: "a"}, "stoi": {"a": 0}}))
    assert open_shards(str(tmp_path)).index.vocabulary.size == 65
    assert open_shards(str(tmp_path), vocabulary_size=70).index.vocabulary.size == 70


@pytest.mark.parametrize("layout", LAYOUTS)
def test_other_content_is_another_fingerprint_and_is_noticed(tmp_path: Path, layout: Layout) -> None:
    layout(tmp_path)
    before = open_shards(str(tmp_path), vocabulary_size=10)
    again = open_shards(str(tmp_path), vocabulary_size=10)
    assert again.fingerprint == before.fingerprint
    assert open_shards(str(tmp_path), vocabulary_size=11).fingerprint != before.fingerprint
    shard = before.index.splits["train"].shards[0]
    raw = bytearray((tmp_path / shard.file).read_bytes())
    raw[-2] ^= 1
    (tmp_path / shard.file).write_bytes(raw)
    assert not before.has_its_checksum(shard)
    assert open_shards(str(tmp_path), vocabulary_size=10).fingerprint != before.fingerprint


def test_names_without_a_side_are_all_for_training(tmp_path: Path) -> None:
    llm_c(tmp_path / "part_0.bin", [1, 2])
    llm_c(tmp_path / "part_1.bin", [3])
    shards = open_shards(str(tmp_path), vocabulary_size=10)
    assert (tokens(shards, "train"), tokens(shards, "validation")) == ([1, 2, 3], [])


@pytest.mark.parametrize(("layout", "name"), [(nanogpt, "train.bin"), (tiny_shakespeare, None)])
def test_validation_alone_is_never_taken_for_training(
    tmp_path: Path, layout: Layout, name: str | None
) -> None:
    layout(tmp_path)
    (tmp_path / (name or "tiny_shakespeare_train.bin")).unlink()
    shards = open_shards(str(tmp_path), vocabulary_size=10)
    assert (tokens(shards, "train"), tokens(shards, "validation")) == ([], VALIDATION)


def test_a_token_beyond_the_vocabulary_is_found(tmp_path: Path) -> None:
    megatron(tmp_path / "a", [[1, -5]], code=4, kind="<i4")
    shards = open_shards(str(tmp_path), vocabulary_size=10)
    with pytest.raises(ValueError, match="holds token -5"):
        shards.check(shards.index.splits["train"].shards[0], whole=True)
    fineweb(tmp_path / ".." / tmp_path.name)  # pairs of Megatron's go first
    assert open_shards(str(tmp_path), vocabulary_size=10).index.format == "megatron"


def cut(name: str, size: int) -> Layout:
    def spoil(folder: Path) -> None:
        raw = (folder / name).read_bytes()
        (folder / name).write_bytes(raw[:size] if size >= 0 else raw + bytes(-size))

    return spoil


def patched(name: str, offset: int, raw: bytes) -> Layout:
    def spoil(folder: Path) -> None:
        whole = bytearray((folder / name).read_bytes())
        whole[offset : offset + len(raw)] = raw
        (folder / name).write_bytes(whole)

    return spoil


def removed(name: str) -> Layout:
    return lambda folder: (folder / name).unlink()


FIRST, MEGATRON = "fineweb_train_000001.bin", "my-gpt2_train_text_document"


@pytest.mark.parametrize(
    ("layout", "spoil", "message"),
    [
        (fineweb, cut(FIRST, 2), "is not a shard in llm.c's format"),
        (fineweb, cut(FIRST, 600), "is not a shard in llm.c's format with uint16"),
        (fineweb, cut(FIRST, 1024 + 5), "its header says 6 tokens"),
        (fineweb, cut(FIRST, -2), "its header says 6 tokens"),
        (fineweb, patched(FIRST, 8, struct.pack("<i", 2**31 - 1)), "its header says 2,147,483,647 tokens"),
        (fineweb, patched(FIRST, 8, struct.pack("<i", -1)), "its header says -1 tokens"),
        (fineweb, patched(FIRST, 4, struct.pack("<i", 2)), "has version 2"),
        (fineweb, patched(FIRST, 0, struct.pack("<ii", 20240801, 7)), "is damaged|has uint"),
        (nanogpt, cut("train.bin", 3), "not a whole number of uint16 ids"),
        (megatrons, cut(f"{MEGATRON}.idx", 20), "20 bytes are not a Megatron index"),
        (megatrons, cut(f"{MEGATRON}.idx", 60), "its header says 2 documents"),
        (megatrons, patched(f"{MEGATRON}.idx", 18, struct.pack("<Q", 2**61)), "documents"),
        (megatrons, patched(f"{MEGATRON}.idx", 17, b"\x06"), "of uint16 or int32 ids"),
        (megatrons, patched(f"{MEGATRON}.idx", 0, b"X"), "is not a Megatron index"),
        (megatrons, patched(f"{MEGATRON}.idx", 34, struct.pack("<i", -6)), "not consecutive"),
        (megatrons, cut(f"{MEGATRON}.bin", 12), r"has 6 tokens, but .*\.idx says 9"),
        (megatrons, removed(f"{MEGATRON}.bin"), "has no .*train_text_document.bin beside it"),
    ],
)
def test_a_header_that_lies_and_a_cut_file_are_one_plain_error(
    tmp_path: Path, layout: Layout, spoil: Layout, message: str
) -> None:
    layout(tmp_path)
    spoil(tmp_path)
    with pytest.raises(ValueError, match=message) as failure:
        open_shards(str(tmp_path), vocabulary_size=10)
    assert "\n" not in str(failure.value)


def test_what_a_killed_run_of_ours_has_left_is_not_another_tools(tmp_path: Path) -> None:
    fineweb(tmp_path)
    (tmp_path / ".stages").mkdir()
    with pytest.raises(ValueError, match="no finished shards"):
        open_shards(str(tmp_path), vocabulary_size=10)


def test_samples_tell_files_apart_that_differ_at_either_end(tmp_path: Path) -> None:
    from tokenizer.shards.foreign import sample

    raw = bytearray(10_000_000)
    (tmp_path / "a.bin").write_bytes(raw)
    found = {sample(tmp_path / "a.bin")}
    for place in (0, 5_000, len(raw) - 1):
        changed = bytearray(raw)
        changed[place] = 1
        (tmp_path / "a.bin").write_bytes(changed)
        found.add(sample(tmp_path / "a.bin"))
    (tmp_path / "a.bin").write_bytes(raw + b"\0")
    found.add(sample(tmp_path / "a.bin"))
    assert len(found) == 5
