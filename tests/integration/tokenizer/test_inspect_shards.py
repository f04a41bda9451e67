"""What the command tells of shards is so, in every format, and what is damaged it names."""

import re
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tokenizer import inspect_shards, write_shards
from tokenizer.bpe.vocabulary import Vocabulary
from tokenizer.inspect_shards import InspectOptions
from tokenizer.shards.folder import load_index, open_shards

ROOT = Path(__file__).parents[3]
FORMATS = ["llm.c", "nanogpt", "megatron"]


@pytest.fixture(scope="module", params=FORMATS)
def shards(
    request: pytest.FixtureRequest,
    tmp_path_factory: pytest.TempPathFactory,
    corpus: Path,
    vocabulary_folder: Path,
) -> Path:
    """The corpus in every format, llm.c's in shards of 5,000 tokens."""
    folder = tmp_path_factory.mktemp("shards")
    write_shards.main(
        write_shards.ShardOptions(
            corpus=str(corpus),
            vocabulary=str(vocabulary_folder),
            output=str(folder),
            format=request.param,
            shard_tokens=5_000,
        )
    )
    return folder


@pytest.fixture
def copy(shards: Path, tmp_path: Path) -> Path:
    """The same, to be damaged."""
    return Path(shutil.copytree(shards, tmp_path / "copy", ignore=shutil.ignore_patterns(".stages")))


def inspect(capfd: pytest.CaptureFixture[str], shards: Path, **options: Any) -> str:
    """Run the command and return what it prints."""
    capfd.readouterr()
    inspect_shards.main(InspectOptions(shards=str(shards), **options))
    sys.stdout.flush()
    return capfd.readouterr().out


def test_counts_and_lengths_are_those_of_the_texts(
    capfd: pytest.CaptureFixture[str], shards: Path, vocabulary: Vocabulary
) -> None:
    printed = inspect(capfd, shards, verify=True)
    train = load_index(str(shards)).splits["train"]
    assert f"{train.documents:,} documents, {train.tokens:,} tokens in {len(train.shards)} files" in printed
    assert "files       all checksums are right" in printed
    stream = open_shards(str(shards)).open("train").read(0, train.tokens)
    lengths = np.diff(np.flatnonzero(stream == vocabulary.end_of_text), append=train.tokens) - 1
    printed = re.findall(r"mean ([\d.]+); shortest (\d+), .* longest ([\d,]+)", printed)[0]
    assert printed == (f"{lengths.mean():.1f}", str(lengths.min()), f"{lengths.max():,}")


def test_every_document_reads_as_it_was_written(
    capfd: pytest.CaptureFixture[str], shards: Path, texts: list[str]
) -> None:
    count = load_index(str(shards)).splits["validation"].documents
    printed = [inspect(capfd, shards, split="validation", document=number) for number in range(count)]
    assert sorted(printed) == sorted(f"<|endoftext|>{text}\n" for text in texts[::10])


def test_any_window_is_decoded_and_half_a_character_shows(
    capfd: pytest.CaptureFixture[str], shards: Path, vocabulary: Vocabulary
) -> None:
    stream = open_shards(str(shards)).open("train")
    ids = stream.read(0, len(stream))
    entries = [*vocabulary.tokens, b"<|endoftext|>"]
    cuts = [i for i, number in enumerate(ids) if 0x80 <= entries[number][0] < 0xC0]
    for start in (0, 4_990, cuts[0], cuts[-1], len(stream) - 3):
        expected = b"".join(entries[number] for number in ids[start : start + 50]).decode(errors="replace")
        assert inspect(capfd, shards, start=start, tokens=50) == expected + "\n"
        assert (start in cuts) == expected.startswith("\ufffd")


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"start": -1}, "cannot print 200 tokens from -1"),
        ({"start": 10**9}, "cannot print 200 tokens from 1000000000"),
        ({"start": 0, "tokens": 0}, "cannot print 0 tokens"),
        ({"document": 10**9}, "no document 1000000000 in train"),
        ({"start": 0, "document": 0}, "give only one of --start and --document"),
    ],
)
def test_what_is_not_there_is_told(shards: Path, options: dict[str, int], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        inspect_shards.main(InspectOptions(shards=str(shards), **options))  # type: ignore[arg-type]


def test_every_damage_is_named_at_once(capfd: pytest.CaptureFixture[str], copy: Path) -> None:
    files = sorted(path for path in copy.iterdir() if path.suffix == ".bin")
    files[0].unlink()
    files[-1].write_bytes(files[-1].read_bytes()[:-1])
    (copy / "tokenizer.json").write_text("{")
    with pytest.raises(ValueError, match=r"is damaged \(see above\)"):
        inspect_shards.main(InspectOptions(shards=str(copy)))
    printed = capfd.readouterr().out
    for name in (files[0].name, files[-1].name, "tokenizer.json"):
        assert re.search(rf"damaged .*{re.escape(name)}", printed)


def test_a_single_changed_bit_is_found_by_verify(copy: Path) -> None:
    file = next(path for path in sorted(copy.iterdir()) if path.suffix == ".bin")
    raw = bytearray(file.read_bytes())
    raw[-1] ^= 1
    file.write_bytes(raw)
    inspect_shards.main(InspectOptions(shards=str(copy)))  # sizes and headers are as they were
    with pytest.raises(ValueError, match="is damaged"):
        inspect_shards.main(InspectOptions(shards=str(copy), verify=True))


def test_another_vocabulary_is_refused(copy: Path, tmp_path: Path) -> None:
    (tmp_path / "other.json").write_text(Vocabulary([(b"a", b"b")]).tokenizer_json)
    options = InspectOptions(shards=str(copy), vocabulary=str(tmp_path / "other.json"), document=0)
    with pytest.raises(ValueError, match="is not the vocabulary of these shards"):
        inspect_shards.main(options)


def test_damage_is_an_exit_code(copy: Path) -> None:
    command = [sys.executable, "tokenizer/inspect_shards.py", "--shards", str(copy), "--verify"]
    for code in (0, 1):
        done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
        assert (done.returncode, done.stderr.startswith("error: ")) == (code, code == 1)
        (copy / "tokenizer.json").unlink(missing_ok=True)


def test_a_terminal_is_spared_what_it_would_obey(
    capfd: pytest.CaptureFixture[str], shards: Path, texts: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    index = load_index(str(shards))
    found = next(
        {"split": split, "document": number}
        for split, described in index.splits.items()
        for number in range(described.documents)
        if "\x00" in inspect(capfd, shards, split=split, document=number)
    )
    monkeypatch.setattr(type(sys.stdout), "isatty", lambda stream: True)
    assert "four \\x00 five \\u200b \\ufeff" in inspect(capfd, shards, **found)
