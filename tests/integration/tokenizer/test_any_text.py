"""Texts of any kind become the same vocabulary and shards, whatever they come in and in which order."""

import gzip
import json
import random
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import zstandard

from pipeline.sources.options import TextOptions
from tokenizer import train_bpe, write_shards
from tokenizer.bpe.vocabulary import load_vocabulary
from tokenizer.shards.folder import open_shards

pytestmark = pytest.mark.usefixtures("ray")


def run(corpus: Path | str, output: Path, **text: object) -> dict[str, bytes]:
    """Both commands; every file that they publish but for the options."""
    options = TextOptions(**text)
    train_bpe.main(
        train_bpe.TrainOptions(corpus=str(corpus), output=str(output / "v"), vocab_size=400, text=options)
    )
    write_shards.main(
        write_shards.ShardOptions(
            corpus=str(corpus),
            vocabulary=str(output / "v"),
            output=str(output / "s"),
            shard_tokens=20_000,
            text=options,
        )
    )
    paths = [path for name in "vs" for path in (output / name).iterdir() if path.is_file()]
    return {f"{p.parent.name}/{p.name}": p.read_bytes() for p in paths if p.name != "options.json"}


def as_parquet(folder: Path, texts: list[str], files: int) -> Path:
    folder.mkdir()
    for number in range(files):
        pq.write_table(pa.table({"text": texts[number::files]}), folder / f"{number:03d}.parquet")
    return folder


def as_mixture(folder: Path, texts: list[str]) -> Path:
    """A third each as JSON Lines, compressed in two ways, and a saved data set."""
    (folder / "deep").mkdir(parents=True)
    first, second, third = (texts[part::3] for part in range(3))
    lines = [json.dumps({"text": text}, ensure_ascii=bool(n % 2)) for n, text in enumerate(first)]
    (folder / "a.jsonl.gz").write_bytes(gzip.compress("\n".join(lines).encode()))
    lines = [json.dumps({"more": 1, "text": text}) for text in second]
    (folder / "deep" / "b.ndjson.zst").write_bytes(zstandard.compress("\r\n".join(lines).encode()))
    from datasets import Dataset, disable_progress_bars

    disable_progress_bars()
    Dataset.from_dict({"text": third}).save_to_disk(str(folder / "saved"))
    return folder


@pytest.fixture(scope="module")
def plain(tmp_path_factory: pytest.TempPathFactory, texts: list[str]) -> dict[str, bytes]:
    """What the commands make of the texts, as Parquet with nothing but a text, as OpenWebText's."""
    folder = tmp_path_factory.mktemp("plain")
    return run(as_parquet(folder / "corpus", texts, 2), folder)


def test_what_the_texts_come_in_and_their_order_change_no_byte(
    tmp_path: Path, texts: list[str], plain: dict[str, bytes]
) -> None:
    shuffled = random.Random(1).sample(texts, len(texts))
    assert run(as_mixture(tmp_path / "corpus", shuffled), tmp_path / "out") == plain


def test_a_folder_of_text_files_becomes_the_same(
    tmp_path: Path, texts: list[str], plain: dict[str, bytes], capsys: pytest.CaptureFixture[str]
) -> None:
    for number, text in enumerate(random.Random(2).sample(texts, len(texts))):
        path = tmp_path / "corpus" / f"{number % 7}" / f"{number}.txt"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(text.encode())
    (tmp_path / "corpus" / "latin-1.txt").write_bytes(b"caf\xe9")
    (tmp_path / "corpus" / "README.md").write_text("no text of the corpus")
    assert run(tmp_path / "corpus", tmp_path / "out") == plain
    told = capsys.readouterr().out
    assert told.count("1 bad encoding") == 2
    assert "partitions" not in told
    assert len(list((tmp_path / "out" / "v" / ".stages" / "count").iterdir())) == 2  # one task, its marker


