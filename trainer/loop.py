"""A training run from its first step to its last: train, evaluate, save, go on after a stop."""

import json
import math
import signal
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import NoReturn

import torch

from pipeline.storage import write_text
from trainer import checkpoint
from trainer.agreement import check_agreement, option_facts, tensor_facts
from trainer.batches import Tokens
from trainer.checkpoint import State
from trainer.config import as_record
from trainer.engine import Engine
from trainer.evaluation import validation_loss
from trainer.metrics import MetricsFile, Progress, Record, settings_table
from trainer.model import GPT2, build
from trainer.prepare import Run, lay_out
from trainer.ranks import joined
from trainer.room import peak_line
from trainer.saving import find_sound, save, sole_writer
from trainer.schedule import learning_rate


def train(run: Run) -> None:
    """Train to the plan's last step, or until asked to stop (SIGTERM, SIGINT), and save.

    Raises:
        ValueError: the loss is no longer a number, the ranks disagree, or no checkpoint is sound.
        OSError: a checkpoint could not be written, or another rank is gone.
    """
    with _stop_requests() as stop_requested, joined(run.ranks, run.device), sole_writer(run.output):
        run = lay_out(run)
        check_agreement(run.facts)
        resume = find_sound(run.output)
        state = checkpoint.read_state(resume) if resume else None
        if state and state.step == run.plan.steps:
            if run.ranks.rank == 0:
                print(f"nothing to do: {resume} is already the last step")
            return
        model = _starting_model(run, resume)
        check_agreement(tensor_facts(model.named_parameters()))
        if run.plan.compile:
            model.compile_parts()
        engine = Engine(model, run.plan, run.ranks, run.device)
        if resume and state:
            engine.load_moments(resume, updates=state.updates)
        _Training(run, engine).go(state, stop_requested)


def _starting_model(run: Run, resume: Path | None) -> GPT2:
    """Return the model on the CPU, with the weights of the checkpoint to go on from or its first ones."""
    plan = run.plan
    model = build(plan.model, seed=plan.seed, recompute=plan.recompute, recompute_every=plan.recompute_every)
    if resume:
        model.load_state_dict(checkpoint.read_weights(resume))
    return model


def _always(loss: float, gradient_norm: float) -> bool:
    """Accept any update."""
    return True


@contextmanager
def _stop_requests() -> Iterator[list[int]]:
    """Collect the signals that ask for a stop, in place of dying of them."""
    received: list[int] = []
    signals = (signal.SIGTERM, signal.SIGINT)
    before = [signal.signal(number, lambda number, _: received.append(number)) for number in signals]
    try:
        yield received
    finally:
        for number, handler in zip(signals, before, strict=True):
            signal.signal(number, handler)


