"""A training run from its first step to its last: train, evaluate, save, go on after a stop."""

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
from trainer.data.loader import Loader, StepBatches
from trainer.distributed.consistency import check_agreement, option_facts, tensor_facts
from trainer.distributed.deepspeed.engine import Engine, StepResult
from trainer.distributed.out_of_memory import OutOfMemoryTogetherError, all_ran_out, most_allowed, release
from trainer.distributed.patience import Patience
from trainer.distributed.preemption import STOPPED, StopRequests, stop_requests
from trainer.distributed.ranks import compute_deterministically, fail_together, gather, joined, on_first_rank
from trainer.distributed.shared_folder import check_shared
from trainer.memory.available import peak_line
from trainer.memory.choice import describe, layout_of
from trainer.model.float8 import use_float8
from trainer.model.gpt2 import GPT2, build, outline
from trainer.training.console import duration
from trainer.training.profiler import Profiler
from trainer.training.reports import Reports, advice
from trainer.training.saving import find_sound, save, sole_writer
from trainer.training.schedule import learning_rate
from trainer.training.setup import Run, lay_out
from trainer.training.spikes import Verdict, Watch
from trainer.training.validation import validation_loss


def train(run: Run) -> int:
    """Train to the plan's last step, or until asked to stop (SIGTERM, SIGINT), and save.

    Returns:
        The exit code: 0 after the last step, `STOPPED` before it.

    Raises:
        ValueError: another run writes to the folder, the ranks disagree, no checkpoint is sound, the shards
            changed, or too many updates were refused.
        OSError: a checkpoint could not be written, or another rank is gone.

    Where the memory does not do after all, the ranks begin again in the next smaller layout, from the last
    checkpoint if there is one: the same sequences in the same steps.
    """
    timeout_s = run.plan.rank_timeout_s
    with (
        stop_requests() as requests,
        joined(run.ranks, run.device, timeout_s=timeout_s),
        sole_writer(run.output),
    ):
        check_shared(run.output, run.ranks)
        if run.plan.deterministic:
            compute_deterministically()
        laid_out = lay_out(run)
        for attempt in itertools.count(1):
            code = _train_unless_memory_ends(laid_out, requests, attempt)
            if code is not None:
                return code
            release()
            laid_out = _smaller(run, laid_out)
    raise AssertionError("the attempts have no end but these")


def _train_unless_memory_ends(run: Run, requests: StopRequests, attempt: int) -> int | None:
    """Train on from the last checkpoint; return the exit code, or None where the memory does not do.

    Then all ranks return None, and no error, lest its traceback keep the engine alive.

    Raises:
        ValueError: the other ranks cannot be told.
    """
    training = None
    try:
        training = _make_ready(run)
        return training.go(requests) if training else 0
    except OutOfMemoryTogetherError:
        together = True
    except torch.OutOfMemoryError:
        together = run.ranks.size == 1 or all_ran_out(attempt)
    if not together:
        assert run.fitted
        raise ValueError(
            f"rank {run.ranks.rank} has run out of memory where the others cannot be told: "
            f"{run.fitted.reason}; give a smaller --micro-batch, and the run goes on from its last checkpoint"
        )
    if training:
        training.discard()
    return None


def _smaller(run: Run, failed: Run) -> Run:
    """Return the run in the next smaller layout than one that has failed, and say so."""
    assert failed.fitted
    chosen = lay_out(run, most=most_allowed(failed.fitted.memory))
    if run.ranks.rank == 0:
        layouts = [describe(layout_of(plan, accelerator=True)) for plan in (failed.plan, chosen.plan)]
        print(f"out of memory with {layouts[0]}: beginning again with {layouts[1]}", flush=True)
    return chosen


def _make_ready(run: Run) -> "_Training | None":
    """Return the run at its last checkpoint, or at its beginning; None if it has already ended."""
    check_agreement(run.facts)
    resume = find_sound(run.output)
    state = read_state(resume) if resume else None
    if state and state.step == run.plan.steps:
        if run.ranks.rank == 0:
            print(f"nothing to do: {resume} is already the last step")
        return None
    model = _starting_model(run, resume)
    check_agreement(tensor_facts(model.named_parameters()))
    if run.plan.float8:
        use_float8(model)
    if run.plan.compiled:
        model.compile_parts()
    engine = Engine(model, run.plan, run.ranks, run.device)
    if resume and state:
        engine.load_moments(resume, updates=state.updates)
    return _Training(run, engine, state)


