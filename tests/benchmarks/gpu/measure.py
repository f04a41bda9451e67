"""Speed and memory of one size in some layouts, each a line of JSON as soon as it is known.

    python tests/benchmarks/gpu/measure.py --size small --results FILE [--profile FILE] -- LAYOUT …

A layout is a string of options of launch/pretrain.py, such as "--micro-batch 32 --zero-stage 1"; what it
leaves open the planner chooses, as in a run. A layout that fails is a line with its error. ZeRO stage 3
changes PyTorch for its whole process, so it wants one of its own.
"""

import argparse
import dataclasses
import gc
import itertools
import json
import os
import shlex
import statistics
import sys
import time
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[3]
sys.path.insert(0, str(ROOT))
os.environ.setdefault("PYTORCH_ALLOC_CONF", "expandable_segments:True")  # as launch/pretrain.py

import torch  # noqa: E402  # the settings come first
import tyro  # noqa: E402

from trainer.config.options import TrainingOptions  # noqa: E402
from trainer.config.plan import TrainingPlan, resolve  # noqa: E402
from trainer.distributed.deepspeed.engine import Engine  # noqa: E402
from trainer.distributed.ranks import Ranks, compute_deterministically, joined  # noqa: E402
from trainer.memory.available import find_available_memory  # noqa: E402
from trainer.memory.choice import ChosenLayout, choose_layout  # noqa: E402
from trainer.memory.estimate import GIB  # noqa: E402
from trainer.model.float8 import use_float8  # noqa: E402
from trainer.model.flops import flops_per_token, peak_flops  # noqa: E402
from trainer.model.gpt2 import GPT2  # noqa: E402

ALONE = Ranks(rank=0, size=1, local_rank=0, local_size=1)
MOST_ACCUMULATED = 8  # micro-batches in a step, of up to 64 in a run: the end of a step weighs more here
KINDS = {
    "attention": ("sdpa", "flash", "cudnn", "fmha", "flex", "attention"),
    "products": ("gemm", "nvjet", "cutlass", "xmma", "cublas", "splitk", "mm_"),
    "own kernels": ("_gelu_backward", "_concatenate", "_cross_entropy"),
    "compiled": ("triton_",),
    "optimizer": ("adam", "multi_tensor", "foreach", "lpnorm"),
    "embedding": ("embedding", "sort", "scatter", "grad_weight", "radix"),
    "copies": ("copy", "memcpy", "memset", "cat", "fill"),
}


