"""Training from and to a store: machines go, lines break, and the result is that of a run on a disk."""

import random
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from preempted_training import Blow, Proof

from launch import export, generate
from launch.export import ExportOptions
from launch.generate import GenerateOptions
from pipeline.runner import storage
from pipeline.runner.lock import locked
from trainer.checkpoint.folder import find_checkpoint, read_weights
from trainer.pretrained.loaded_model import ModelOptions
from trainer.pretrained.weights import open_weights

RUN = "s3://test-store/run-0"
pytestmark = [pytest.mark.slow, pytest.mark.timeout(300)]


@pytest.fixture(scope="module")
def proof(s3_server: Any, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Proof]:
    """Shards on an S3 server, and what training on them gives undisturbed on a disk."""
    yield Proof(tmp_path_factory.mktemp("proof"), "s3://test-store", random.Random(0), steps=5)
    s3_server.heal()


@pytest.fixture(scope="module")
def printed(proof: Proof, s3_server: Any) -> str:
    """What a run says that is killed on two machines while it sends a checkpoint, and goes on on a third."""
    s3_server.loses_each, s3_server.breaks_each, s3_server.refuses_each = 29, 301, 37
    before, blows, apart = s3_server.lost, [Blow(passes=1)], [False, True]
    printed = proof.train_under_blows(lambda: blows.pop() if blows else None, is_apart=apart.pop)
    assert not blows and not apart
    assert s3_server.lost - before > 2, "no connection was lost"
    s3_server.heal()
    return printed


def test_a_run_killed_on_two_machines_while_it_sends_goes_on_on_a_third_to_the_same_bits(
    printed: str,
) -> None:
    """The proof compares weights, moments and metrics."""
    assert printed.count("resuming after step") == 1
    assert "Traceback" not in printed


@pytest.mark.usefixtures("printed")
def test_a_second_run_into_an_address_is_refused_and_another_run_is_not_resumed_there(proof: Proof) -> None:
    with locked(RUN):
        fleet = proof.start_on(proof.new_machine(apart=False), RUN, apart=False)
        assert fleet.wait() == [1, 0]
        printed = fleet.printed.read_text()
        assert printed.count("error: another run (process") == 1
    fleet = proof.start_on(proof.new_machine(apart=True), RUN, ["--seed", "8"], apart=True)
    assert fleet.wait() == [1, 1]
    printed = fleet.printed.read_text()
    assert printed.count(f"error: --output {RUN} holds a run with another --seed: 1337 there, 8 here") == 2


@pytest.mark.usefixtures("printed")
def test_what_is_on_a_store_is_exported_to_it_and_continued_from_it(
    proof: Proof, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    scratch, model = str(tmp_path / "scratch"), "s3://test-store/model"
    options = ExportOptions(checkpoint=RUN, output=model, scratch=scratch)
    export.main(options)
    export.main(replace(options, checkpoint=model, output=str(tmp_path / "copy")))
    trained = read_weights(find_checkpoint(proof.undisturbed))
    assert (open_weights(tmp_path / "copy").padded()["wpe.weight"] == trained["wpe.weight"]).all()
    with pytest.raises(ValueError, match=r"--output s3://test-store contains the --checkpoint"):
        export.main(replace(options, output="s3://test-store"))
    with pytest.raises(ValueError, match=r"--output s3://test-store/shards is not an exported model"):
        export.main(replace(options, output="s3://test-store/shards"))

    capsys.readouterr()
    texts = []
    for source in (RUN, f"{RUN}/{storage_newest(RUN)}", model, str(proof.undisturbed)):
        generate.main(
            GenerateOptions(source=ModelOptions(model=source, scratch=scratch, device="cpu"), prompt="a")
        )
        texts.append(capsys.readouterr().out)
    assert len(set(texts)) == 1
    assert not list((tmp_path / "scratch").rglob("exp_avg*")), "moments were fetched for a model"


def storage_newest(run: str) -> str:
    return max(name.partition("/")[0] for name in storage.file_sizes(run) if name.endswith("/complete"))
