"""The two commands as a user meets them: what they write, that they resume, and how they refuse."""

import itertools
import json
import os
import random
import re
import resource
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from pipeline.runner.storage import write_text
from tokenizer import train_bpe, write_shards
from tokenizer.bpe.vocabulary import END_OF_TEXT, Vocabulary, load_vocabulary
from tokenizer.shards.folder import load_index, open_shards
from tokenizer.shards.formats import FormatName

ROOT = Path(__file__).parents[3]
WriteCorpus = Callable[..., Path]


def learn(corpus: Path, output: Path, vocab_size: int = 600, workers: int | None = None) -> None:
    options = train_bpe.TrainOptions(
        corpus=str(corpus), output=str(output), vocab_size=vocab_size, workers=workers
    )
    train_bpe.main(options)


def shard(corpus: Path, vocabulary: Path, output: Path, shard_tokens: int = 5_000, **others: Any) -> None:
    options = write_shards.ShardOptions(
        corpus=str(corpus),
        vocabulary=str(vocabulary),
        output=str(output),
        shard_tokens=shard_tokens,
        **{"workers": 2, **others},
    )
    write_shards.main(options)


def published(folder: Path) -> dict[str, bytes]:
    """The files of a folder that a user sees."""
    return {path.name: path.read_bytes() for path in folder.iterdir() if path.is_file()}


@pytest.fixture(scope="module")
def shards(tmp_path_factory: pytest.TempPathFactory, corpus: Path, vocabulary_folder: Path) -> Path:
    """The corpus in shards of about 5,000 tokens."""
    folder = tmp_path_factory.mktemp("shards")
    shard(corpus, vocabulary_folder, folder)
    return folder


def test_a_vocabulary_comes_in_every_form(vocabulary_folder: Path) -> None:
    hub = {"tokenizer.json", "tokenizer_config.json", "vocab.json", "merges.txt"}
    others = {"encoder.json", "vocab.bpe", "vocabulary.tiktoken", "sentencepiece.model"}
    assert set(published(vocabulary_folder)) == hub | others | {"training.json", "options.json"}


def test_training_json_tells_what_the_vocabulary_was_learned_from(
    vocabulary_folder: Path, vocabulary: Vocabulary, texts: list[str]
) -> None:
    said = json.loads((vocabulary_folder / "training.json").read_text())
    held_out, train = texts[::10], [text for number, text in enumerate(texts) if number % 10]
    assert said["corpus"]["documents"] == len(train)
    assert said["corpus"]["characters"] == sum(map(len, train))
    assert said["corpus"]["bytes"] == sum(len(text.encode()) for text in train)
    assert said["validation"]["bytes"] == sum(len(text.encode()) for text in held_out)
    assert 2 < said["validation"]["bytes_per_token"] < 5  # 1 without merges


@pytest.mark.parametrize(("files", "workers"), [(1, 1), (3, 4)])
def test_the_vocabulary_is_the_same_however_the_corpus_is_cut_ordered_and_shared_out(
    vocabulary_folder: Path,
    texts: list[str],
    tmp_path: Path,
    write_corpus: WriteCorpus,
    files: int,
    workers: int,
) -> None:
    train = [text for number, text in enumerate(texts) if number % 10]
    random.Random(workers).shuffle(train)
    others = iter(train)
    ordered = [next(others) if number % 10 else text for number, text in enumerate(texts)]
    learn(write_corpus(tmp_path / "corpus", ordered, files), tmp_path / "again", 1000, workers)
    ours, theirs = published(vocabulary_folder), published(tmp_path / "again")
    assert json.loads(theirs.pop("options.json")) == {
        "corpus": str(tmp_path / "corpus"),
        "output": str(tmp_path / "again"),
        "vocab_size": 1000,
        "word_counts_memory_gb": 4.0,
        "workers": workers,
        "text": {"text_column": "text", "document_separator": None, "validation_share": None},
    }
    del ours["options.json"]
    assert ours == theirs


