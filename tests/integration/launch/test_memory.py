import json

import pytest

# In bf16, which many a CPU multiplies slowly, with few sequences.
LAYOUTS = [
    {"zero_stage": 0, "micro_batch": 4, "precision": "fp32"},
    {"zero_stage": 1, "micro_batch": 3, "precision": "bf16"},
    {"zero_stage": 2, "micro_batch": 4, "precision": "fp32", "recompute": "block"},
    {"zero_stage": 2, "micro_batch": 3, "precision": "bf16", "recompute": "selective"},
    {"zero_stage": 3, "micro_batch": 3, "precision": "bf16", "recompute": "block", "recompute_every": 2},
    {"zero_stage": 1, "micro_batch": 1, "precision": "fp32", "optimizer": "muon"},
    {"zero_stage": 3, "micro_batch": 1, "precision": "fp32", "optimizer": "muon", "recompute": "block"},
]


@pytest.mark.slow
@pytest.mark.timeout(300)  # seven layouts
def test_two_ranks_hold_what_is_predicted_at_every_zero_stage(launcher):
    """Weights, gradients, moments, DeepSpeed's buffers and activations: every tensor alive is counted."""
    codes, printed = launcher.train(
        [json.dumps(LAYOUTS)], ranks=2, command="tests/proofs/rank_memory.py", limit_s=280
    )
    assert codes == [0, 0], printed
    results = [json.loads(line) for line in printed.splitlines() if line.startswith("{")]
    assert len(results) == len(LAYOUTS)
    for layout, result in zip(LAYOUTS, results, strict=True):
        assert abs(result["predicted"] / result["found"] - 1) < 0.08, (layout, result)
