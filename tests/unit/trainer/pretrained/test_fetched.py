"""What a store's listing names stays inside the scratch folder."""

from pathlib import Path

import fsspec
from fsspec.implementations.memory import MemoryFile, MemoryFileSystem

from trainer.pretrained.fetched import local_model


def test_no_name_on_a_store_leads_out_of_the_scratch_folder(tmp_path: Path) -> None:
    place = f"/bucket{tmp_path}"
    for name in ("config.json", "pytorch_model.bin", "pytorch_model/../../../../../../escaped.bin"):
        file = MemoryFile(fsspec.filesystem("memory"), f"{place}/{name}", b"{}")
        MemoryFileSystem.store[f"{place}/{name}"] = file  # as a store keeps names that no disk would
    folder = local_model(f"memory:/{place}", str(tmp_path / "scratch"))
    found = {path.name for path in folder.iterdir() if not path.name.startswith(".")}
    assert found == {"config.json", "pytorch_model.bin"}
    assert not list(tmp_path.rglob("escaped.bin"))
