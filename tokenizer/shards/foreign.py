"""Shards that other tools wrote, without `shards.json`: what they are is found out from the files.

| tool | files |
|---|---|
| Megatron-LM | pairs of `.bin` and `.idx` |
| llm.c | `*_train_*.bin`, `*_val_*.bin`, which begin with llm.c's header |
| nanoGPT | `train.bin`, `val.bin`, without a header; `meta.pkl` may say how large the vocabulary is |

Names tell the split, by a word of their own; where no name says one, all files are for training. There are
no checksums: samples of each file tell it from another.
"""

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Final

import numpy as np
import xxhash

from pipeline.corpus.split import SPLITS
from pipeline.sources.sides import sides_by_name
from tokenizer.bpe.vocabulary import Vocabulary
from tokenizer.shards import formats
from tokenizer.shards.formats import FormatName, TypeName
from tokenizer.shards.index import Shard, ShardIndex, Split, VocabularyReference
from tokenizer.shards.meta_pickle import META, read_vocabulary_size

_NANOGPT: Final = ("train.bin", "val.bin")
_VOCABULARIES: Final = (".json", ".bpe", "merges.txt", ".tiktoken")
SAMPLES: Final = 64
SAMPLE_BYTES: Final = 2**16


def is_foreign(folder: Path) -> bool:
    """Say whether a folder without an index has files that may be another tool's shards."""
    is_ours = (folder / ".stages").exists()  # which a killed run has left without an index
    return folder.is_dir() and not is_ours and any(_binaries(folder))


def is_of_interest(name: str) -> bool:
    """Say whether a file of that name, in such a folder, has tokens or says what they are."""
    return (
        "/" not in name and not name.startswith(".") and name.endswith((".bin", ".idx", META, *_VOCABULARIES))
    )


def describe(folder: Path, vocabulary: Vocabulary | None, size: int | None) -> ShardIndex:
    """Return what `shards.json` would say of another tool's shards, but for documents and checksums.

    Args:
        vocabulary: of the tokens, if it is known.
        size: entries of the vocabulary, if only that is known; None: nanoGPT's `meta.pkl` says it.

    Raises:
        ValueError: they are no shards, a file is damaged, or nothing says how large the vocabulary is.
    """
    form, files = _find(folder)
    kinds = {file: _kind(folder / file, form, vocabulary.size if vocabulary else size) for file in files}
    if len(set(kinds.values())) > 1:
        first, other = (
            next(file for file in files if kinds[file] == kind) for kind in sorted(set(kinds.values()))
        )
        raise ValueError(f"{folder}: {first} has {kinds[first]} ids, but {other} {kinds[other]}")
    kind = kinds[files[0]]
    sides = {
        split: [_shard(folder, file, form, kind) for file in names] for split, names in _sides(files).items()
    }
    return ShardIndex(
        format=form,
        token_type=kind,
        vocabulary=_reference(folder, form, vocabulary, size),
        seed=None,
        splits={split: _split(shards) for split, shards in sides.items() if shards},
    )


def has_its_samples(path: Path, shard: Shard) -> bool:
    """Say whether samples of a file are those that it had when it was opened."""
    return path.is_file() and sample(path) == shard.sample


def sample(path: Path) -> str:
    """Return a hash of a file's size and of 64 parts of it, evenly spread, first and last among them."""
    size = path.stat().st_size
    digest = xxhash.xxh3_128(str(size).encode())
    last = max(0, size - SAMPLE_BYTES)
    with path.open("rb") as file:
        for place in dict.fromkeys(last * number // (SAMPLES - 1) for number in range(SAMPLES)):
            file.seek(place)
            digest.update(file.read(SAMPLE_BYTES))
    return digest.hexdigest()


def _binaries(folder: Path) -> Iterator[Path]:
    yield from sorted(
        path for path in folder.glob("*.bin") if not path.name.startswith(".") and path.is_file()
    )


def _find(folder: Path) -> tuple[FormatName, list[str]]:
    """Return the format of a folder's shards, and their names."""
    names = [path.name for path in _binaries(folder)]
    indexed = [name for name in names if (folder / _index_of(name)).is_file()]
    alone = [path for path in sorted(folder.glob("*.idx")) if path.with_suffix(".bin").name not in names]
    if alone:
        raise ValueError(f"{alone[0]} has no {alone[0].stem}.bin beside it")
    if indexed:
        return "megatron", indexed
    with_header = [name for name in names if formats.llm_c_type(folder / name)]
    if with_header:
        sided = [name for name, _ in sides_by_name(names).items()]
        if strange := [name for name in sided if name not in with_header]:
            raise ValueError(
                f"{folder / strange[0]} is not a shard in llm.c's format, as {with_header[0]} is"
            )
        return "llm.c", with_header
    headerless = [name for name in names if name in _NANOGPT]
    if not headerless:
        raise ValueError(
            f"no token shards in {folder}: it has neither shards.json, nor llm.c's files (*_train_*.bin), "
            "nor nanoGPT's (train.bin), nor Megatron's (.bin with .idx)"
        )
    return "nanogpt", headerless


def _index_of(name: str) -> str:
    index = formats.index_name("megatron", name)
    assert index
    return index


def _kind(path: Path, form: FormatName, size: int | None) -> TypeName:
    if form == "megatron":
        return formats.read_megatron_index(path.with_name(_index_of(path.name))).kind
    if form == "llm.c":
        kind = formats.llm_c_type(path)
        assert kind
        return kind
    return formats.token_type(form, size or 1)


def _sides(files: Sequence[str]) -> Mapping[str, Sequence[str]]:
    sides = sides_by_name(files)
    if not sides:
        return {"train": files}
    return {split: [file for file in files if sides.get(file) == split] for split in SPLITS}


def _shard(folder: Path, file: str, form: FormatName, kind: TypeName) -> Shard:
    path = folder / file
    tokens = len(formats.open_tokens(path, form, kind))
    if form == "megatron":
        index = path.with_name(_index_of(file))
        described = int(formats.read_megatron_index(index).lengths.sum(dtype=np.int64))
        if described != tokens:
            raise ValueError(f"{path} has {tokens:,} tokens, but {index.name} says {described:,}")
    return Shard(file=file, tokens=tokens, documents=None, sha256=None, sample=sample(path))


def _split(shards: Sequence[Shard]) -> Split:
    tokens = sum(shard.tokens for shard in shards)
    return Split(documents=None, tokens=tokens, characters=0, bytes=0, shards=shards)


def _reference(
    folder: Path, form: FormatName, vocabulary: Vocabulary | None, size: int | None
) -> VocabularyReference:
    if vocabulary:
        return VocabularyReference(vocabulary.fingerprint, vocabulary.size, vocabulary.end_of_text)
    if size is None and form == "nanogpt" and (folder / META).is_file():
        # Its characters have no <|endoftext|>.
        return VocabularyReference("", read_vocabulary_size(folder / META), None)
    if size is None:
        raise ValueError(
            f"{folder} does not say which vocabulary its tokens have: give --vocabulary, or "
            "--vocabulary-size (of GPT-2's 50257)"
        )
    if size < 1:
        raise ValueError(f"--vocabulary-size is {size}: it must be at least 1")
    return VocabularyReference("", size, None)
