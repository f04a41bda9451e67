"""What docs/formats.md says of a checkpoint is enough to go on with it elsewhere."""

import importlib.util
import json
from pathlib import Path
from types import ModuleType

import pytest

# The first test waits for a run that others share.
pytestmark = [pytest.mark.timeout(300), pytest.mark.slow]
EXAMPLES = Path(__file__).parents[3] / "examples"


def example(name: str) -> ModuleType:
    """Import an example, which is no part of a package."""
    specification = importlib.util.spec_from_file_location(name, EXAMPLES / f"{name}.py")
    assert specification
    assert specification.loader
    module = importlib.util.module_from_spec(specification)
    specification.loader.exec_module(module)
    return module


@pytest.mark.parametrize("step", [2, 4])
def test_a_run_goes_on_in_transformers_with_torchs_adamw_and_has_the_same_losses(alone, inputs, step):
    rows = map(json.loads, (alone / "metrics.jsonl").read_text().splitlines())
    ours = {row["step"]: row["loss"] for row in rows if "loss" in row}
    theirs = example("resume_elsewhere").resume(alone / f"step_{step:08d}", str(inputs.shards), 6 - step)
    assert theirs == pytest.approx([ours[number] for number in range(step + 1, 7)], rel=2e-6)
    assert len({round(loss, 3) for loss in ours.values()}) == 6  # the steps are different ones