def main() -> None:
    """Measure each layout."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--size", required=True)
    parser.add_argument("--results", type=Path, required=True)
    parser.add_argument("--vocabulary", type=int, default=50_257)
    parser.add_argument("--seconds", type=float, default=280, help="begin no layout after so many")
    parser.add_argument("--profile", type=Path, help="write the kernels of one step of the first layout")
    parser.add_argument("layouts", nargs="+", metavar="LAYOUT")
    options = parser.parse_args()
    device = torch.device("cuda", 0) if torch.cuda.is_available() else torch.device("cpu")
    started = time.monotonic()
    with joined(ALONE, device):
        for number, layout in enumerate(options.layouts):
            record: dict[str, Any] = {"what": "layout", "size": options.size, "layout": layout}
            if time.monotonic() - started > options.seconds:
                record["skipped"] = "no time left"
            else:
                try:
                    profile = options.profile if number == 0 else None
                    record |= measure(options.size, layout, options.vocabulary, device, profile)
                except (RuntimeError, ValueError) as error:
                    record["failed"] = f"{type(error).__name__}: {str(error).splitlines()[0][:200]}"
            free(device)
            append(options.results, record)


def append(results: Path, record: dict[str, Any]) -> None:
    """Write a result down at once, and show it."""
    with results.open("a") as file:
        file.write(json.dumps(record) + "\n")
    print(json.dumps(record), flush=True)


def measure(
    size: str, layout: str, vocabulary: int, device: torch.device, profile: Path | None
) -> dict[str, Any]:
    """Return the figures of one layout."""
    began = time.monotonic()
    torch._dynamo.reset()  # its limit of compilations is for one model, not for many in turn
    fitted = plan_of(size, layout, vocabulary, device)
    plan, gpu = fitted.plan, device.type == "cuda"
    if plan.deterministic:
        compute_deterministically()
    model = empty_model(plan, device)
    if plan.float8:
        use_float8(model)
    if plan.compiled:
        model.compile_parts()
    engine = Engine(model, plan, ALONE, device)
    tokens = torch.randint(vocabulary, (plan.accumulation_steps, plan.micro_batch, plan.model.context + 1))
    batches = [(row[:, :-1].contiguous(), row[:, 1:].contiguous()) for row in tokens]
    if gpu:
        batches = [(one.pin_memory(), other.pin_memory()) for one, other in batches]

    def step() -> float:
        return engine.step(
            batches, targets=plan.tokens_per_step, learning_rate=1e-4, stop=False, accept=lambda *_: True
        ).loss

    first = step()
    ready = time.monotonic() - began
    if gpu:
        torch.cuda.reset_peak_memory_stats()
    step()
    seconds, last = [], first
    while len(seconds) < 2 or (len(seconds) < 4 and sum(seconds) < 8):
        start = time.perf_counter()
        last = step()  # whose loss is read at its end, and the optimizer is soon done
        seconds.append(time.perf_counter() - start)
    figures = speed(plan, statistics.median(seconds), device)
    figures |= {"micro_batch": plan.micro_batch, "accumulated": plan.accumulation_steps}
    figures |= {"compile": plan.compiled, "recompute": plan.recompute, "zero_stage": plan.zero_stage}
    figures |= {"seconds": [round(s, 4) for s in seconds], "ready_s": round(ready, 1)}
    figures |= {"losses": [round(first, 4), round(last, 4)]}
    if gpu:
        measured = torch.cuda.max_memory_allocated()
        figures |= {
            "measured_gib": round(measured / GIB, 2),
            "predicted_gib": round(fitted.memory.allocated / GIB, 2),
            "error_of_prediction": round(fitted.memory.allocated / measured - 1, 4),
            "reserved_gib": round(torch.cuda.max_memory_reserved() / GIB, 2),
        }
    if profile:
        write_kernels(step, profile, gpu=gpu)
    return figures


def plan_of(size: str, layout: str, vocabulary: int, device: torch.device) -> ChosenLayout:
    """Return the plan that the command would have, its steps cut short."""
    words = ["--data", "", "--output", "", "--size", size, *shlex.split(layout)]
    options = tyro.cli(TrainingOptions, args=words)
    plan = resolve(
        options, vocabulary=vocabulary, world_size=1, accelerator=device.type == "cuda", end_of_text=0
    )
    fitted = choose_layout(plan, options, find_available_memory(device, local_ranks=1), None)
    plan = fitted.plan
    accumulated = min(plan.accumulation_steps, MOST_ACCUMULATED)
    plan = dataclasses.replace(
        plan, accumulation_steps=accumulated, sequences_per_step=accumulated * plan.micro_batch
    )
    return dataclasses.replace(fitted, plan=plan)


def empty_model(plan: TrainingPlan, device: torch.device) -> GPT2:
    """Return a model with random weights, drawn where they are used: for xl the CPU takes 20 seconds."""
    with torch.device("meta"):
        model = GPT2(plan.model, recompute=plan.recompute, recompute_every=plan.recompute_every)
    model.to_empty(device=device)
    torch.manual_seed(0)
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if parameter.ndim == 2:
                parameter.normal_(std=0.02)
            else:
                parameter.fill_(0.0 if name.endswith("bias") else 1.0)
    return model


def speed(plan: TrainingPlan, seconds: float, device: torch.device) -> dict[str, Any]:
    """Return tokens a second, and their share of the GPU's peak."""
    rate = plan.tokens_per_step / seconds
    name = torch.cuda.get_device_name(device) if device.type == "cuda" else "CPU"
    peak = peak_flops(name, plan.precision)
    share = round(rate * flops_per_token(plan.model) / peak, 4) if peak else None
    return {"device": name, "tokens_per_s": round(rate), "mfu": share}


def free(device: torch.device) -> None:
    """Give back what the last layout held, also after an error."""
    torch.use_deterministic_algorithms(False)
    gc.collect()
    if device.type == "cuda":
        torch.cuda.empty_cache()


def write_kernels(step: Any, path: Path, *, gpu: bool) -> None:
    """Write how long each kernel of a step ran, by kind and one by one, and how long none did."""
    from torch.profiler import ProfilerActivity, profile

    activities = [ProfilerActivity.CPU, *([ProfilerActivity.CUDA] if gpu else [])]
    with profile(activities=activities) as found:
        step()
    cuda = torch.autograd.DeviceType.CUDA
    events = [event for event in found.events() if not gpu or event.device_type == cuda]
    spans = sorted((event.time_range.start, event.time_range.end) for event in events)
    busy = sum(max(0.0, end - max(start, reached)) for (start, end), reached in zip(
        spans, itertools.accumulate((end for _, end in spans), max, initial=spans[0][0]), strict=False
    ))  # fmt: skip
    whole = max(end for _, end in spans) - spans[0][0]
    rows: dict[str, list[float]] = {}
    for event in events:
        spent = event.self_device_time_total if gpu else event.self_cpu_time_total
        row = rows.setdefault(event.name, [0.0, 0])
        row[0], row[1] = row[0] + spent, row[1] + 1
    kinds: dict[str, float] = {}
    for name, (spent, _) in rows.items():
        kind = next((k for k, words in KINDS.items() if any(w in name.lower() for w in words)), "other")
        kinds[kind] = kinds.get(kind, 0.0) + spent
    total = max(sum(kinds.values()), 1e-9)
    lines = [
        f"one step: {whole / 1e3:.1f} ms from its first kernel to its last, {busy / 1e3:.1f} ms busy",
        "",
    ]
    by_time = sorted(kinds.items(), key=lambda item: -item[1])
    lines += [f"{kind:<12}{spent / 1e3:9.2f} ms {spent / total:6.1%}" for kind, spent in by_time]
    lines += ["", "       ms  calls  kernel"]
    most = sorted(rows.items(), key=lambda item: -item[1][0])[:60]
    lines += [f"{spent / 1e3:9.3f} {calls:6.0f}  {name[:150]}" for name, (spent, calls) in most]
    path.write_text("\n".join(lines) + "\n")


if __name__ == "__main__":
    main()