def _starting_model(run: Run, resume: Path | None) -> GPT2:
    """Return the model on the CPU, with the weights of the checkpoint to go on from or its first ones.

    Weights from files are neither drawn first nor copied: for a GPU they stay mapped, and go there tensor
    by tensor. A CPU, which updates them in place, gets copies that lie as a tensor of its own would.
    """
    plan = run.plan
    if resume:
        weights = read_weights(resume)
    elif run.start:
        weights = run.start.padded(context=plan.model.context)
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
    """A run in progress: how far it is, and what happens in a step."""

    def __init__(self, run: Run, engine: Engine, state: State | None) -> None:
        self._run, self._plan, self._engine = run, run.plan, engine
        self._leads = engine.rank == 0  # this rank speaks and commits for all
        self._step = state.step if state else 0
        self._seconds = state.figures["training_seconds"] if state else 0.0  # in steps alone
        self._watch = Watch(run.plan.anomalies, state.anomalies if state else None)
        self._loader = Loader(
            run.training,
            run.plan,
            rank=engine.rank,
            first_step=self._step,
            device=run.device,
            watch=run.inputs.check_unchanged,
        )
        self._profiler = Profiler(range(*profiled_steps(run.plan)), run.output if self._leads else None)
        self._reports = Reports(run, shown=self._leads)
        self._patience = Patience(run.plan.rank_timeout_s)

    def go(self, requests: StopRequests) -> int:
        """Train until the last step or a request to stop; return the exit code."""
        with ExitStack() as stack:
            on_first_rank(self._begin)
            stack.callback(self._reports.close)
            stack.enter_context(self._loader)
            self._loop(requests)
            if self._leads:
                self._summarise()
            requests.finish()
        return 0 if self._step == self._plan.steps else STOPPED

    def discard(self) -> None:
        """Let go of the memory, after `go` has ended in an error."""
        self._engine.discard()

    def _begin(self) -> None:
        """Put down in the folder what the run is, and tell it (on the first rank)."""
        output = self._run.output
        options = {
            "identity": self._run.identity,
            "options": asdict(self._run.options),
            "plan": as_record(self._plan),
            "files": self._run.inputs.stamps,
        }
        write_text(str(output / "options.json"), json.dumps(options, indent=2))
        if self._run.inputs.vocabulary_text is not None:
            write_text(str(output / "tokenizer.json"), self._run.inputs.vocabulary_text)
        self._reports.begin(resumed=self._step)

    def _loop(self, requests: StopRequests) -> None:
        plan, stopped = self._plan, False
        if self._step == 0:
            self._evaluate()
        while self._step < plan.steps and not stopped:
            with self._patience.in_step():
                stopped = self._take_step(stop=bool(requests))
            ended = self._step == plan.steps
            if ended or (plan.evaluate_every and self._step % plan.evaluate_every == 0):
                self._evaluate()
            if ended or stopped or self._step % plan.checkpoint_every == 0:
                self._save()

    def _take_step(self, *, stop: bool) -> bool:
        """Take one optimizer step and tell of it; return whether any rank was asked to stop."""
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
        # Dropout, too, depends on nothing but the step, so there is no generator to save.
        torch.manual_seed((plan.seed << 40 | self._step * plan.world_size + self._engine.rank) % 2**63)
        self._profiler.before(self._step)
        batches = self._loader.step()
        stop = stop or self._loader.error is not None
        result, verdict = self._judged_step(batches, learning_rate=rate, stop=stop)
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
                "skipped": self._watch.skipped,
                "spikes": self._watch.spikes,
                "seconds": round(seconds, 4),
                "tokens_per_second": round(plan.tokens_per_step / seconds, 1),
            }
        )
        self._tell(verdict, trace)
        return result.stop

    def _judged_step(
        self, step: StepBatches, *, learning_rate: float, stop: bool
    ) -> tuple[StepResult, Verdict]:
        """Take one step, whose update is applied only if there is nothing against it."""
        verdicts: list[Verdict] = []

        def accept(loss: float, norm: float) -> bool:
            verdicts.append(self._watch.judge(loss, norm))
            return verdicts[-1].applied

        result = self._engine.step(
            step.batches, targets=step.targets, learning_rate=learning_rate, stop=stop, accept=accept
        )
        if not verdicts:  # where one is no number, the engine does not ask
            accept(result.loss, result.gradient_norm)
        return result, verdicts[-1]

    def _fail_if_any(self, error: str | None) -> None:
        """End the run if a rank had to feed the last step with nothing; no checkpoint has it."""
        errors = [error for error in gather(error) if error]
        if errors:
            fail_together(ValueError(f"{errors[0]}; the checkpoints in {self._run.output} stay"))

    def _tell(self, verdict: Verdict, trace: str | None) -> None:
        """Print what is out of the ordinary; end the run where that has become the rule."""
        if verdict.reason:
            done = "reported only" if verdict.applied else "the update is not applied"
            self._reports.line(f"step {self._step:,}: {verdict.reason}: {done}")
        if trace:
            self._reports.line(f"profile: {trace}")
        if self._watch.exhausted:
            fail_together(ValueError(advice(self._run, self._step, self._watch.in_a_row, verdict.reason)))

    def _evaluate(self) -> None:
        if self._run.evaluates:
            loss = validation_loss(self._engine, self._run.validation, micro_batch=self._plan.micro_batch)
            self._reports.evaluation(step=self._step, loss=loss)

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
            anomalies=self._watch.state,
        )

    def _summarise(self) -> None:
        """Say how far the run came, and what it is worth."""
        plan, line = self._plan, self._reports.line
        line(
            f"step {self._step:,} of {plan.steps:,}: {self._step * plan.tokens_per_step:,} tokens in "
            f"{duration(self._seconds)} of training, {self._watch.skipped:,} updates not applied, "
            f"{self._watch.spikes:,} spikes"
        )
        if self._run.fitted:
            line(peak_line(self._run.fitted.memory, self._run.device))
        self._reports.summarise()
        line(f"checkpoint {folder_of_step(self._run.output, self._step)}")
        if self._step < plan.steps:
            line(f"stopped on request (exit code {STOPPED}): the same command goes on from here")
