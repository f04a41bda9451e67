"""A training run from its first step to its last: train, evaluate, save, resume."""

import itertools
import json
import time
from contextlib import ExitStack
from dataclasses import asdict
from pathlib import Path

import torch

from pipeline.runner.storage import write_text
from trainer.checkpoint.folder import State, folder_of_step, read_state, read_weights
from trainer.config.plan import as_record, profiled_steps
from trainer.data.inputs import ShardWatcher
from trainer.data.loader import Loader, StepBatches
from trainer.distributed.consistency import check_agreement, option_values, tensor_checksums
from trainer.distributed.deepspeed.engine import Engine, StepResult
from trainer.distributed.out_of_memory import OutOfMemoryTogetherError, all_ran_out, most_allowed, release
from trainer.distributed.patience import Patience
from trainer.distributed.preemption import STOPPED, StopRequests, stop_requests
from trainer.distributed.ranks import (
    all_gather,
    compute_deterministically,
    fail_together,
    joined,
    on_first_rank,
)
from trainer.memory.available import peak_line
from trainer.memory.choice import describe, layout_of
from trainer.model.float8 import use_float8
from trainer.model.gpt2 import GPT2, build, outline
from trainer.report.page import PAGE
from trainer.report.units import duration
from trainer.training.mirror import Mirror
from trainer.training.profiler import Profiler
from trainer.training.reports import Reports, advice
from trainer.training.samples import Sampler
from trainer.training.saving import find_sound, save, sole_writer
from trainer.training.schedule import learning_rate
from trainer.training.setup import Run, lay_out
from trainer.training.spikes import SpikeDetector, UpdateDecision
from trainer.training.validation import validation_loss


def train(run: Run) -> int:
    """Train to the plan's last step, or until asked to stop (SIGTERM, SIGINT), and save.

    Returns:
        The exit code: 0 after the last step, `STOPPED` before it.

    Raises:
        ValueError: another run writes to the folder, the ranks disagree, all checkpoints are damaged, the
            shards changed, or too many updates in a row were skipped.
        OSError: a checkpoint could not be written, or another rank is gone.

    If memory runs out, the ranks restart in the next smaller layout, from the last checkpoint if there is
    one, with the same sequences in the same steps.
    """
    timeout_s = run.plan.rank_timeout_s
    with (
        stop_requests() as requests,
        joined(run.ranks, run.device, timeout_s=timeout_s),
        sole_writer(run.output, run.store, run.ranks, run.plan) as mirror,
    ):
        if run.plan.deterministic:
            compute_deterministically()
        laid_out = lay_out(run)
        for attempt in itertools.count(1):
            code = _train_unless_out_of_memory(laid_out, requests, attempt, mirror)
            if code is not None:
                return code
            release()
            laid_out = _smaller(run, laid_out)
    raise AssertionError("unreachable")


def _train_unless_out_of_memory(
    run: Run, requests: StopRequests, attempt: int, mirror: Mirror | None
) -> int | None:
    """Train from the last checkpoint; return the exit code, or None if memory ran out on all ranks.

    None rather than an error, whose traceback would keep the engine alive.

    Raises:
        ValueError: memory ran out, and this rank cannot tell the others.
    """
    training = None
    try:
        training = _make_ready(run, mirror)
        if training is None and mirror is not None:
            mirror.finish()
        return training.go(requests) if training else 0
    except OutOfMemoryTogetherError:
        together = True
    except torch.OutOfMemoryError:
        together = run.ranks.size == 1 or all_ran_out(attempt)
    if not together:
        assert run.chosen_layout
        raise ValueError(
            f"rank {run.ranks.rank} ran out of memory and cannot tell the others: "
            f"{run.chosen_layout.reason}; use a smaller --micro-batch; the run resumes from its last "
            "checkpoint"
        )
    if training:
        training.discard()
    return None


def _smaller(run: Run, failed: Run) -> Run:
    """Return the run in the next smaller layout than the failed one, and print it."""
    assert failed.chosen_layout
    chosen = lay_out(run, most=most_allowed(failed.chosen_layout.memory))
    if run.ranks.rank == 0:
        layouts = [describe(layout_of(plan, accelerator=True)) for plan in (failed.plan, chosen.plan)]
        print(f"out of memory with {layouts[0]}: restarting with {layouts[1]}", flush=True)
    return chosen


def _make_ready(run: Run, mirror: Mirror | None) -> "_Training | None":
    """Return the run at its last checkpoint or at its start; None if it is already complete."""
    check_agreement(run.consistency_values)
    resume = find_sound(run.output, run.ranks, mirror)
    if mirror is not None:
        mirror.go_on_from(resume)
    state = read_state(resume) if resume else None
    if state and state.step == run.plan.steps:
        if run.ranks.rank == 0:
            print(f"nothing to do: {resume} is the last step")
        return None
    model = _initial_model(run, resume)
    check_agreement(tensor_checksums(model.named_parameters()))
    if run.plan.float8:
        use_float8(model)
    if run.plan.compiled:
        model.compile_parts()
    engine = Engine(model, run.plan, run.ranks, run.device)
    if resume and state:
        engine.load_moments(resume, updates=state.updates)
    return _Training(run, engine, state, mirror)


