import json
import shutil
import signal
import sys
from pathlib import Path

import pytest
import torch

from trainer.checkpoint.folder import finished_checkpoints, read_weights
from trainer.config.options import TrainingOptions
from trainer.distributed.preemption import STOPPED
from trainer.distributed.ranks import Ranks
from trainer.training.setup import prepare

# The first test waits for runs that later ones share.
pytestmark = pytest.mark.timeout(300)

TIMING = ("seconds", "tokens_per_second", "mfu", "memory_bytes")


def read_metrics(run: Path) -> list[dict[str, float]]:
    """All records of a run but for how long they took."""
    records = [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]
    return [{key: value for key, value in record.items() if key not in TIMING} for record in records]


def weights(run: Path) -> dict[str, torch.Tensor]:
    return read_weights(finished_checkpoints(run)[-1])


def test_the_runs_were_interrupted_before_their_end(stage_0, stage_3):
    assert stage_0.interruption[0] == [-signal.SIGKILL, -signal.SIGKILL]
    codes, printed = stage_3.interruption
    assert codes == [STOPPED, STOPPED]
    assert "stopped on request (exit code 75): run the same command to resume" in printed
    assert "step 6 of 6" not in printed


def tensor_files(run: Path) -> dict[str, bytes]:
    """Weights and moments of the last checkpoint, as they lie on disk."""
    return {path.name: path.read_bytes() for path in finished_checkpoints(run)[-1].glob("*.safetensors")}


def test_resume_after_an_interruption_gives_identical_weights_and_moments(runs):
    whole = tensor_files(runs.whole)
    assert len(whole) == 3
    assert tensor_files(runs.resumed) == whole


def test_resume_after_an_interruption_gives_identical_metrics(runs):
    records = read_metrics(runs.whole)
    assert [record["step"] for record in records if "loss" in record] == list(range(1, 7))
    assert read_metrics(runs.resumed) == records


def test_a_run_with_muon_goes_on_bit_for_bit_and_says_what_it_is(launcher, inputs, options_of, tmp_path):
    whole, resumed = (
        [*options_of(inputs, tmp_path / name, zero_stage=2), "--optimizer", "muon"]
        for name in ("whole", "resumed")
    )
    codes, printed = launcher.train(whole, ranks=2)
    assert codes == [0, 0], printed
    assert "Muon           for the matrices inside the blocks, with the same lr and weight decay" in printed
    marker = tmp_path / "resumed/step_00000002/complete"
    assert launcher.train(resumed, ranks=2, stop=signal.SIGKILL, once=marker)[0] == [-signal.SIGKILL] * 2
    codes, printed = launcher.train(resumed, ranks=2)
    assert codes == [0, 0], printed
    assert tensor_files(tmp_path / "resumed") == tensor_files(tmp_path / "whole")
    assert read_metrics(tmp_path / "resumed") == read_metrics(tmp_path / "whole")
    records = read_metrics(tmp_path / "whole")
    losses = [record["validation_loss"] for record in records if "validation_loss" in record]
    assert losses[-1] < losses[0] - 0.5


def test_the_texts_that_a_run_writes_depend_neither_on_interruptions_nor_on_ranks(runs, alone):
    whole = (runs.whole / "samples.jsonl").read_bytes()
    assert (runs.resumed / "samples.jsonl").read_bytes() == whole
    samples = [json.loads(line) for line in whole.splitlines()]
    assert [(sample["step"], sample["prompt"]) for sample in samples] == [
        (step, prompt) for step in (0, 3, 6) for prompt in ("", "The ")
    ]
    assert all(len(sample["text"]) > 10 for sample in samples)
    assert (alone / "samples.jsonl").read_bytes().splitlines()[:2] == whole.splitlines()[:2]


def test_a_run_keeps_a_page_of_its_curves_and_texts(runs):
    html = (runs.whole / "run.html").read_text()
    assert "http-equiv" not in html and "<script" not in html
    assert html.count("<svg") == 6  # no MFU on a CPU
    for text in ("finished", "Loss, nats per token", "What the model writes", "step 6", "1,024"):
        assert text in html


def test_the_loss_falls(runs):
    losses = [record["validation_loss"] for record in read_metrics(runs.whole) if "validation_loss" in record]
    assert losses[0] == pytest.approx(6.23, abs=0.1)  # ln 509: an untrained model knows nothing
    assert losses[-1] < losses[0] - 0.5