class _Training:
    """A run in progress: how far it is, and what it has to tell."""

    def __init__(self, run: Run, engine: Engine) -> None:
        self._run, self._plan, self._engine = run, run.plan, engine
        self._leads = engine.rank == 0  # this rank speaks and commits for all
        self._metrics = MetricsFile(run.output)
        self._evaluations: list[Record] = []
        self._step = 0
        self._seconds = 0.0  # spent on training steps, earlier parts of the run included

    def go(self, state: State | None, stop_requested: list[int]) -> None:
        """Train from the state on until the last step or a request to stop."""
        self._begin(state)
        progress = Progress(first=self._step, steps=self._plan.steps, shown=self._leads)
        if self._step == 0:
            self._evaluate(progress)
        stopped = False
        while self._step < self._plan.steps and not stopped:
            stopped = self._take_step(progress, stop=bool(stop_requested))
            ended = self._step == self._plan.steps
            if ended or (self._plan.evaluate_every and self._step % self._plan.evaluate_every == 0):
                self._evaluate(progress)
            if ended or stopped or self._step % self._plan.checkpoint_every == 0:
                self._save()
        progress.close()
        if self._leads:
            print(self._summary(), flush=True)

    def _begin(self, state: State | None) -> None:
        """Take up where the checkpoint left off, and put down and print what the run is."""
        if state:
            self._step, self._seconds = state.step, state.figures["training_seconds"]
        if not self._leads:
            return
        options = {"identity": self._run.identity, "plan": as_record(self._plan)}
        write_text(str(self._run.output / "options.json"), json.dumps(options, indent=2))
        self._metrics.resume_after(self._step)
        self._evaluations = [record for record in self._metrics.read() if "validation_loss" in record]
        print(settings_table(self._plan, inputs=self._run.inputs_table, resumed=self._step), flush=True)

    def _take_step(self, progress: Progress, *, stop: bool) -> bool:
        """Take one optimizer step and record it; return whether any rank was asked to stop."""
        plan, started = self._plan, time.perf_counter()
        rate = learning_rate(
            self._step,
            peak=plan.learning_rate,
            final=plan.final_learning_rate,
            warmup_steps=plan.warmup_steps,
            steps=plan.steps,
        )
        # Dropout, too, depends on nothing but the step, so there is no generator to save.
        torch.manual_seed((plan.seed << 40 | self._step * plan.world_size + self._engine.rank) % 2**63)
        result = self._engine.step(self._micro_batches(), learning_rate=rate, stop=stop, accept=_always)
        self._step += 1
        if not math.isfinite(result.loss):
            self._give_up(result.loss)
        seconds = time.perf_counter() - started
        self._seconds += seconds
        record = {
            "step": self._step,
            "tokens": self._step * plan.tokens_per_step,
            "loss": result.loss,
            "learning_rate": rate,
            "gradient_norm": result.gradient_norm,
            "seconds": round(seconds, 4),
            "tokens_per_second": round(plan.tokens_per_step / seconds, 1),
        }
        if self._leads:
            self._metrics.append(record)
        progress.step(record)
        return result.stop

    def _give_up(self, loss: float) -> NoReturn:
        """End the run. Every rank comes here with the same loss, and one voice is enough."""
        if not self._leads:
            sys.exit(0)
        raise ValueError(
            f"the loss of step {self._step} is {loss}: try a smaller --learning-rate; finished checkpoints "
            f"stay in {self._run.output}"
        )

    def _micro_batches(self) -> Iterator[tuple[Tokens, Tokens]]:
        """Yield this rank's share of the step's sequences: of each round over the ranks, its own part."""
        plan = self._plan
        first = self._step * plan.sequences_per_step + self._engine.rank * plan.micro_batch
        for turn in range(plan.accumulation_steps):
            position = first + turn * plan.world_size * plan.micro_batch
            yield self._run.training.sequences(position, plan.micro_batch)

    def _evaluate(self, progress: Progress) -> None:
        if not self._run.evaluates:
            return
        data = self._run.validation
        loss = validation_loss(self._engine, data, micro_batch=self._plan.micro_batch)
        record = {"step": self._step, "validation_loss": loss, "validation_tokens": data.tokens}
        self._evaluations.append(record)
        if self._leads:
            self._metrics.append(record)
        progress.line(f"step {self._step:>6,} of {self._plan.steps:,}: validation loss {loss:.4f}")

    def _save(self) -> None:
        """Save a checkpoint, if the ranks still agree on where they are and on the weights they share."""
        state, plan = self._state(), self._plan
        position = option_facts({"step": state.step, "sequences": state.sequences, "updates": state.updates})
        check_agreement({**position, **tensor_facts(self._engine.replicated_weights())})
        save(
            self._engine,
            self._run.output,
            state,
            keep_newest=plan.keep_checkpoints,
            keep_every=plan.keep_every,
        )

    def _state(self) -> State:
        plan = self._plan
        figures = {"training_seconds": round(self._seconds, 3)}
        if self._evaluations:
            figures["first_validation_loss"] = self._evaluations[0]["validation_loss"]
            figures["last_validation_loss"] = self._evaluations[-1]["validation_loss"]
        return State(
            step=self._step,
            updates=self._engine.updates,
            sequences=self._step * plan.sequences_per_step,
            tokens=self._step * plan.tokens_per_step,
            world_size=plan.world_size,
            zero_stage=plan.zero_stage,
            vocabulary_fingerprint=self._run.vocabulary_fingerprint,
            model=plan.model,
            plan=as_record(plan),
            figures=figures,
        )

    def _summary(self) -> str:
        """Say how far the run came, and what it is worth."""
        plan = self._plan
        done = f"{self._step * plan.tokens_per_step:,} tokens in {self._seconds:,.0f} s of training"
        lines = [f"step {self._step:,} of {plan.steps:,}: {done}"]
        if self._run.fitted:
            lines.append(peak_line(self._run.fitted.memory, self._run.device))
        if self._evaluations:
            first, last = self._evaluations[0], self._evaluations[-1]
            lines.append(
                f"validation loss {first['validation_loss']:.4f} at step {first['step']:,}, "
                f"{last['validation_loss']:.4f} at step {last['step']:,}"
            )
        lines.append(f"checkpoint {checkpoint.folder_of_step(self._run.output, self._step)}")
        if self._step < plan.steps:
            lines.append("stopped on request: the same command goes on from here")
        return "\n".join(lines)