def _initial_model(run: Run, resume: Path | None) -> GPT2:
    """Return the model on the CPU, with the weights of the checkpoint to resume from or the initial ones.

    Weights from files are neither initialized first nor copied: for a GPU they stay mapped, and are moved
    tensor by tensor. A CPU, which updates them in place, gets contiguous copies.
    """
    plan = run.plan
    if resume:
        weights = read_weights(resume)
    elif run.initial_model and run.initial_model.weights:
        weights = run.initial_model.weights.padded(context=plan.model.context)
    else:
        return build(
            plan.model, seed=plan.seed, recompute=plan.recompute, recompute_every=plan.recompute_every
        )
    model = outline(plan.model, recompute=plan.recompute, recompute_every=plan.recompute_every)
    if run.device.type == "cpu":
        weights = {
            name: tensor.clone(memory_format=torch.contiguous_format) for name, tensor in weights.items()
        }
    model.load_state_dict({name: tensor.contiguous() for name, tensor in weights.items()}, assign=True)
    return model


class _Training:
    """A run in progress: its position, and what happens in a step."""

    def __init__(self, run: Run, engine: Engine, state: State | None, mirror: Mirror | None) -> None:
        self._run, self._plan, self._engine, self._mirror = run, run.plan, engine, mirror
        self._leads = engine.rank == 0  # this rank prints and commits for all
        self._step = state.step if state else 0
        self._seconds = state.figures["training_seconds"] if state else 0.0  # in steps only
        self._detector = SpikeDetector(run.plan.anomalies, state.anomalies if state else None)
        self._loader = Loader(
            run.training,
            run.plan,
            rank=engine.rank,
            first_step=self._step,
            device=run.device,
            check_data=ShardWatcher(run.inputs),
        )
        self._profiler = Profiler(range(*profiled_steps(run.plan)), run.output if self._leads else None)
        self._reports = Reports(run, shown=self._leads)
        # A rank may be waiting for a shard, which takes as long as the store takes.
        fetches = run.inputs.are_remote and run.plan.shuffle_shards > 0
        self._patience = Patience(run.plan.rank_timeout_s, shortened=not fetches)
        vocabulary, samples = run.inputs.vocabulary, run.plan.sample_every and run.plan.sample_prompts
        self._sampler = Sampler(run.plan, vocabulary) if vocabulary and samples else None

    def go(self, requests: StopRequests) -> int:
        """Train until the last step or a request to stop; return the exit code."""
        with ExitStack() as stack:
            on_first_rank(self._begin)
            stack.callback(self._reports.close)
            stack.enter_context(self._loader)
            self._loop(requests)
            if self._leads:
                self._summarise()
            if self._mirror:
                self._mirror.finish()
            requests.finish()
        return 0 if self._step == self._plan.steps else STOPPED

    def discard(self) -> None:
        """Free the memory, after `go` has ended in an error."""
        self._engine.discard()

    def _begin(self) -> None:
        """Write options and vocabulary into the run's folder, and print the settings (on the first rank)."""
        output = self._run.output
        options = {
            "identity": self._run.identity,
            "options": asdict(self._run.options),
            "plan": as_record(self._plan),
            "initial_model": self._run.initial_model.record() if self._run.initial_model else None,
            "files": self._run.inputs.file_stats,
            "environment": self._run.environment,
        }
        write_text(str(output / "options.json"), json.dumps(options, indent=2))
        if self._run.inputs.vocabulary_text is not None:
            write_text(str(output / "tokenizer.json"), self._run.inputs.vocabulary_text)
        self._reports.begin(resumed=self._step)

    def _loop(self, requests: StopRequests) -> None:
        plan, stopped = self._plan, False
        if self._step == 0:
            self._evaluate()
            self._sample()
            self._reports.page()
        self._send_files()
        while self._step < plan.steps and not stopped:
            with self._patience.in_step():
                stopped = self._take_step(stop=bool(requests))
            ended = self._step == plan.steps
            evaluates = ended or _is_due(self._step, plan.evaluate_every)
            samples = ended or _is_due(self._step, plan.sample_every)
            if evaluates:
                self._evaluate()
            if samples:
                self._sample()
            if evaluates or samples:
                self._reports.page()
                self._send_files()
            if ended or stopped or self._step % plan.checkpoint_every == 0:
                self._save()

    def _take_step(self, *, stop: bool) -> bool:
        """Take one optimizer step and log it; return whether any rank was asked to stop."""
        plan, started = self._plan, time.perf_counter()
        rate = learning_rate(
            self._step,
            schedule=plan.schedule,
            peak=plan.learning_rate,
            final=plan.final_learning_rate,
            warmup_steps=plan.warmup_steps,
            decay_steps=plan.decay_steps,
            steps=plan.steps,
        )
        # Dropout, too, depends only on the step, so there is no generator state to save.
        torch.manual_seed((plan.seed << 40 | self._step * plan.world_size + self._engine.rank) % 2**63)
        self._profiler.before(self._step)
        batches = self._loader.step()
        stop = stop or self._loader.error is not None
        result, decision = self._decided_step(batches, learning_rate=rate, stop=stop)
        if result.stop:
            self._fail_if_any(self._loader.error)
        seconds = time.perf_counter() - started
        trace = self._profiler.after(self._step)
        self._step += 1
        self._seconds += seconds
        self._patience.took(seconds)
        self._reports.step(
            {
                "step": self._step,
                "tokens": self._step * plan.tokens_per_step,
                "loss": result.loss,
                "learning_rate": rate,
                "gradient_norm": result.gradient_norm,
                "applied": result.applied,
                "skipped": self._detector.skipped,
                "spikes": self._detector.spikes,
                "seconds": round(seconds, 4),
                "tokens_per_second": round(plan.tokens_per_step / seconds, 1),
            }
        )
        self._report(decision, trace)
        return result.stop

    def _decided_step(
        self, step: StepBatches, *, learning_rate: float, stop: bool
    ) -> tuple[StepResult, UpdateDecision]:
        """Take one step, whose update is applied only if the spike detector allows it."""
        decisions: list[UpdateDecision] = []

        def accept(loss: float, norm: float) -> bool:
            decisions.append(self._detector.decide(loss, norm))
            return decisions[-1].applied

        result = self._engine.step(
            step.batches, targets=step.targets, learning_rate=learning_rate, stop=stop, accept=accept
        )
        if not decisions:  # for NaN or Inf the engine does not ask
            accept(result.loss, result.gradient_norm)
        return result, decisions[-1]

    def _fail_if_any(self, error: str | None) -> None:
        """End the run if a rank could not read the last step's data; no checkpoint contains that step."""
        errors = [error for error in all_gather(error) if error]
        if errors:
            fail_together(ValueError(f"{errors[0]}; the checkpoints in {self._run.address} are kept"))

    def _report(self, decision: UpdateDecision, trace: str | None) -> None:
        """Print anomalies and traces; end the run after too many skipped updates in a row."""
        if decision.reason:
            action = "logged only" if decision.applied else "update skipped"
            self._reports.line(f"step {self._step:,}: {decision.reason}: {action}")
        if trace:
            self._reports.line(f"profile: {trace}")
        if self._detector.exhausted:
            fail_together(ValueError(advice(self._run, self._step, self._detector.in_a_row, decision.reason)))

    def _evaluate(self) -> None:
        if self._run.evaluates:
            loss = validation_loss(self._engine, self._run.validation, micro_batch=self._plan.micro_batch)
            self._reports.evaluation(step=self._step, loss=loss)

    def _sample(self) -> None:
        if self._sampler:
            self._reports.samples(self._sampler.write(self._engine, self._step))

    def _send_files(self) -> None:
        if self._mirror:
            self._mirror.send_files()

    def _save(self) -> None:
        """Save a checkpoint, if the ranks agree on their position and on the weights they share."""
        state, plan = self._state(), self._plan
        position = option_values({"step": state.step, "sequences": state.sequences, "updates": state.updates})
        check_agreement({**position, **tensor_checksums(self._engine.replicated_weights())})
        save(
            self._engine,
            self._run.output,
            state,
            keep_newest=plan.keep_checkpoints,
            keep_every=plan.keep_every,
            ranks=self._run.ranks,
            mirror=self._mirror,
        )

    def _state(self) -> State:
        plan = self._plan
        return State(
            step=self._step,
            updates=self._engine.updates,
            sequences=self._step * plan.sequences_per_step,
            tokens=self._step * plan.tokens_per_step,
            world_size=plan.world_size,
            zero_stage=plan.zero_stage,
            vocabulary_fingerprint=self._run.inputs.shards.index.vocabulary.fingerprint,
            model=plan.model,
            plan=as_record(plan),
            figures={"training_seconds": round(self._seconds, 3), **self._reports.figures()},
            anomalies=self._detector.state,
        )

    def _summarise(self) -> None:
        """Print the run's position and results."""
        plan, line = self._plan, self._reports.line
        line(
            f"step {self._step:,} of {plan.steps:,}: {self._step * plan.tokens_per_step:,} tokens in "
            f"{duration(self._seconds)} of training, {self._detector.skipped:,} updates skipped, "
            f"{self._detector.spikes:,} spikes"
        )
        if self._run.chosen_layout:
            line(peak_line(self._run.chosen_layout.memory, self._run.device))
        self._reports.summarise()
        line(f"checkpoint {self._run.address}/{folder_of_step(self._run.output, self._step).name}")
        stopped = self._step < plan.steps
        self._reports.page(state=f"stopped on request after step {self._step:,}" if stopped else "finished")
        line(f"charts and samples {self._run.address}/{PAGE}")
        if stopped:
            line(f"stopped on request (exit code {STOPPED}): run the same command to resume")


def _is_due(step: int, every: int) -> bool:
    return every > 0 and step % every == 0