def test_ranks_accumulation_and_sharding_do_not_change_the_training(stage_0, stage_3, alone):
    expected = read_metrics(alone)
    for run in (stage_0.whole, stage_3.whole):
        for record, reference in zip(read_metrics(run), expected, strict=True):
            assert record == pytest.approx(reference, rel=1e-4)
    one, two, sharded = weights(alone), weights(stage_0.whole), weights(stage_3.whole)
    for name in one:
        torch.testing.assert_close(two[name], one[name], rtol=0, atol=2e-4)
        torch.testing.assert_close(sharded[name], one[name], rtol=0, atol=2e-4)


@pytest.mark.parametrize("mode", ["selective", "block"])
def test_recomputation_changes_no_bit_of_a_sharded_run(launcher, inputs, stage_3, tmp_path, mode):
    output = tmp_path / "run"
    options = f"""
        --data {inputs.shards} --output {output} --zero-stage 3 --activation-checkpointing {mode}
        --size nano --steps 6 --global-batch-tokens 1024 --micro-batch 1 --learning-rate 4e-3
        --warmup-steps 2 --evaluate-every 3 --evaluation-tokens 1000 --sample-every 0
    """
    codes, printed = launcher.train(options.split(), ranks=2)
    assert codes == [0, 0], printed
    assert read_metrics(output) == read_metrics(stage_3.whole)
    expected, found = weights(stage_3.whole), weights(output)
    assert all(torch.equal(found[name], expected[name]) for name in expected)


def test_bf16_with_recomputation_trains_nearly_as_fp32_does(launcher, inputs, alone, tmp_path):
    options = f"""
        --data {inputs.shards} --output {tmp_path / "run"} --steps 6 --global-batch-tokens 1024
        --learning-rate 4e-3 --warmup-steps 2 --evaluate-every 3 --evaluation-tokens 1000
        --sample-every 0 --precision bf16 --activation-checkpointing block
    """
    codes, printed = launcher.train(options.split(), ranks=2)
    assert codes == [0, 0], printed
    for record, reference in zip(read_metrics(tmp_path / "run"), read_metrics(alone), strict=True):
        name = "loss" if "loss" in record else "validation_loss"
        assert record[name] == pytest.approx(reference[name], rel=5e-3)
    assert read_metrics(tmp_path / "run") != read_metrics(alone)


def test_a_loss_that_is_no_number_ends_the_run_and_keeps_its_checkpoints(launcher, inputs, tmp_path):
    options = f"""
        --data {inputs.shards} --output {tmp_path / "run"} --steps 50 --global-batch-tokens 512
        --warmup-steps 0 --learning-rate 1e30 --gradient-clip 0 --checkpoint-every 1 --evaluate-every 0
    """
    codes, printed = launcher.train(options.split(), ranks=2)
    assert codes == [1, 0]
    assert printed.count("error: the last 10 updates up to step") == 1
    assert printed.count("update skipped") == 10
    assert "a smaller --learning-rate than 1e+30" in printed
    assert "Traceback" not in printed
    assert finished_checkpoints(tmp_path / "run")


def test_the_run_says_what_it_does(stage_0):
    assert "2 ranks × 1 sequences × 256 tokens × 2 accumulated = 1,024 tokens" in stage_0.printed
    assert "GPT-2 nano: 4 layers" in stage_0.printed
    *_, losses, checkpoint, page = stage_0.printed.splitlines()
    assert losses.startswith("last validation loss") and checkpoint.startswith("checkpoint ")
    assert page == f"charts and samples {stage_0.whole / 'run.html'}"
    assert "Traceback" not in stage_0.printed
    assert "INFO" not in stage_0.printed


def test_a_finished_run_has_nothing_left_to_do(launcher, inputs, alone):
    options = f"""
        --data {inputs.shards} --output {alone} --steps 6 --global-batch-tokens 1024
        --learning-rate 4e-3 --warmup-steps 2 --zero-stage 0
    """
    code, printed = launcher.run(sys.executable, "launch/pretrain.py", *options.split())
    assert code == 0
    assert printed.startswith("nothing to do")
    assert len(printed.splitlines()) == 1


