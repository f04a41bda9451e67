"""A few steps of a small model on several real ranks (gloo), which the engine's tests and proofs look at."""

import dataclasses
import hashlib
import os
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from rank_processes import rank_processes

PATIENCE_S = 100.0
CONTEXT, VOCABULARY, BATCH = 16, 100, 12


@dataclass(frozen=True, kw_only=True)
class Job:
    """What the ranks are to do."""

    optimizer: str = "adamw"
    precision: str = "fp32"
    zero_stage: int = 0
    offload_optimizer: bool = False
    offload_parameters: bool = False
    recompute: str = "none"
    micro_batch: int = 3
    clip: float = 1.0
    first: int = 0
    updates: int = 0  # applied before the first step
    steps: int = 4  # and the step after the last one
    resume: str | None = None  # folder of a checkpoint
    save: str | None = None  # folder for one after the last step
    altered: int | None = None  # a rank whose weights change by themselves after the last step
    poison: tuple[int, int, float] | None = None  # rank, step, and what its gradients are multiplied by
    refused: tuple[int, ...] = ()  # steps whose update is not accepted


@dataclass(frozen=True, kw_only=True)
class Report:
    """What came of it on one rank."""

    losses: list[float]
    norms: list[float]
    applied: list[bool]
    asked: list[tuple[float, float]]  # what `accept` was asked about
    digests: list[str]  # of weights and moments, before the first step and after each
    updates: int
    disagreement: str | None = None  # what the ranks' agreement said after the last step


def train_on_ranks(jobs: list[Job], *, ranks: int = 2) -> list[list[Report]]:
    """Do the jobs one after the other; return for each every rank's report, in the order of the ranks."""
    processes = rank_processes()
    with tempfile.TemporaryDirectory() as folder:
        queues = [processes.SimpleQueue() for _ in range(ranks)]
        started = [
            processes.Process(target=_do_all, args=(jobs, rank, ranks, folder, queue))
            for rank, queue in enumerate(queues)
        ]
        for process in started:
            process.start()
        for process in started:
            process.join(PATIENCE_S)
        for process in started:
            process.kill()
        assert [process.exitcode for process in started] == [0] * ranks
        return list(zip(*[queue.get() for queue in queues], strict=True))


def _do_all(jobs: list[Job], rank: int, size: int, folder: str, reports: Any) -> None:
    os.environ |= {"CUDA_VISIBLE_DEVICES": "", "GLOO_SOCKET_IFNAME": "lo"}
    os.environ |= {"RANK": str(rank), "LOCAL_RANK": str(rank), "WORLD_SIZE": str(size)}
    os.environ |= {"LOCAL_SIZE": str(size), "CROSS_SIZE": "1", "TMPDIR": folder}
    tempfile.tempdir = folder
    import torch

    from trainer.distributed.ranks import Ranks, joined

    ranks = Ranks(rank=rank, size=size, local_rank=rank, local_size=size)
    with joined(ranks, torch.device("cpu")):
        reports.put([_do(job, ranks) for job in jobs])
        torch.distributed.barrier()


def _do(job: Job, ranks: Any) -> Report:
    import torch

    from trainer.checkpoint.folder import read_weights
    from trainer.distributed.deepspeed.engine import Engine
    from trainer.model.gpt2 import build

    plan = _plan(job, ranks.size)
    model = build(plan.model, seed=1, recompute=plan.recompute)
    if job.resume:
        model.load_state_dict(read_weights(Path(job.resume)))
    engine = Engine(model, plan, ranks, torch.device("cpu"))
    if job.resume:
        engine.load_moments(Path(job.resume), updates=job.updates)
    report = Report(losses=[], norms=[], applied=[], asked=[], digests=[digest(engine)], updates=0)
    for step in range(job.first, job.steps):
        factor = job.poison[2] if job.poison and job.poison[:2] == (ranks.rank, step) else 1.0
        hook = model.ln_f.register_forward_hook(_scaled_gradient(factor))

        def accept(loss: float, norm: float, step: int = step) -> bool:
            report.asked.append((loss, norm))
            return step not in job.refused

        batches = _batches(job, plan, ranks, step)
        result = engine.step(batches, targets=BATCH * CONTEXT, learning_rate=1e-2, stop=False, accept=accept)
        hook.remove()
        report.losses.append(result.loss)
        report.norms.append(result.gradient_norm)
        report.applied.append(result.applied)
        report.digests.append(digest(engine))
    if job.save:
        Path(job.save).mkdir(exist_ok=True)
        engine.save(Path(job.save))
    return dataclasses.replace(
        report, updates=engine.updates, disagreement=_disagreement(engine, alter=job.altered == ranks.rank)
    )


def _disagreement(engine: Any, *, alter: bool) -> str | None:
    from trainer.distributed.consistency import check_agreement, tensor_checksums

    weights = dict(engine.replicated_weights())
    if alter:
        weights["ln_f.bias"].data[0] += 1e-6
    try:
        check_agreement(tensor_checksums(weights.items()))
    except ValueError as error:
        return str(error)
    except SystemExit as error:
        return f"exit {error.code}"
    return None


def _plan(job: Job, size: int) -> Any:
    from trainer.config.model_config import ModelConfig
    from trainer.config.options import TrainingOptions
    from trainer.config.plan import resolve

    chosen: dict[str, Any] = {"optimizer": job.optimizer, "precision": job.precision}
    options = TrainingOptions(data="", output="", size="nano", gradient_clip=job.clip, **chosen)
    whole = resolve(options, vocabulary=VOCABULARY, world_size=1, accelerator=False)
    return dataclasses.replace(
        whole,
        model=ModelConfig(layers=1, heads=2, width=32, context=CONTEXT, vocabulary=VOCABULARY),
        micro_batch=job.micro_batch,
        world_size=size,
        accumulation_steps=BATCH // size // job.micro_batch,
        zero_stage=job.zero_stage,
        offload_optimizer=job.offload_optimizer,
        offload_parameters=job.offload_parameters,
        recompute=job.recompute,
    )


def _batches(job: Job, plan: Any, ranks: Any, step: int) -> Iterator[tuple[Any, Any]]:
    """This rank's share of a batch that is the same whatever the ranks."""
    import torch

    tokens = np.random.default_rng(step).integers(0, VOCABULARY, (BATCH, CONTEXT + 1))
    for turn in range(plan.accumulation_steps):
        first = (turn * ranks.size + ranks.rank) * job.micro_batch
        rows = tokens[first : first + job.micro_batch]
        yield torch.from_numpy(rows[:, :-1].copy()), torch.from_numpy(rows[:, 1:].copy())


def _scaled_gradient(factor: float) -> Any:
    """A forward hook by which the gradient that comes back is multiplied."""

    def hook(_module: Any, _inputs: Any, output: Any) -> None:
        if factor != 1.0 and output.requires_grad:
            output.register_hook(lambda gradient: gradient * factor)

    return hook


def digest(engine: Any) -> str:
    """A digest of weights and moments, to the bit."""
    found = hashlib.sha256()
    for kind in ("weights", "exp_avg", "exp_avg_sq"):
        for name in engine.shapes:
            if kind == "exp_avg_sq" and name in engine.one_moment:
                continue
            found.update(engine._partitions.read(kind, name).detach().cpu().numpy().tobytes())
    return found.hexdigest()
