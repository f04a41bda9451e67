"""Nobody sees half a file or folder, on a local disk or on an object store."""

from pathlib import Path

import pytest

from pipeline.runner import storage


@pytest.fixture(params=["disk", "memory"])
def root(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """A local folder, and an fsspec address that is no local path."""
    return str(tmp_path) if request.param == "disk" else f"memory://{tmp_path.name}"


def test_text_is_replaced_as_a_whole(root: str) -> None:
    address = storage.join(root, "a", "note.txt")
    storage.write_text(address, "first")
    storage.write_text(address, "second")
    assert storage.read_text(address) == "second"
    assert storage.list_files(storage.join(root, "a")) == [address]


def test_folder_appears_only_when_it_is_complete(root: str) -> None:
    address = storage.join(root, "folder")
    with storage.new_folder(address) as folder:
        (folder / "sub").mkdir()
        (folder / "sub" / "x.txt").write_text("x")
        assert not storage.exists(address)
    assert storage.read_text(storage.join(address, "sub", "x.txt")) == "x"


def test_failed_folder_leaves_the_old_one(root: str) -> None:
    address = storage.join(root, "folder")
    with storage.new_folder(address) as folder:
        (folder / "x.txt").write_text("old")

    def fail() -> None:
        with storage.new_folder(address) as folder:
            (folder / "x.txt").write_text("new")
            raise RuntimeError("half-way")

    with pytest.raises(RuntimeError, match="half-way"):
        fail()
    assert storage.read_text(storage.join(address, "x.txt")) == "old"
    assert storage.list_files(root) == []


def test_new_folder_replaces_the_old_one_whole(root: str) -> None:
    address = storage.join(root, "folder")
    for name in ("old.txt", "new.txt"):
        with storage.new_folder(address) as folder:
            (folder / name).write_text(name)
    assert storage.list_files(address) == [storage.join(address, "new.txt")]


def test_leftovers_of_a_killed_attempt_are_removed(tmp_path: Path) -> None:
    (tmp_path / ".folder.0123abcd.partial").mkdir()
    with storage.new_folder(str(tmp_path / "folder")):
        pass
    assert [path.name for path in tmp_path.iterdir()] == ["folder"]


def test_published_folder_holds_files_from_elsewhere_and_texts(root: str) -> None:
    storage.write_text(storage.join(root, "stage", "x.txt"), "x")
    for name in ("old.txt", "new.txt"):
        storage.publish(
            {f"sub/{name}": storage.join(root, "stage", "x.txt")},
            {"printed.txt": name},
            storage.join(root, "out"),
        )
    assert storage.read_text(storage.join(root, "out", "sub", "new.txt")) == "x"
    assert storage.read_text(storage.join(root, "out", "printed.txt")) == "new.txt"
    assert not storage.exists(storage.join(root, "out", "sub", "old.txt"))


def test_files_are_found_by_file_folder_and_glob(root: str) -> None:
    for name in ("a.warc", "b.txt", ".hidden.warc", "sub/c.warc"):
        storage.write_text(storage.join(root, name), name)

    def names(*sources: str) -> list[str]:
        found = storage.find_files(sources, lambda name: name.endswith(".warc"), "WARC file")
        return [address.rsplit("/", 1)[-1] for address in found]

    assert names(root) == names(root, storage.join(root, "a.warc")) == ["a.warc", "c.warc"]
    assert names(storage.join(root, "b.txt")) == ["b.txt"]
    assert names(storage.join(root, "*.warc")) == ["a.warc"]
    with pytest.raises(ValueError, match=r"no WARC file at .*missing"):
        names(root, storage.join(root, "missing"))


def test_fingerprint_changes_with_the_file(root: str) -> None:
    address = storage.join(root, "a.txt")
    storage.write_text(address, "one")
    before = storage.fingerprint(address)
    assert storage.fingerprint(address) == before
    storage.write_text(address, "three")
    assert storage.fingerprint(address) != before


def test_unknown_kind_of_address_is_a_users_mistake() -> None:
    with pytest.raises(ValueError, match="nosuch://bucket"):
        storage.locate("nosuch://bucket/x")


def test_nothing_is_listed_where_nothing_is(root: str) -> None:
    assert storage.list_files(storage.join(root, "missing")) == []


def test_text_that_cannot_be_written_leaves_nothing_behind(tmp_path: Path) -> None:
    target = tmp_path / "printed.json"
    storage.write_text(str(target), "first")
    with pytest.raises(UnicodeEncodeError):
        storage.write_text(str(target), "second \ud800")
    assert [path.name for path in tmp_path.iterdir()] == ["printed.json"]
    assert target.read_text() == "first"
