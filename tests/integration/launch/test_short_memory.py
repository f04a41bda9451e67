"""A layout that takes more memory than there is, though it was to fit."""

import pytest
import torch

from trainer.checkpoint.folder import finished_checkpoints, read_weights

pytestmark = pytest.mark.timeout(300)
OPTIONS = """
--size nano --steps 3 --global-batch-tokens 1024 --learning-rate 4e-3 --warmup-steps 1
--evaluate-every 0 --checkpoint-every 2 --activation-checkpointing none
"""


def train(launcher, inputs, output, *more, ranks=2, short="", where="forward", patience_s=30):
    """Train, where these ranks run out of memory with more than one sequence."""
    options = [*OPTIONS.split(), "--data", str(inputs.shards), "--output", str(output), *more]
    options += [short, where, str(patience_s)]
    return launcher.train(options, ranks=ranks, command="tests/proofs/short_memory.py")


@pytest.fixture(scope="module")
def expected(launcher, inputs, tmp_path_factory) -> dict[str, torch.Tensor]:
    """The weights of two ranks' run that was printed to take one sequence at a time."""
    output = tmp_path_factory.mktemp("expected") / "run"
    codes, printed = train(launcher, inputs, output, "--micro-batch", "1", "--zero-stage", "1")
    assert codes == [0, 0], printed
    return read_weights(finished_checkpoints(output)[-1])


@pytest.mark.parametrize(
    ("stage", "short", "where"),
    [
        (0, "1", "backward"),
        (1, "0", "forward"),
        (1, "1", "backward"),
        (2, "0,1", "forward"),
        (3, "0,1", "backward"),
    ],
)
def test_all_ranks_begin_again_in_the_next_smaller_layout_and_its_numbers_are_the_same(
    launcher, inputs, tmp_path, expected, stage, short, where
):
    output = tmp_path / "run"
    codes, printed = train(launcher, inputs, output, "--zero-stage", str(stage), short=short, where=where)
    assert codes == [0, 0], printed
    said = "out of memory with micro-batch 2, nothing recomputed: restarting with micro-batch 1,"
    assert printed.count(said) == 1
    assert "Traceback" not in printed
    for name, weight in read_weights(finished_checkpoints(output)[-1]).items():
        torch.testing.assert_close(weight, expected[name], rtol=0, atol=0 if stage == 1 else 2e-4)


def test_a_single_rank_begins_again_and_where_nothing_is_smaller_that_is_the_error(
    launcher, inputs, tmp_path
):
    codes, printed = train(launcher, inputs, tmp_path / "run", ranks=1, short="0")
    assert codes == [0], printed
    assert printed.count("restarting with micro-batch") == 2  # 4, 2, 1
    codes, printed = train(launcher, inputs, tmp_path / "given", "--micro-batch", "2", ranks=1, short="0")
    assert codes == [1], printed
    assert printed.count("error: not enough memory") == 1
    assert "Traceback" not in printed


def test_a_rank_that_cannot_tell_the_others_says_what_to_do(launcher, inputs, tmp_path):
    codes, printed = train(launcher, inputs, tmp_path / "run", "--zero-stage", "2", short="1", patience_s=1)
    assert codes[1] == 1
    assert printed.count("error: rank 1 ran out of memory and cannot tell the others") == 1
