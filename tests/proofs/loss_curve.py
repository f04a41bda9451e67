"""Train 200 steps by the command, on two ranks at each ZeRO stage, and by a plain loop: the same losses.

python tests/proofs/loss_curve.py

The loop shares nothing with the trainer but the first weights and the order of the windows: the model is
transformers', the optimizer is written out from the paper, the data are read by NumPy.
"""

import hashlib
import json
import math
import os
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from transformers import GPT2Config, GPT2LMHeadModel

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT))

from trainer.config.model_config import ModelConfig  # noqa: E402
from trainer.config.recipes import SIZES  # noqa: E402
from trainer.data.batches import TrainingData  # noqa: E402  # found by the path above
from trainer.model.gpt2 import build  # noqa: E402

TOLERANCE = 1e-4
SIZE = SIZES["micro"]
PEAK, FINAL, WARMUP, DECAY, CLIP, SEED = 3e-3, 3e-4, 10, 0.1, 1.0, 1337
SEQUENCES = 8  # in a step
BETAS, EPSILON = (0.9, 0.95), 1e-8


def options(data: Path, output: Path, *, steps: int, zero_stage: int) -> list[str]:
    """Return the command line of the same training."""
    values = {
        "data": data, "output": output, "size": "micro", "steps": steps, "zero-stage": zero_stage,
        "global-batch-tokens": SEQUENCES * SIZE.context, "micro-batch": 2, "learning-rate": PEAK,
        "final-learning-rate": FINAL, "warmup-steps": WARMUP, "weight-decay": DECAY, "gradient-clip": CLIP,
        "seed": SEED, "evaluate-every": 0, "checkpoint-every": steps, "precision": "fp32",
    }  # fmt: skip
    return [part for name, value in values.items() for part in (f"--{name}", str(value))]


def plain_losses(shards: list[Path], vocabulary: int, *, steps: int) -> list[float]:
    """Return the loss of each step of a plain training in one process, each batch whole."""
    tokens = np.concatenate([np.fromfile(path, "<u2", offset=1024) for path in shards]).astype(np.int64)
    model = _first_model(vocabulary)
    parameters = list(model.parameters())
    moments = [(torch.zeros_like(p), torch.zeros_like(p)) for p in parameters]
    losses = []
    for step, batch in zip(range(steps), _batches(tokens, vocabulary), strict=False):
        loss = model(batch, labels=batch).loss  # which takes the targets one position on
        losses.append(float(loss.detach()))
        model.zero_grad()
        loss.backward()
        norm = math.sqrt(sum(float(p.grad.double().square().sum()) for p in parameters))
        with torch.no_grad():
            for parameter, (first, second) in zip(parameters, moments, strict=True):
                gradient = parameter.grad * min(1.0, CLIP / (norm + 1e-6))
                _adamw(parameter, gradient, first, second, step=step, rate=_rate(step, steps))
    return losses


def _first_model(vocabulary: int) -> GPT2LMHeadModel:
    """Return transformers' GPT-2 with our first weights."""
    shape = {"layers": SIZE.layers, "heads": SIZE.heads, "width": SIZE.width, "context": SIZE.context}
    ours = build(ModelConfig(**shape, vocabulary=vocabulary), seed=SEED)
    model = GPT2LMHeadModel(
        GPT2Config(
            n_layer=SIZE.layers, n_head=SIZE.heads, n_embd=SIZE.width, n_positions=SIZE.context + 1,
            vocab_size=vocabulary, resid_pdrop=0.0, embd_pdrop=0.0, attn_pdrop=0.0,
            bos_token_id=0, eos_token_id=0,
        )
    )  # fmt: skip
    with torch.no_grad():
        for name, parameter in ours.named_parameters():
            theirs = model.transformer.get_parameter(name)
            whole = (
                parameter.T if name.endswith(("c_attn.weight", "c_proj.weight", "c_fc.weight")) else parameter
            )
            rows = min(len(theirs), len(whole))  # no padding here; and a position for the last target
            theirs[:rows] = whole[:rows]
    return model


def _batches(tokens: NDArray[np.int64], vocabulary: int) -> Iterator[Tensor]:
    """Yield each step's windows [B, T + 1], in the order that the seed decides."""
    order = TrainingData(tokens, context=SIZE.context, vocabulary=vocabulary, seed=SEED)  # type: ignore[arg-type]
    first = 0
    while True:
        starts = [window * SIZE.context for window in order.order(first, SEQUENCES)]
        yield torch.from_numpy(np.stack([tokens[start : start + SIZE.context + 1] for start in starts]))
        first += SEQUENCES


