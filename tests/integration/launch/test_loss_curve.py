from loss_curve import TOLERANCE, command_losses, options, plain_losses, write_shards


def test_sharded_losses_are_those_of_a_plain_loop(launcher, tmp_path):
    """All stages, 200 steps: `python tests/proofs/loss_curve.py`."""
    shards = write_shards(tmp_path / "shards", vocabulary=509, windows=226)
    line = options(tmp_path / "shards", tmp_path / "run", steps=30, zero_stage=3)
    codes, printed = launcher.train(line, ranks=2)
    assert codes == [0, 0], printed
    expected = plain_losses(shards, 509, steps=30)
    found = command_losses(tmp_path / "run")
    assert len(found) == 30
    assert max(abs(one - other) for one, other in zip(found, expected, strict=True)) < TOLERANCE
    assert expected[-1] < expected[0] - 0.3