def test_a_small_corpus_has_ten_documents_for_validation_and_equal_texts_stay_together(
    plain: dict[str, bytes], texts: list[str], tmp_path: Path
) -> None:
    splits = json.loads(plain["s/shards.json"])["splits"]
    assert splits["validation"]["documents"] == 10
    assert splits["train"]["documents"] == len(texts) - 10
    half = run(as_parquet(tmp_path / "twice", [*texts, *texts], 3), tmp_path / "out", validation_share=0.5)
    halves = json.loads(half["s/shards.json"])["splits"]
    documents = [halves[split]["documents"] for split in ("train", "validation")]
    assert sum(documents) == 2 * len(texts)
    assert all(number % 2 == 0 for number in documents)


def test_odd_rows_are_counted_and_told_by_both_commands(
    tmp_path: Path, texts: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    rows = [json.dumps({"text": text}) for text in texts]
    rows += ['{"text": null}', '{"text": 3}', '{"text": "cut', ""]
    whole = gzip.compress("\n".join(json.dumps({"text": f"{n * 7919}"}) for n in range(3000)).encode())
    (tmp_path / "corpus").mkdir()
    (tmp_path / "corpus" / "a.jsonl").write_text("\n".join(rows))
    (tmp_path / "corpus" / "b.jsonl.gz").write_bytes(whole[: len(whole) // 2])
    run(tmp_path / "corpus", tmp_path / "out")
    told = [line for line in capsys.readouterr().out.splitlines() if line.startswith("no document")]
    assert len(told) == 2
    for line in told:
        assert line.endswith("rows: 1 broken JSON line, 1 damaged file, 1 no text, 1 not text")


def test_finewebs_folder_with_a_split_in_its_names_is_taken_as_told(tmp_path: Path, texts: list[str]) -> None:
    (tmp_path / "data").mkdir()
    for name, part in (("train-00000-of-00001", texts[20:]), ("validation-00000-of-00001", texts[:20])):
        rows = [
            {"text": text, "id": f"<urn:uuid:{n}>", "dump": "CC-MAIN-2024-10", "language_score": 0.9}
            for n, text in enumerate(part)
        ]
        pq.write_table(pa.Table.from_pylist(rows), tmp_path / "data" / f"{name}.parquet")
    files = run(tmp_path / "data", tmp_path / "out")
    splits = json.loads(files["s/shards.json"])["splits"]
    assert [splits[split]["documents"] for split in splits] == [len(texts) - 20, 20]
    with pytest.raises(ValueError, match="has a validation split already"):
        run(tmp_path / "data", tmp_path / "again", validation_share=0.1)


def test_a_file_with_separators_is_cut_into_its_stories(tmp_path: Path, texts: list[str]) -> None:
    stories = [text.strip("\r\n") for text in texts if "<|endoftext|>" not in text]
    (tmp_path / "stories.txt").write_text("\n<|endoftext|>\n".join(stories), newline="")
    options = {"document_separator": "<|endoftext|>", "validation_share": 0.0}
    files = run(tmp_path / "stories.txt", tmp_path / "out", **options)
    assert json.loads(files["s/shards.json"])["splits"]["train"]["documents"] == len(stories)
    shards, vocabulary = (
        open_shards(str(tmp_path / "out" / "s")),
        load_vocabulary(str(tmp_path / "out" / "v")),
    )
    ids = shards.open("train").read(*shards.document("train", 0)).tolist()
    first = b"".join(vocabulary.tokens[n] for n in ids if n != vocabulary.end_of_text).decode()
    assert any(story.startswith(first[:20]) for story in stories)


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("a.jsonl", b'{"body": "x"}', "no field 'text' among body: name it by --text-column"),
        ("a.parquet", b"PAR1", r"cannot read .*a\.parquet"),
        ("a.txt", b"", "no text in .*: left out 1 of 1 rows: 1 no text"),
        ("a.jsonl", b"\xff\xff\n[]\n", "left out 2 of 2 rows: 2 broken JSON line"),
    ],
)
def test_a_corpus_without_any_text_is_one_plain_error(
    tmp_path: Path, name: str, content: bytes, message: str
) -> None:
    (tmp_path / name).write_bytes(content)
    with pytest.raises(ValueError, match=message):
        run(tmp_path, tmp_path / "out")
