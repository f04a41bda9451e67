"""Which files of a folder are its texts, of what kind, and on which side of a split."""

import json
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from pipeline.sources.files import check_fields, find_text_files, kind_of


def make(folder: Path, *names: str) -> Path:
    for name in names:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(b"")
    return folder


def sides(address: Path | str, output: str = "") -> tuple[list[str], list[str]]:
    found = find_text_files(str(address), output)
    root = Path(str(address).partition("*")[0])
    base = root if root.is_dir() else root.parent
    train, validation = (
        sorted(Path(name).relative_to(base).as_posix() for name in found.by_side[side])
        for side in ("train", "validation")
    )
    return train, validation


@pytest.mark.parametrize(
    ("name", "kind"),
    [
        ("a.parquet", "Parquet"),
        ("a.arrow", "Arrow"),
        ("a.jsonl", "JSON Lines"),
        ("a.JSONL.GZ", "JSON Lines"),
        ("c4-train.00000-of-01024.json.gz", "JSON Lines"),
        ("a.ndjson.zst", "JSON Lines"),
        ("a.txt.xz", "plain text"),
        ("a.txt", "plain text"),
        ("enwik8", "plain text"),
        ("s3://bucket/a.jsonl.zst?key=1", "JSON Lines"),
    ],
)
def test_a_name_says_what_a_file_holds(name: str, kind: str) -> None:
    assert kind_of(name) == kind


@pytest.mark.parametrize(
    ("names", "train", "validation"),
    [
        # no split is told
        (["a.txt", "b/c.txt.gz", "notes.md", ".hidden.txt"], ["a.txt", "b/c.txt.gz"], []),
        (["train.txt"], ["train.txt"], []),
        (["my-train-journey.txt", "valid.txt", "letters.txt"], "all", []),
        (["test.txt", "valid.txt"], "all", []),
        # file names tell it
        (["train.txt", "valid.txt"], ["train.txt"], ["valid.txt"]),
        (["Tiny-train.txt", "Tiny-valid.txt"], ["Tiny-train.txt"], ["Tiny-valid.txt"]),
        (
            ["data/train-00000-of-00002.parquet", "data/train-00001-of-00002.parquet"],
            "all",
            [],
        ),
        (["train_0.jsonl", "val_0.jsonl", "test_0.jsonl"], ["train_0.jsonl"], ["val_0.jsonl"]),
        (["train_0.jsonl", "test_0.jsonl"], ["train_0.jsonl"], ["test_0.jsonl"]),
        # folders tell it, and what is in none of them is left out
        (["train/a.txt", "dev/b.txt", "drops/c.txt", "d.txt"], ["train/a.txt"], ["dev/b.txt"]),
        (["train/a.txt", "drops/c.txt"], ["train/a.txt"], []),
        (["x/train/a.jsonl", "x/test/a.jsonl", "x/valid/a.jsonl"], ["x/train/a.jsonl"], ["x/valid/a.jsonl"]),
        # .json is text only where nothing else is
        (["a.jsonl", "info.json"], ["a.jsonl"], []),
        (["a.json.gz", "b.json"], "all", []),
    ],
)
def test_folders_or_names_tell_the_split(
    tmp_path: Path, names: list[str], train: list[str] | str, validation: list[str]
) -> None:
    make(tmp_path, *names)
    assert sides(tmp_path) == (sorted(names) if train == "all" else train, validation)


def test_the_name_of_a_folder_above_the_corpus_tells_no_split(tmp_path: Path) -> None:
    make(tmp_path / "train" / "mine", "a.txt", "b.txt")
    make(tmp_path / "test" / "mine", "c.txt")
    assert sides(tmp_path / "train" / "mine") == (["a.txt", "b.txt"], [])
    assert sides(tmp_path / "test" / "mine") == (["c.txt"], [])


def test_a_glob_and_a_file_are_taken_as_they_are(tmp_path: Path) -> None:
    make(tmp_path, "a.txt", "b.txt", "c.jsonl", "d.text")
    assert sides(f"{tmp_path}/*.txt") == (["a.txt", "b.txt"], [])
    assert sides(f"{tmp_path}/*.text") == (["d.text"], [])
    assert sides(tmp_path / "d.text") == (["d.text"], [])


def test_results_inside_the_folder_are_no_texts(tmp_path: Path) -> None:
    make(tmp_path, "a.txt", "out/merges.txt", "out/x/b.txt", "outside.txt")
    assert sides(tmp_path, output=str(tmp_path / "out")) == (["a.txt", "outside.txt"], [])


def test_our_own_layout_is_known_by_its_train_folder(tmp_path: Path) -> None:
    for side in ("train", "validation"):
        (tmp_path / side).mkdir()
        pq.write_table(pa.table({"text": ["a"]}), tmp_path / side / "part-00000.parquet")
    found = find_text_files(str(tmp_path))
    assert (found.is_own_layout, found.tells_split) == (True, True)


def saved(folder: Path, *names: str, **more: object) -> None:
    """What `datasets` keeps of a data set on disk."""
    state = {"_data_files": [{"filename": name} for name in names], "_fingerprint": "1", **more}
    (folder / "state.json").write_text(json.dumps(state))
    (folder / "dataset_info.json").write_text("{}")


def test_a_saved_data_set_is_read_by_its_list(tmp_path: Path) -> None:
    make(tmp_path, "data-00000-of-00001.arrow", "cache-0123.arrow")
    saved(tmp_path, "data-00000-of-00001.arrow")
    assert sides(tmp_path) == (["data-00000-of-00001.arrow"], [])


@pytest.mark.parametrize(
    ("names", "more", "message"),
    [
        (["data-1.arrow"], {}, "names data-1.arrow, which is not there"),
        (["../x.arrow"], {}, r"names \.\./x.arrow, which is not there"),
        ([], {"_data_files": "x"}, "does not describe a saved data set"),
        ([], {"_data_files": [[]]}, "does not describe a saved data set"),
        (["data-0.arrow"], {"_indices_data_files": [{"filename": "i"}]}, "save it again"),
    ],
)
def test_an_odd_list_of_a_saved_data_set_is_told(
    tmp_path: Path, names: list[str], more: dict[str, object], message: str
) -> None:
    make(tmp_path, "data-0.arrow")
    saved(tmp_path, *names, **more)
    with pytest.raises(ValueError, match=message):
        find_text_files(str(tmp_path))


@pytest.mark.parametrize("name", ["nothing", "empty", "*.txt"])
def test_nothing_to_read_is_told(tmp_path: Path, name: str) -> None:
    make(tmp_path / "empty", "picture.png")
    with pytest.raises(ValueError, match=r"^no (corpus|text)"):
        find_text_files(str(tmp_path / name))


def test_a_field_that_no_row_has_is_told_with_those_there_are(tmp_path: Path) -> None:
    file = tmp_path / "a.jsonl"
    file.write_text('{"content": "x"}\n{"meta": 1}\nbroken\n')
    with pytest.raises(ValueError, match="no field 'text' among content, meta: name it by --text-column"):
        check_fields(str(file), "text")
    check_fields(str(file), "content")
    file.write_text('{"content": "x"}\n{"text": "late"}\n')
    check_fields(str(file), "text")