def _adamw(
    parameter: Tensor, gradient: Tensor, first: Tensor, second: Tensor, *, step: int, rate: float
) -> None:
    """Loshchilov and Hutter 2019, algorithm 2, with decay of matrices only."""
    first.mul_(BETAS[0]).add_(gradient, alpha=1 - BETAS[0])
    second.mul_(BETAS[1]).add_(gradient.square(), alpha=1 - BETAS[1])
    mean = first / (1 - BETAS[0] ** (step + 1))
    deviation = (second / (1 - BETAS[1] ** (step + 1))).sqrt()
    if parameter.dim() == 2:
        parameter.mul_(1 - rate * DECAY)
    parameter.sub_(rate * mean / (deviation + EPSILON))


def _rate(step: int, steps: int) -> float:
    """Linear warm-up, then half a cosine."""
    if step < WARMUP:
        return PEAK * (step + 1) / (WARMUP + 1)
    return FINAL + (PEAK - FINAL) * (1 + math.cos(math.pi * (step - WARMUP) / (steps - WARMUP))) / 2


def command_losses(run: Path) -> list[float]:
    """Return the losses that a run of the command has put down."""
    records = [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]
    return [record["loss"] for record in records if "loss" in record]


def write_shards(folder: Path, *, vocabulary: int, windows: int) -> list[Path]:
    """Write tokens of which a model can learn something, and return the training shard of so many windows."""
    count = 1000 + windows * SIZE.context + 1  # the first for validation
    generator = np.random.default_rng(0)
    followers = generator.integers(0, vocabulary, (vocabulary, 4))
    tokens = np.zeros(count, np.int64)
    for position, choice in enumerate(generator.integers(0, 5, count - 1)):
        tokens[position + 1] = followers[tokens[position], choice % 4]
    folder.mkdir(parents=True)
    splits, files = {}, []
    for split, part in (("train", tokens[1000:]), ("validation", tokens[:1000])):
        header = np.zeros(256, "<i4")
        header[:3] = 20240520, 1, len(part)
        content = header.tobytes() + part.astype("<u2").tobytes()
        files.append(folder / f"{split}_000000.bin")
        files[-1].write_bytes(content)
        shard = {"file": files[-1].name, "tokens": len(part), "documents": 1}
        shard["sha256"] = hashlib.sha256(content).hexdigest()
        about = {"documents": 1, "tokens": len(part), "characters": 0, "bytes": 0}
        splits[split] = {**about, "shards": [shard]}
    described = {"fingerprint": "0" * 64, "size": vocabulary, "end_of_text": vocabulary - 1}
    index = {"version": 2, "format": "llm.c", "token_type": "uint16", "vocabulary": described}
    (folder / "shards.json").write_text(json.dumps({**index, "seed": 0, "splits": splits}))
    return files[:1]


def main() -> None:
    """Compare, and print the largest difference at each stage."""
    steps, vocabulary = 200, 509
    environment = {**os.environ, "CUDA_VISIBLE_DEVICES": "", "DS_ACCELERATOR": "cpu"}
    with tempfile.TemporaryDirectory() as folder:
        shards = write_shards(Path(folder, "shards"), vocabulary=vocabulary, windows=2335)
        expected = plain_losses(shards, vocabulary, steps=steps)
        print(f"plain loop: loss {expected[0]:.4f} at step 1, {expected[-1]:.4f} at step {steps}", flush=True)
        worst = 0.0
        for stage in range(4):
            run = Path(folder, f"stage_{stage}")
            line = options(Path(folder, "shards"), run, steps=steps, zero_stage=stage)
            launcher = str(Path(sys.executable).parent / "deepspeed")
            command = [launcher, "--quiet", "--num_accelerators", "2", "launch/pretrain.py", *line]
            subprocess.run(command, cwd=ROOT, env=environment, check=True, stdout=subprocess.DEVNULL)
            found = command_losses(run)
            assert len(found) == steps
            differences = [abs(one - other) for one, other in zip(found, expected, strict=True)]
            worst = max(worst, *differences)
            print(f"ZeRO {stage}, 2 ranks: largest difference {max(differences):.1e}", flush=True)
    if worst > TOLERANCE:
        sys.exit(f"the losses differ by more than {TOLERANCE:g}")


if __name__ == "__main__":
    main()
