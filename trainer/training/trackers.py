"""Where a run's figures go besides its own metrics.jsonl, by option: TensorBoard, Weights & Biases."""

import uuid
from pathlib import Path
from typing import Any

from pipeline.runner.storage import write_text
from trainer.config.options import TrackerOptions

Record = dict[str, Any]


class TensorBoard:
    """Event files that TensorBoard draws curves of."""

    def __init__(self, run: Path, *, resumed: int) -> None:
        from torch.utils.tensorboard import SummaryWriter

        # What an interrupted part of the run wrote after its last checkpoint is to be forgotten.
        self._writer = SummaryWriter(str(run / "tensorboard"), purge_step=resumed + 1 if resumed else None)

    def log(self, record: Record) -> None:
        """Draw one point of each figure's curve."""
        for name, value in figures(record).items():
            self._writer.add_scalar(name, value, record["step"])

    def close(self) -> None:
        """Write what is left."""
        self._writer.close()


class WeightsAndBiases:
    """A run of Weights & Biases, which goes on under the same id."""

    def __init__(self, run: Path, *, project: str, options: dict[str, Any]) -> None:
        import wandb

        file = run / "wandb.txt"
        name = file.read_text() if file.is_file() else uuid.uuid4().hex[:8]
        write_text(str(file), name)
        try:
            self._run = wandb.init(
                project=project, id=name, resume="allow", name=run.name, dir=str(run), config=options
            )
        except wandb.Error as error:
            raise ValueError(f"--wandb {project}: {error}; WANDB_MODE=offline needs no account") from error

    def log(self, record: Record) -> None:
        """Send one step's figures; those of steps that were sent before an interruption it drops."""
        self._run.log(figures(record), step=record["step"])

    def close(self) -> None:
        """Send what is left."""
        self._run.finish()


Tracker = TensorBoard | WeightsAndBiases


def open_trackers(
    tracker_options: TrackerOptions, run: Path, *, options: dict[str, Any], resumed: int
) -> list[Tracker]:
    """Open what the options ask for.

    Raises:
        ValueError: Weights & Biases will not have it.
    """
    trackers: list[Tracker] = []
    if tracker_options.tensorboard:
        trackers.append(TensorBoard(run, resumed=resumed))
    if tracker_options.wandb:
        trackers.append(WeightsAndBiases(run, project=tracker_options.wandb, options=options))
    return trackers


def figures(record: Record) -> dict[str, float]:
    """Return the numbers of a record under the names of their curves: `train/loss`, `validation/loss`."""
    kind = "train" if "loss" in record else "validation"
    return {
        f"{kind}/{name.removeprefix('validation_')}": value
        for name, value in record.items()
        if type(value) in (int, float) and name not in ("step", "seconds")
    }
