import json
from collections.abc import Callable
from pathlib import Path

import pytest

from trainer.report.metrics import metrics_file


@pytest.fixture(name="write_run")
def write_run_fixture() -> Callable[..., Path]:
    """Writes the files of a run of some steps."""
    return write_run


def write_run(folder: Path, *, steps: int = 40, taken: int = 40, **options: object) -> Path:
    folder.mkdir(parents=True)
    plan = {"size": "nano", "steps": steps, "learning_rate": 2e-3, "seed": 1337, "model": {"layers": 4}}
    content = {"plan": plan | options, "environment": {"device": "CPU", "torch": "2.13.0"}}
    (folder / "options.json").write_text(json.dumps(content))
    metrics = metrics_file(folder)
    for step in range(taken + 1):
        if step % 20 == 0:
            evaluation = {"validation_loss": 8 - step / 20, "validation_bits_per_byte": 3 - step / 50}
            metrics.append({"step": step, **evaluation, "validation_tokens": 100})
        if step == 0:
            continue
        metrics.append(
            {
                "step": step,
                "tokens": 4096 * step,
                "loss": float("nan") if step == 7 else 8 - step / 20,
                "learning_rate": 2e-3,
                "gradient_norm": 1.0,
                "applied": step != 7,
                "skipped": int(step >= 7),
                "spikes": int(step >= 30),
                "seconds": 0.5,
                "tokens_per_second": 8192.0,
                "mfu": None,
                "memory_bytes": 3 * 2**30,
            }
        )
    return folder
