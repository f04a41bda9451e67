import json
import re
import shlex
import subprocess
import sys
from pathlib import Path

import pytest
import tyro

from launch import plan
from trainer.config.options import TrainingOptions
from trainer.config.plan import resolve
from trainer.memory.choice import AvailableMemory, choose_layout, layout_of
from trainer.memory.estimate import GIB, predict
from trainer.memory.forecast import PlanOptions

ROOT = Path(__file__).resolve().parents[3]


def record(capsys: pytest.CaptureFixture[str], **options: object) -> dict:
    plan.main(PlanOptions(json=True, **options))
    return json.loads(capsys.readouterr().out)


def table(capsys: pytest.CaptureFixture[str], **options: object) -> str:
    plan.main(PlanOptions(**options))
    return capsys.readouterr().out


@pytest.mark.parametrize("size", ["small", "medium", "large", "xl"])
@pytest.mark.parametrize(("gpus", "gpu_memory"), [(1, 40.0), (1, 80.0), (2, 24.0), (8, 80.0), (16, 24.0)])
def test_the_command_it_gives_resolves_to_what_it_says_and_fits(capsys, size, gpus, gpu_memory):
    best = record(capsys, size=size, gpus=gpus, gpu_memory=gpu_memory)["recommended"]
    words = shlex.split(best["command"])
    hosts, arguments = (
        words[: words.index("launch/pretrain.py")],
        words[words.index("launch/pretrain.py") + 1 :],
    )
    assert hosts[0] == "deepspeed"
    assert ("--hostfile" in hosts) == (gpus > 8)
    options = tyro.cli(TrainingOptions, args=arguments, config=(tyro.conf.OmitArgPrefixes,))
    resolved = resolve(options, vocabulary=50_257, world_size=gpus, accelerator=True)
    available = AvailableMemory(
        device_bytes=int(gpu_memory * GIB), total_bytes=int(gpu_memory * GIB), accelerator=True
    )
    found = choose_layout(resolved, options, available, None).plan
    for name in ("zero_stage", "micro_batch", "recompute", "recompute_every", "accumulation_steps"):
        assert getattr(found, name) == best[name]
    assert predict(found.model, layout_of(found, accelerator=True)).total == best["peak_bytes"]
    assert sum(best["parts_bytes"].values()) == best["peak_bytes"] <= gpu_memory * GIB


def test_the_table_marks_what_fits_and_what_was_chosen_in_a_hundred_columns(capsys):
    printed = table(capsys, size="xl", gpus=8)
    rows = [line for line in printed.splitlines() if re.match(r" +\d? +(none|selective|block|offload)", line)]
    assert len(rows) == 4 * 5
    assert printed.count(">") == 2  # in the legend and in the table
    assert max(len(line) for line in printed.splitlines()) <= 100
    for row in rows:
        cells = re.findall(r"[·>]?\d+\.\d", row)
        assert len(cells) == 7
        for cell in cells:
            assert cell.startswith("·") == (float(cell.lstrip("·>")) > 80)


def test_muon_takes_four_bytes_less_of_each_weight_of_a_matrix_inside_a_block_and_is_in_the_command(capsys):
    adamw, muon = (record(capsys, size="small", optimizer=name)["recommended"] for name in ("adamw", "muon"))
    saved = adamw["parts_bytes"]["optimizer"] - muon["parts_bytes"]["optimizer"]
    assert saved == 4 * 12 * 12 * 768**2
    assert "--optimizer muon" in muon["command"]
    assert "--optimizer" not in adamw["command"]


def test_time_and_cost_follow_from_the_assumed_mfu(capsys):
    estimate = record(capsys, size="small", gpus=8, tokens=10**9, mfu=0.5, gpu_hour_dollars=2.0)
    estimate = estimate["recommended"]["estimate"]
    tokens = 10**9 // 524_288 * 524_288
    hours = tokens * 855_166_464 / (8 * 0.5 * 989.5e12) / 3600
    assert estimate["tokens"] == tokens
    assert estimate["hours"] == pytest.approx(hours)
    assert estimate["dollars"] == pytest.approx(8 * hours * 2.0)
    assert "Assumed: H100 SXM" in table(capsys, size="small")


def test_a_gpu_without_bf16_has_no_estimate(capsys):
    assert "No estimate of time: the T4 has no bf16 peak" in table(
        capsys, size="small", gpu="T4", gpu_memory=15
    )


def test_what_fits_nowhere_says_so_and_what_would_make_it_fit(capsys):
    printed = table(capsys, size="xl", gpus=1, gpu_memory=16.0)
    assert "Nothing fits" in printed
    assert re.search(r"a GPU of \d+ GiB", printed)
    assert "such GPUs at stage 3" in printed
    assert "deepspeed" not in printed
    assert record(capsys, size="xl", gpus=1, gpu_memory=16.0)["recommended"] is None


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"gpus": 0}, "--gpus is 0: it must be at least 1"),
        ({"gpu_memory": -80.0}, "--gpu-memory is -80.0: it must be above 0"),
        ({"gpu_memory": float("nan")}, "--gpu-memory is nan"),
        ({"size": "huge"}, "unknown size 'huge'"),
        ({"gpu": "H1000"}, "unknown GPU 'H1000': choose one of V100 SXM"),
        ({"mfu": 1.5}, "--mfu is 1.5: it must be at most 1"),
        ({"gpu_hour_dollars": -1.0}, "--gpu-hour-dollars is -1.0"),
        ({"global_batch_tokens": 1000}, "--global-batch-tokens 1,000 is not a multiple of"),
        ({"tokens": 10}, "--tokens is 10"),
        ({"steps": 10, "tokens": 10**9}, "give only one of --steps and --tokens"),
    ],
)
def test_bad_input_is_named(options, message):
    with pytest.raises(ValueError, match=re.escape(message)):
        plan.main(PlanOptions(**{"size": "small", **options}))


def test_it_imports_no_torch():
    code = "import sys, launch.plan; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], cwd=ROOT, check=False).returncode == 0
