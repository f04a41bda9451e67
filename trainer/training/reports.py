"""A run's output: console lines, metrics.jsonl, trackers, and its first and last validation loss."""

import math

import torch

from trainer.config.plan import as_record
from trainer.memory.available import peak_bytes
from trainer.model.flops import model_flops_utilisation, peak_flops
from trainer.report.metrics import Record, RecordFile, metrics_file, samples_file
from trainer.report.page import PAGE, write_run_page
from trainer.training.console import Console, settings_table
from trainer.training.setup import Run
from trainer.training.trackers import Tracker, open_trackers


class Reports:
    """Logs a run on the first rank; on the other ranks it prints and writes nothing."""

    def __init__(self, run: Run, *, shown: bool) -> None:
        self._run, self._plan = run, run.plan
        self._peak = _peak(run)
        self._console = Console(run.plan, shown=shown)
        self._metrics: RecordFile | None = metrics_file(run.output) if shown else None
        self._samples = samples_file(run.output)
        self._trackers: list[Tracker] = []
        self._evaluations: list[Record] = []

    def begin(self, *, resumed: int) -> None:
        """Print the settings, and drop what was logged after step `resumed`.

        Raises:
            ValueError: a tracker cannot be opened.
        """
        assert self._metrics is not None, "the first rank begins"
        self._metrics.resume_after(resumed)
        self._samples.resume_after(resumed)
        self._evaluations = [record for record in self._metrics.read() if "validation_loss" in record]
        self._trackers = open_trackers(
            self._plan.trackers, self._run.output, options=as_record(self._plan), resumed=resumed
        )
        self.line(settings_table(self._plan, inputs=self._run.inputs_table, resumed=resumed))
        for warning in self._run.warnings:
            self.line(f"warning: {warning}")

    def step(self, record: Record) -> None:
        """Log a step, with its MFU and memory."""
        speed = record["tokens_per_second"]
        mfu = model_flops_utilisation(speed, self._plan.model, gpus=self._plan.world_size, peak=self._peak)
        record = {**record, "mfu": mfu, "memory_bytes": peak_bytes(self._run.device)}
        self._write(record)
        self._console.step(record)

    def evaluation(self, *, step: int, loss: float) -> None:
        """Log a validation loss in nats per token, and in bits per byte."""
        tokens, size = self._run.validation.tokens, self._run.validation_bytes
        record: Record = {"step": step, "validation_loss": loss, "validation_tokens": tokens}
        if size:
            record["validation_bits_per_byte"] = loss * tokens / (size * math.log(2))
        self._evaluations.append(record)
        self._write(record)
        self.line(f"step {step:,} of {self._plan.steps:,}: validation loss {_loss_text(record)}")

    def samples(self, texts: list[Record]) -> None:
        """Log what the model has written."""
        if self._metrics is not None:
            for text in texts:
                self._samples.append(text)

    def page(self, *, state: str = "") -> None:
        """Write run.html anew; `state` says how the run ended, if it has. A failure does not end the run."""
        if self._metrics is None:
            return
        try:
            write_run_page(self._run.output, state=state)
        except (OSError, ValueError) as error:
            self.line(f"warning: {PAGE} could not be written: {error}")

    def line(self, text: str) -> None:
        """Print a line."""
        self._console.line(text)

    def figures(self) -> dict[str, float]:
        """Return the first and the last evaluation's results."""
        if not self._evaluations:
            return {}
        return {
            f"{when}_{name}": record[name]
            for when, record in (("first", self._evaluations[0]), ("last", self._evaluations[-1]))
            for name in ("validation_loss", "validation_bits_per_byte")
            if name in record
        }

    def summarise(self) -> None:
        """Print the first and the last validation loss."""
        if self._evaluations:
            for when, record in (("first", self._evaluations[0]), ("last", self._evaluations[-1])):
                self.line(f"{when} validation loss {_loss_text(record)} at step {record['step']:,}")

    def close(self) -> None:
        """Flush and close the trackers."""
        for tracker in self._trackers:
            tracker.close()

    def _write(self, record: Record) -> None:
        if self._metrics is not None:
            self._metrics.append(record)
        for tracker in self._trackers:
            tracker.log(record)


def _loss_text(record: Record) -> str:
    bits = record.get("validation_bits_per_byte")
    return f"{record['validation_loss']:.4f}" + (f" ({bits:.4f} bits per byte)" if bits is not None else "")


def _peak(run: Run) -> float | None:
    if run.device.type != "cuda":
        return None
    return peak_flops(torch.cuda.get_device_name(run.device), run.plan.precision)


def advice(run: Run, step: int, skipped: int, reason: str) -> str:
    """Return what to do about a run with too many skipped updates in a row."""
    return (
        f"the last {skipped} updates up to step {step:,} were skipped: {reason}. The checkpoints in "
        f"{run.address} are kept; continue in another --output with --init-from {run.address}, a smaller "
        f"--learning-rate than {run.plan.learning_rate:g} and a longer --warmup-steps"
    )