def test_a_mistake_is_told_once_in_one_line_and_ends_all_ranks(launcher, inputs, tmp_path):
    options = ["--size", "huge", "--data", inputs.shards, "--output", tmp_path / "run"]
    code, printed = launcher.run(
        "deepspeed", "--quiet", "--num_accelerators", 2, "launch/pretrain.py", *options
    )
    assert code == 1
    assert printed.count("error: unknown size 'huge': choose one of micro, nano, small, medium, large") == 1
    assert "Traceback" not in printed
    assert not (tmp_path / "run").exists()


def prepare_alone(inputs, output: Path, **options: object) -> None:
    """Check options as the command does before it trains."""
    values = {"data": str(inputs.shards), "output": str(output), **options}
    prepare(TrainingOptions(**values), Ranks(rank=0, size=1, local_rank=0, local_size=1))


def test_preparing_writes_nothing(inputs, tmp_path):
    prepare_alone(inputs, tmp_path / "run")
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"seed": 1}, "another --seed: 1337 there, 1 here"),
        ({"optimizer": "muon"}, "another --optimizer: adamw there, muon here"),
        ({"learning_rate": 1e-3}, "another --learning-rate: 0.004 there, 0.001 here"),
        ({"steps": 9}, "another --steps: 6 there, 9 here"),
        ({"global_batch_tokens": 2048}, "another --global-batch-tokens: 1024 there, 2048 here"),
    ],
)
def test_an_output_of_a_run_with_other_options_is_refused(inputs, stage_0, options, message):
    before = sorted(path.name for path in stage_0.whole.rglob("*"))
    given = {
        "steps": 6,
        "global_batch_tokens": 1024,
        "learning_rate": 4e-3,
        "warmup_steps": 2,
        "zero_stage": 0,
    }
    with pytest.raises(ValueError, match=message):
        prepare_alone(inputs, stage_0.whole, **{**given, **options})
    assert sorted(path.name for path in stage_0.whole.rglob("*")) == before


def test_a_run_from_before_there_was_a_choice_of_optimizers_goes_on_with_adamw(inputs, stage_0, tmp_path):
    run, options = tmp_path / "run", {"steps": 6, "global_batch_tokens": 1024, "learning_rate": 4e-3}
    shutil.copytree(stage_0.whole, run)
    written = json.loads((run / "options.json").read_text())
    del written["identity"]["optimizer"], written["plan"]["optimizer"]
    (run / "options.json").write_text(json.dumps(written))
    prepare_alone(inputs, run, warmup_steps=2, **options)
    with pytest.raises(ValueError, match="another --optimizer: adamw there, muon here"):
        prepare_alone(inputs, run, warmup_steps=2, optimizer="muon", **options)


def test_a_run_on_other_data_is_refused(inputs, stage_0, tmp_path):
    other = tmp_path / "shards"
    shutil.copytree(inputs.shards, other)
    content = (other / "shards.json").read_text()
    (other / "shards.json").write_text(content.replace('"seed": 0', '"seed": 1'))
    options = {"steps": 6, "global_batch_tokens": 1024, "learning_rate": 4e-3, "zero_stage": 0}
    with pytest.raises(ValueError, match="another --data"):
        prepare_alone(inputs, stage_0.whole, data=str(other), warmup_steps=2, **options)


def test_a_run_goes_on_with_other_ranks_another_stage_and_another_micro_batch(
    launcher, inputs, alone, stage_0, options_of, tmp_path
):
    run = tmp_path / "run"
    shutil.copytree(stage_0.whole, run)
    for step in (4, 6):
        (run / f"step_{step:08d}/complete").unlink()
    options = options_of(inputs, run, zero_stage=3, micro_batch=2)
    codes, printed = launcher.train(options, ranks=1)
    assert codes == [0], printed
    assert "resuming after step 2" in printed
    for record, reference in zip(read_metrics(run), read_metrics(alone), strict=True):
        assert record == pytest.approx(reference, rel=1e-4)


def test_too_little_text_for_one_batch_is_named(inputs, tmp_path):
    with pytest.raises(ValueError, match=r"too little data: [\d,]+ tokens, \d+ sequences of 256"):
        prepare_alone(inputs, tmp_path / "run", global_batch_tokens=1024 * 1024)