def test_rare_words_are_left_out_for_want_of_memory_and_it_is_told(
    vocabulary_folder: Path, corpus: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    whole = json.loads((vocabulary_folder / "training.json").read_text())
    assert whole["cut"] == {
        "pretokens_seen_less_than": 1,
        "distinct_pretokens": 0,
        "share_of_distinct_pretokens": 0.0,
        "pretokens": 0,
        "share_of_pretokens": 0.0,
    }
    capsys.readouterr()
    options = train_bpe.TrainOptions(
        corpus=str(corpus), output=str(tmp_path), vocab_size=500, word_counts_memory_gb=0.0005
    )
    train_bpe.main(options)
    said = json.loads((tmp_path / "training.json").read_text())
    assert said["corpus"] == whole["corpus"]
    cut = said["cut"]
    assert cut["pretokens_seen_less_than"] > 1
    assert 0 < cut["share_of_pretokens"] < cut["share_of_distinct_pretokens"] < 1
    printed = capsys.readouterr().out
    assert f"pre-tokens that occur fewer than {cut['pretokens_seen_less_than']} times" in printed
    assert f"{cut['share_of_distinct_pretokens']:.1%} of the distinct ones" in printed


def test_a_vocabulary_of_no_merges_is_the_bytes_and_the_end_of_text(
    corpus: Path, tmp_path: Path, ray: None
) -> None:
    learn(corpus, tmp_path, 257)
    assert load_vocabulary(str(tmp_path)).merges == []


def test_a_corpus_without_any_text_supports_no_merge_and_says_so(tmp_path: Path, ray: None) -> None:
    (tmp_path / "corpus" / "train").mkdir(parents=True)
    rows = {"id": ["a", "b"], "text": ["", None], "characters": [0, 0]}
    pq.write_table(pa.table(rows), tmp_path / "corpus" / "train" / "a.parquet")
    with pytest.raises(ValueError, match=r"no text in .*corpus"):
        learn(tmp_path / "corpus", tmp_path / "out")
    assert not published(tmp_path / "out")


def test_a_second_run_has_nothing_to_do(
    vocabulary_folder: Path, shards: Path, corpus: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    before = {
        path: path.stat().st_mtime_ns for folder in (vocabulary_folder, shards) for path in folder.rglob("*")
    }
    capsys.readouterr()
    learn(corpus, vocabulary_folder, 1000)
    shard(corpus, vocabulary_folder, shards)
    assert capsys.readouterr().out.count("nothing to do") == 2
    after = {
        path: path.stat().st_mtime_ns for folder in (vocabulary_folder, shards) for path in folder.rglob("*")
    }
    assert after == before


def test_shards_are_what_the_index_says(shards: Path, vocabulary: Vocabulary, texts: list[str]) -> None:
    opened = open_shards(str(shards))
    index = opened.index
    assert (index.vocabulary.fingerprint, index.vocabulary.size) == (vocabulary.fingerprint, 1000)
    assert {shard.tokens for shard in index.splits["train"].shards[:-1]} == {5_000}
    assert len(index.splits["train"].shards) > 3
    for name, split in index.splits.items():
        for shard in split.shards:
            opened.check(shard, whole=True)
        assert opened.open(name).read(0, 1) == vocabulary.end_of_text
        own = texts[::10] if name == "validation" else [text for i, text in enumerate(texts) if i % 10]
        assert split.documents == len(own)
        assert split.characters == sum(map(len, own))
        assert split.bytes == sum(len(text.encode()) for text in own)


def test_the_vocabulary_lies_beside_the_shards(shards: Path, vocabulary: Vocabulary) -> None:
    assert load_vocabulary(str(shards / "tokenizer.json")) == vocabulary


@pytest.mark.parametrize(
    ("form", "files"),
    [
        ("nanogpt", ["train.bin", "val.bin"]),
        ("megatron", ["train.bin", "train.idx", "validation.bin", "validation.idx"]),
    ],
)
def test_every_format_holds_the_same_tokens(
    shards: Path, corpus: Path, vocabulary_folder: Path, tmp_path: Path, form: FormatName, files: list[str]
) -> None:
    copy = Path(shutil.copytree(shards, tmp_path / "copy"))
    shard(corpus, vocabulary_folder, copy, format=form)
    tokens = [path for path in sorted(copy.iterdir()) if path.suffix in {".bin", ".idx"}]
    assert [path.name for path in tokens] == files
    for split in ("train", "validation"):
        theirs, ours = (open_shards(str(folder)).open(split) for folder in (copy, shards))
        assert theirs.read(0, len(theirs)).tolist() == ours.read(0, len(ours)).tolist()


def test_ids_of_a_vocabulary_of_more_than_65536_entries_take_four_bytes(
    tmp_path: Path, write_corpus: WriteCorpus, ray: None
) -> None:
    pairs = [(bytes([a]), bytes([b])) for a in range(256) for b in range(256)]
    large = tmp_path / "tokenizer.json"
    corpus = write_corpus(tmp_path / "corpus", ["held out", "a text", "\xff\xfe\xfd"], files=1)
    for merges, kind, magic in [(65_279, "uint16", 20240520), (65_280, "uint32", 20240801)]:
        large.write_text(Vocabulary(pairs[:merges]).tokenizer_json)
        shard(corpus, large, tmp_path / kind)
        index = load_index(str(tmp_path / kind))
        assert (index.vocabulary.size, index.token_type) == (257 + merges, kind)
        raw = (tmp_path / kind / "train_000000.bin").read_bytes()
        assert np.frombuffer(raw, "<i4", 1)[0] == magic
        assert np.frombuffer(raw, kind, offset=1024)[0] == 256 + merges


def test_another_run_with_other_workers_gives_the_same_shards(
    shards: Path, corpus: Path, vocabulary_folder: Path, tmp_path: Path
) -> None:
    shard(corpus, vocabulary_folder, tmp_path / "again", workers=1)
    ours, theirs = published(shards), published(tmp_path / "again")
    assert ours.pop("options.json") != theirs.pop("options.json")
    assert ours == theirs


def test_other_options_replace_the_shards_and_leave_no_stale_ones(
    shards: Path, corpus: Path, vocabulary_folder: Path, tmp_path: Path
) -> None:
    copy = Path(shutil.copytree(shards, tmp_path / "copy"))
    for own in ("notes.bin", "train_999999.bin"):
        (copy / own).write_bytes(b"somebody's own")
    shard(corpus, vocabulary_folder, copy, shard_tokens=10**8)
    names = ["notes.bin", "train_000000.bin", "train_999999.bin", "validation_000000.bin"]
    assert sorted(path.name for path in copy.glob("*.bin")) == names
    before, after = load_index(str(shards)), load_index(str(copy))
    assert len(before.splits["train"].shards) > len(after.splits["train"].shards)
    assert before.splits["train"].tokens == after.splits["train"].tokens


def test_a_run_cut_off_while_it_hands_over_leaves_no_index_and_is_finished_by_the_next(
    shards: Path, corpus: Path, vocabulary_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    copy = Path(shutil.copytree(shards, tmp_path / "copy"))
    (copy / "train_000001.bin").unlink()

    def power_cut(address: str, text: str) -> None:
        if address.endswith("shards.json"):
            raise KeyboardInterrupt
        write_text(address, text)

    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr("tokenizer.publish.storage.write_text", power_cut)
        shard(corpus, vocabulary_folder, copy)
    with pytest.raises(ValueError, match="no finished shards"):
        load_index(str(copy))
    shard(corpus, vocabulary_folder, copy)
    assert published(copy).keys() == published(shards).keys()
    assert load_index(str(copy)) == load_index(str(shards))
    for part in load_index(str(copy)).splits["train"].shards:
        assert (copy / part.file).read_bytes() == (shards / part.file).read_bytes()


def test_a_document_that_names_the_end_of_text_does_not_end_there(
    shards: Path, texts: list[str], vocabulary: Vocabulary
) -> None:
    assert sum(END_OF_TEXT in text for text in texts) > 1
    streams = [open_shards(str(shards)).open(split) for split in ("train", "validation")]
    tokens = np.concatenate([stream.read(0, len(stream)) for stream in streams])
    assert np.count_nonzero(tokens == vocabulary.end_of_text) == len(texts)


def test_a_corpus_without_validation_is_encoded(
    corpus: Path, vocabulary_folder: Path, tmp_path: Path
) -> None:
    shutil.copytree(corpus / "train", tmp_path / "corpus" / "train")
    shard(tmp_path / "corpus", vocabulary_folder, tmp_path / "shards")
    index = load_index(str(tmp_path / "shards"))
    assert (index.splits["validation"].documents, index.splits["validation"].shards) == (0, [])
    assert index.splits["train"].documents > 0


def test_the_greatest_possible_vocabulary_is_told_and_possible(
    tmp_path: Path, write_corpus: WriteCorpus, ray: None, capsys: pytest.CaptureFixture[str]
) -> None:
    corpus = write_corpus(
        tmp_path / "corpus", ["held out", "a little text", "a little more", "that is all"], 1
    )
    shutil.rmtree(corpus / "validation")
    with pytest.raises(ValueError, match="too small for 8,192 entries") as failure:
        learn(corpus, tmp_path / "vocabulary", 8192)
    assert not published(tmp_path / "vocabulary")
    greatest = int(re.findall(r"--vocab-size (\d+)", str(failure.value))[0])
    learn(corpus, tmp_path / "vocabulary", greatest)
    assert "no validation documents" in capsys.readouterr().out
    with pytest.raises(ValueError, match="too small"):
        learn(corpus, tmp_path / "vocabulary", greatest + 1)
    assert load_vocabulary(str(tmp_path / "vocabulary")).size == greatest  # what was there stays


@pytest.fixture
def broken(tmp_path: Path, corpus: Path) -> Path:
    """A corpus of one file, to be broken."""
    (tmp_path / "broken" / "train").mkdir(parents=True)
    shutil.copy(corpus / "train" / "part-00000.parquet", tmp_path / "broken" / "train" / "a.parquet")
    return tmp_path / "broken"


def test_a_missing_corpus_is_told(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"no corpus at .*nowhere"):
        learn(tmp_path / "nowhere", tmp_path / "out")


def test_a_corpus_without_train_files_is_told(broken: Path, tmp_path: Path) -> None:
    (broken / "train" / "a.parquet").unlink()
    with pytest.raises(ValueError, match=r"no Parquet files in .*train"):
        learn(broken, tmp_path / "out")


def test_a_corpus_without_documents_is_told(broken: Path, tmp_path: Path) -> None:
    file = broken / "train" / "a.parquet"
    pq.write_table(pq.read_table(file).slice(0, 0), file)
    with pytest.raises(ValueError, match=r"no documents in .*train"):
        learn(broken, tmp_path / "out")


def test_a_truncated_parquet_file_is_named(broken: Path, tmp_path: Path) -> None:
    file = broken / "train" / "a.parquet"
    os.truncate(file, file.stat().st_size // 2)
    with pytest.raises(ValueError, match=r"cannot read .*a\.parquet"):
        learn(broken, tmp_path / "out")


def test_a_column_that_is_missing_or_of_another_type_is_named(broken: Path, tmp_path: Path) -> None:
    file = broken / "train" / "a.parquet"
    table = pq.read_table(file)
    pq.write_table(table.drop_columns(["text"]), file)
    with pytest.raises(ValueError, match=r"a\.parquet: no column 'text'"):
        learn(broken, tmp_path / "out")
    pq.write_table(table.set_column(0, "id", pa.array(range(len(table)))), file)
    with pytest.raises(ValueError, match=r"a\.parquet: column 'id' has type int64"):
        learn(broken, tmp_path / "out")


def test_damage_in_the_middle_of_a_parquet_file_is_told_with_its_name(
    broken: Path, tmp_path: Path, ray: None
) -> None:
    file = broken / "train" / "a.parquet"
    raw = bytearray(file.read_bytes())
    raw[len(raw) // 3 : len(raw) // 2] = bytes(len(raw) // 2 - len(raw) // 3)
    file.write_bytes(raw)
    with pytest.raises(ValueError, match=r"stage count, partition a .*cannot read .*a\.parquet"):
        learn(broken, tmp_path / "out")


def test_a_run_that_fails_leaves_the_shards_of_the_one_before_whole(
    shards: Path, broken: Path, vocabulary_folder: Path, tmp_path: Path
) -> None:
    copy = Path(shutil.copytree(shards, tmp_path / "copy"))
    file = broken / "train" / "a.parquet"
    raw = bytearray(file.read_bytes())
    raw[len(raw) // 3 : len(raw) // 2] = bytes(len(raw) // 2 - len(raw) // 3)
    file.write_bytes(raw)
    with pytest.raises(ValueError, match=r"stage encode_train, partition a .*cannot read .*a\.parquet"):
        shard(broken, vocabulary_folder, copy)
    assert published(copy) == published(shards)
    opened = open_shards(str(copy))
    for described in opened.index.splits["train"].shards:
        opened.check(described, whole=True)


def test_a_vocabulary_too_small_for_the_bytes_is_refused(corpus: Path, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="at least 257"):
        learn(corpus, tmp_path / "out", 256)


def test_a_vocabulary_of_another_kind_or_a_cut_one_is_refused(
    corpus: Path, vocabulary_folder: Path, tmp_path: Path
) -> None:
    text = (vocabulary_folder / "tokenizer.json").read_text()
    for broken in (text[: len(text) // 2], text.replace('"ByteLevel"', '"Whitespace"'), "[]"):
        (tmp_path / "tokenizer.json").write_text(broken)
        with pytest.raises(ValueError, match=r"tokenizer\.json is not a GPT-2 vocabulary"):
            shard(corpus, tmp_path / "tokenizer.json", tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_a_corpus_of_empty_texts_is_refused(vocabulary_folder: Path, tmp_path: Path, ray: None) -> None:
    (tmp_path / "corpus" / "train").mkdir(parents=True)
    rows = {"id": ["a", "b"], "text": ["", None]}
    pq.write_table(pa.table(rows), tmp_path / "corpus" / "train" / "a.parquet")
    with pytest.raises(ValueError, match=r"no text in .*train"):
        shard(tmp_path / "corpus", vocabulary_folder, tmp_path / "out")
    assert not published(tmp_path / "out")


def test_documents_without_text_or_id_are_told_apart(
    vocabulary_folder: Path, tmp_path: Path, ray: None
) -> None:
    (tmp_path / "corpus" / "train").mkdir(parents=True)
    rows = {"id": [None, "b", "c", None], "text": ["one", "", None, "two"]}
    pq.write_table(pa.table(rows), tmp_path / "corpus" / "train" / "a.parquet")
    shard(tmp_path / "corpus", vocabulary_folder, tmp_path / "out")
    assert load_index(str(tmp_path / "out")).splits["train"].documents == 2


@pytest.mark.parametrize(("option", "value"), [("shard_tokens", 0), ("shard_tokens", 2**30), ("seed", -1)])
def test_numbers_that_cannot_be_are_refused(
    corpus: Path, vocabulary_folder: Path, tmp_path: Path, option: str, value: int
) -> None:
    with pytest.raises(ValueError, match="must be from"):
        shard(corpus, vocabulary_folder, tmp_path / "out", **{option: value})


def test_a_missing_vocabulary_is_told(corpus: Path, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"no vocabulary at .*nowhere"):
        shard(corpus, tmp_path / "nowhere", tmp_path / "out")


def test_an_output_that_is_a_file_is_refused(corpus: Path, vocabulary_folder: Path, tmp_path: Path) -> None:
    (tmp_path / "out").write_text("mine")
    with pytest.raises(ValueError, match="is a file"):
        learn(corpus, tmp_path / "out")
    with pytest.raises(ValueError, match="is a file"):
        shard(corpus, vocabulary_folder, tmp_path / "out")
    assert (tmp_path / "out").read_text() == "mine"


def run_python(*arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run([sys.executable, *arguments], capture_output=True, text=True, cwd=ROOT, check=False)


@pytest.mark.parametrize("name", ["train_bpe", "report_vocabulary", "write_shards", "inspect_shards"])
def test_help_comes_at_once(name: str) -> None:
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    done = run_python(f"tokenizer/{name}.py", "--help")
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    assert (done.returncode, "usage" in done.stdout) == (0, True)
    assert after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime < 2  # however busy the machine


def test_a_mistake_is_one_line_and_a_non_zero_exit(tmp_path: Path) -> None:
    done = run_python(
        "tokenizer/train_bpe.py", "--corpus", str(tmp_path / "no"), "--output", str(tmp_path / "out")
    )
    assert done.returncode == 1
    assert re.fullmatch(r"error: no corpus at .*\n", done.stderr)


def test_no_module_imports_torch() -> None:
    paths = sorted((ROOT / "tokenizer").rglob("[a-z]*.py"))
    modules = ", ".join(".".join(path.relative_to(ROOT).with_suffix("").parts) for path in paths)
    done = run_python(
        "-c", f"import sys, {modules}; print([m for m in ('torch', 'ray') if m in sys.modules])"
    )
    assert (done.stdout, done.stderr) == ("[]\n", "")


FULL_DISK = """
mount -t tmpfs -o size=150k none $1 || exit 99
"$2" tokenizer/write_shards.py --corpus $3 --vocabulary $4 --output $1/out >&2; echo exit code $?
ls $1/out
"""


def test_a_disk_that_fills_up_is_told_and_leaves_no_shards(
    corpus: Path, vocabulary_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("RAY_ADDRESS", "local")  # whatever `ray start` another test has left word of
    (tmp_path / "disk").mkdir()
    paths = [str(path) for path in (tmp_path / "disk", sys.executable, corpus, vocabulary_folder)]
    command = ["unshare", "--map-root-user", "--mount", "sh", "-c", FULL_DISK, "sh", *paths]
    try:
        done = subprocess.run(command, capture_output=True, text=True, cwd=ROOT, check=False)
    except FileNotFoundError:
        pytest.skip("no unshare here")
    if not done.stdout:
        pytest.skip(f"no disk can be mounted here: {done.stderr}")
    assert done.stdout.splitlines() == ["exit code 1"], done.stderr
    assert re.search(r"^error: stage .*No space left on device", done.stderr, re.MULTILINE)


def test_ids_that_nanogpt_cannot_read_are_not_written_for_it(tmp_path: Path) -> None:
    pairs = itertools.product(range(256), repeat=2)
    merges = [(bytes([left]), bytes([right])) for left, right in pairs][: 2**16 - 256]
    for name, content in Vocabulary(merges).files().items():
        (tmp_path / name).write_text(content)
    options = write_shards.ShardOptions(
        corpus=str(tmp_path), vocabulary=str(tmp_path), output=str(tmp_path / "out"), format="nanogpt"
    )
    with pytest.raises(ValueError, match="nanoGPT reads 16-bit ids, but the vocabulary has 65,537 entries"):
        write_shards.main(options)
