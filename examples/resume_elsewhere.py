"""Go on with a run of ours in transformers' GPT-2 and torch's AdamW, from one of its checkpoints.

python examples/resume_elsewhere.py out/run/step_00000300 --shards out/shards --steps 3

Everything that is read is described in docs/formats.md. Only the order of the data comes from our own code.
"""

import argparse
import json
import math
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file
from torch import Tensor
from transformers import GPT2Config, GPT2LMHeadModel

from tokenizer.shards.folder import open_shards
from trainer.data.batches import TrainingData

TRANSPOSED = ("c_attn.weight", "c_proj.weight", "c_fc.weight")  # [out, in] in a checkpoint, here [in, out]


def read_tensors(checkpoint: Path, kind: str, entries: int) -> dict[str, Tensor]:
    """Return the tensors of a kind, weights or moments, as transformers has them: turned, without padding."""
    found: dict[str, Tensor] = {}
    for file in sorted(checkpoint.glob(f"{kind}-*.safetensors")):
        found.update(load_file(file))
    found["wte.weight"] = found["wte.weight"][:entries]
    return {name: (t.T if name.endswith(TRANSPOSED) else t).contiguous() for name, t in found.items()}


def load(checkpoint: Path, state: dict[str, Any]) -> tuple[GPT2LMHeadModel, torch.optim.AdamW]:
    """Return the model and its optimizer as the run left them."""
    plan, shape = state["plan"], state["model"]
    config = GPT2Config(
        n_layer=shape["layers"],
        n_head=shape["heads"],
        n_embd=shape["width"],
        n_positions=shape["context"],
        vocab_size=shape["vocabulary"],
        resid_pdrop=0.0,
        embd_pdrop=0.0,
        attn_pdrop=0.0,
    )
    model = GPT2LMHeadModel(config)
    entries = shape["vocabulary"]
    model.transformer.load_state_dict(read_tensors(checkpoint, "weights", entries))
    model.tie_weights()
    parameters = dict(model.transformer.named_parameters())
    decayed = [parameter for parameter in parameters.values() if parameter.ndim == 2]
    others = [parameter for parameter in parameters.values() if parameter.ndim < 2]
    optimizer = torch.optim.AdamW(
        [{"params": decayed, "weight_decay": plan["weight_decay"]}, {"params": others, "weight_decay": 0.0}],
        betas=(plan["beta1"], plan["beta2"]),
        eps=plan["epsilon"],
    )
    first, second = (read_tensors(checkpoint, kind, entries) for kind in ("exp_avg", "exp_avg_sq"))
    for name, parameter in parameters.items():
        optimizer.state[parameter] = {
            "step": torch.tensor(float(state["updates"])),
            "exp_avg": first[name],
            "exp_avg_sq": second[name],
        }
    return model, optimizer


def rate_of(step: int, plan: dict[str, Any]) -> float:
    """Return the learning rate of the step after so many, of the cosine schedule."""
    peak, final, warmup = plan["learning_rate"], plan["final_learning_rate"], plan["warmup_steps"]
    if step < warmup:
        return float(peak * (step + 1) / (warmup + 1))
    progress = (step - warmup) / max(1, plan["steps"] - warmup)
    return float(final + (peak - final) * 0.5 * (1 + math.cos(math.pi * progress)))


def resume(checkpoint: Path, shards: str, steps: int) -> list[float]:
    """Train on, and return each step's loss."""
    state = json.loads((checkpoint / "state.json").read_text())
    plan = state["plan"]
    model, optimizer = load(checkpoint, state)
    data = TrainingData(
        open_shards(shards).open("train"),
        context=plan["context"],
        vocabulary=state["model"]["vocabulary"],
        seed=plan["seed"],
        shuffle_shards=plan.get("shuffle_shards", 0),
    )
    losses, sequences = [], plan["sequences_per_step"]
    for step in range(state["step"], state["step"] + steps):
        first = state["sequences"] + (step - state["step"]) * sequences
        inputs, targets = map(torch.from_numpy, data.sequences(first, sequences))
        logits = model(inputs).logits
        loss = torch.nn.functional.cross_entropy(logits.flatten(0, 1), targets.flatten())
        optimizer.zero_grad()
        loss.backward()  # type: ignore[no-untyped-call]
        torch.nn.utils.clip_grad_norm_(model.parameters(), plan["gradient_clip"])
        for group in optimizer.param_groups:
            group["lr"] = rate_of(step, plan)
        optimizer.step()
        losses.append(loss.item())
    return losses


def main() -> None:
    """Print the losses of some steps after a checkpoint."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("checkpoint", type=Path)
    parser.add_argument("--shards", required=True)
    parser.add_argument("--steps", type=int, default=3)
    options = parser.parse_args()
    for number, loss in enumerate(resume(options.checkpoint, options.shards, options.steps), 1):
        print(f"step +{number}: loss {loss:.6f}")


if __name__ == "__main__":
    main()
