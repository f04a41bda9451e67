"""What docs/formats.md says of a checkpoint is enough to go on with it elsewhere."""

import json

import pytest

# The first test waits for a run that others share.
pytestmark = [pytest.mark.timeout(300), pytest.mark.slow]


@pytest.mark.parametrize("step", [2, 4])
def test_a_run_goes_on_in_transformers_with_torchs_adamw_and_has_the_same_losses(
    alone, inputs, example, step
):
    rows = map(json.loads, (alone / "metrics.jsonl").read_text().splitlines())
    ours = {row["step"]: row["loss"] for row in rows if "loss" in row}
    theirs = example("resume_elsewhere").resume(alone / f"step_{step:08d}", str(inputs.shards), 6 - step)
    assert theirs == pytest.approx([ours[number] for number in range(step + 1, 7)], rel=2e-6)
    assert len({round(loss, 3) for loss in ours.values()}) == 6  # the steps are different ones
