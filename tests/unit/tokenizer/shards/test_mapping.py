import gc
import resource
from pathlib import Path

import numpy as np
import pytest

from tokenizer.shards.formats import open_tokens
from tokenizer.shards.mapping import map_file


def test_more_shards_are_open_than_a_process_may_have_files(tmp_path: Path) -> None:
    for number in range(80):
        np.arange(number, number + 5, dtype="<u2").tofile(tmp_path / f"{number}.bin")
    before = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (len(list(Path("/proc/self/fd").iterdir())) + 20, before[1]))
    try:
        shards = [open_tokens(tmp_path / f"{number}.bin", "nanogpt", "uint16") for number in range(80)]
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, before)
    assert [int(shard[-1]) for shard in shards] == list(range(4, 84))


def test_a_slice_keeps_the_file_mapped_and_the_last_one_gone_frees_it(tmp_path: Path) -> None:
    path = tmp_path / "train.bin"
    np.arange(100_000, dtype="<u4").tofile(path)

    def is_mapped() -> bool:
        return str(path) in Path("/proc/self/maps").read_text()

    some = np.frombuffer(map_file(path, path.stat().st_size), "<u4")[99_990:]
    gc.collect()
    assert is_mapped() and some.tolist() == list(range(99_990, 100_000))
    with pytest.raises(ValueError, match="read-only"):
        some[0] = 1
    del some
    gc.collect()
    assert not is_mapped()


def test_what_cannot_be_mapped_is_an_error(tmp_path: Path) -> None:
    (tmp_path / "empty").write_bytes(b"")
    with pytest.raises(OSError, match="Invalid argument"):
        map_file(tmp_path / "empty", 0)
    with pytest.raises(FileNotFoundError):
        map_file(tmp_path / "none", 1)
