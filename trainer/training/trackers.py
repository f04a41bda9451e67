"""Optional trackers beside metrics.jsonl: TensorBoard, Weights & Biases."""

import uuid
from pathlib import Path
from typing import Any

from pipeline.runner.storage import write_text
from trainer.config.options import TrackerOptions

Record = dict[str, Any]


class TensorBoard:
    """TensorBoard event files."""

    def __init__(self, run: Path, *, resumed: int) -> None:
        from torch.utils.tensorboard import SummaryWriter

        # Drops what an interrupted run wrote after its last checkpoint.
        self._writer = SummaryWriter(str(run / "tensorboard"), purge_step=resumed + 1 if resumed else None)

    def log(self, record: Record) -> None:
        """Log the numbers of one record."""
        for name, value in figures(record).items():
            self._writer.add_scalar(name, value, record["step"])

    def close(self) -> None:
        """Flush and close."""
        self._writer.close()


class WeightsAndBiases:
    """A Weights & Biases run, which resumes under the same id."""

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
        """Log the numbers of one record; steps sent before an interruption are dropped by Weights &
        Biases."""
        self._run.log(figures(record), step=record["step"])

    def close(self) -> None:
        """Flush and finish."""
        self._run.finish()


Tracker = TensorBoard | WeightsAndBiases


def open_trackers(
    tracker_options: TrackerOptions, run: Path, *, options: dict[str, Any], resumed: int
) -> list[Tracker]:
    """Open the trackers that the options request.

    Raises:
        ValueError: Weights & Biases refuses the run.
    """
    trackers: list[Tracker] = []
    if tracker_options.tensorboard:
        trackers.append(TensorBoard(run, resumed=resumed))
    if tracker_options.wandb:
        trackers.append(WeightsAndBiases(run, project=tracker_options.wandb, options=options))
    return trackers


def figures(record: Record) -> dict[str, float]:
    """Return the numbers of a record by curve name: `train/loss`, `validation/loss`."""
    kind = "train" if "loss" in record else "validation"
    return {
        f"{kind}/{name.removeprefix('validation_')}": value
        for name, value in record.items()
        if type(value) in (int, float) and name not in ("step", "seconds")
    }
