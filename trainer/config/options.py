"""The command line of `launch/pretrain.py`.

Nothing here imports torch, so that `--help` and a mistake in the options are answered at once.
"""

import dataclasses
import math
from dataclasses import dataclass, field
from importlib.util import find_spec
from typing import Literal

Schedule = Literal["cosine", "wsd"]
Precision = Literal["bf16", "fp32"]
Optimizer = Literal["adamw", "muon"]
Recompute = Literal[
    "none", "selective", "block", "offload"
]  # what trainer/model/activation_checkpointing.py does


@dataclass(frozen=True, kw_only=True)
class AnomalyOptions:
    """What to do about updates that look wrong. One that is no number is never applied."""

    skip_spikes: bool = False
    """Do not apply an update whose loss or gradient norm is a spike, either."""
    spike_threshold: float = 6.0
    """Standard deviations above the mean of the last 128 steps that make a spike (OLMo-core's skips at 6)."""
    max_skips_in_a_row: int = 10
    """Stop the run after so many updates in a row that were not applied."""

    def check(self) -> None:
        """Raise `ValueError` if a value is out of range."""
        if not self.spike_threshold > 0:
            raise ValueError(f"--spike-threshold is {self.spike_threshold}: it must be above 0")
        if self.max_skips_in_a_row < 1:
            raise ValueError(f"--max-skips-in-a-row is {self.max_skips_in_a_row}: it must be at least 1")


@dataclass(frozen=True, kw_only=True)
class TrackerOptions:
    """Which trackers a run has."""

    tensorboard: bool = False
    """Also write TensorBoard's event files, to the run's folder `tensorboard`."""
    wandb: str | None = None
    """Also log to this project of Weights & Biases; WANDB_MODE=offline needs no account."""

    def check(self) -> None:
        """Raise `ValueError` if a tracker that is asked for is not installed."""
        for option, asked in (("tensorboard", self.tensorboard), ("wandb", bool(self.wandb))):
            if asked and find_spec(option) is None:
                raise ValueError(f"--{option} needs a package: pip install 'outbound[tracking]'")


@dataclass(frozen=True, kw_only=True)
class TrainingOptions:
    """The command line of `launch/pretrain.py`. What is left out comes from the size's recipe."""

    data: str
    """Folder of token shards, as `tokenizer/write_shards.py` writes it."""
    output: str | None = None
    """Folder of the run: checkpoints, metrics.jsonl, options.json. If it holds this very run, it goes on.
    Left out: out/ and the size."""
    size: str | None = None
    """Model size: micro, nano, small, medium, large or xl. Left out: that of --init-from; else small on a
    GPU and nano on a CPU."""
    init_from: str | None = None
    """Begin with the weights of another run or checkpoint, or of a Hugging Face GPT-2 directory."""
    context: int | None = None
    """Tokens in a sequence, at most as many as --init-from was trained with."""
    steps: int | None = None
    """Optimizer steps of the whole run, where the learning rate's decay ends."""
    tokens: int | None = None
    """Tokens to train on in all, in place of --steps."""
    epochs: float | None = None
    """How often to go through the training data, in place of --steps."""
    global_batch_tokens: int | None = None
    """Tokens in one optimizer step, over all ranks and accumulated micro-batches."""
    micro_batch: int | None = None
    """Sequences that one rank takes through the model at once."""
    learning_rate: float | None = None
    """Peak learning rate, reached after the warm-up."""
    final_learning_rate: float | None = None
    """Learning rate at the last step; left out, a tenth of the peak, and 0 with --schedule wsd."""
    schedule: Schedule = "cosine"
    """How the rate goes down: half a cosine; or wsd (warm-up, stable, decay), which stays at the peak till
    the last --decay-steps. Until then such a run may be given more --steps."""
    decay_steps: int | None = None
    """Last steps of a wsd run, in which the rate falls; left out, a fifth of all steps."""
    warmup_steps: int | None = None
    """Steps of linear warm-up; left out, the size's own but at most a tenth of all steps."""
    optimizer: Optimizer = "adamw"
    """What turns gradients into updates: adamw; or muon, which does so for the matrices inside the blocks,
    with one moment in place of two, and leaves embeddings and vectors to AdamW, all at the same rates."""
    beta1: float = 0.9
    """AdamW's decay of the first moment, as GPT-3 and llm.c."""
    beta2: float = 0.95
    """AdamW's decay of the second moment, as GPT-3 and llm.c."""
    epsilon: float = 1e-8
    """AdamW's epsilon, as GPT-3 and llm.c."""
    weight_decay: float = 0.1
    """Decoupled weight decay, on matrices only."""
    gradient_clip: float = 1.0
    """Largest norm of the whole gradient; 0: no clipping."""
    dropout: float = 0.0
    """Probability of dropping an activation."""
    seed: int = 1337
    """Decides the initial weights, the order of the data and the dropout."""
    precision: Literal["auto", "bf16", "fp32"] = "auto"
    """Matrix products in bf16 or fp32 (weights and optimizer stay fp32); auto is bf16 on a GPU that has
    it."""
    zero_stage: Literal[0, 1, 2, 3] | None = None
    """What the ranks share out: 1 optimizer states, 2 also gradients, 3 also weights, 0 nothing. Left out: 1,
    or 0 where there is but one rank; as much as an offload needs."""
    offload_optimizer: bool = False
    """Keep the optimizer's states and do its work in the machine's memory; needs ZeRO stage 1, 2 or 3."""
    offload_parameters: bool = False
    """Keep the weights in the machine's memory too, and only what is in use on the GPU; needs stage 3."""
    activation_checkpointing: Literal["auto", "none", "selective", "block", "offload"] = "auto"
    """What to compute again in the backward pass in place of keeping it: none; selective, all but matrix
    products and attention; block, everything but each block's input; offload, the same with the inputs in
    the CPU's memory. From left to right less memory and more time."""
    activation_checkpointing_interval: int = 1
    """Do so in every n-th block only."""
    compile: Literal["auto", "on", "off"] = "auto"
    """Let torch.compile make kernels of the blocks and of the loss, at the first step: auto does so on a GPU
    where there is all that takes (Triton, a C compiler, Python.h) and the weights are not sharded
    (--zero-stage 3)."""
    float8: bool = False
    """Multiply in float8 in the blocks, on a GPU that can (compute capability 8.9: L4, H100 and newer). Wants
    the extra float8, compiled blocks and bf16. Not measured yet."""
    deterministic: bool = False
    """Compute the same bits each time on a GPU too, so that a resumed run equals one that never stopped to
    the last bit. Without it a GPU's attention adds up its gradients in no fixed order. docs/performance.md
    has its price."""
    document_attention: bool = False
    """Let tokens attend to their own document only. Where the blocks are not compiled, or with dropout, it
    takes context² bytes a sequence."""
    ignore_memory: bool = False
    """Start even if by the prediction the memory will not do."""
    evaluate_every: int | None = None
    """Steps between two validation losses (the first and last step have one in any case); 0: none at all."""
    evaluation_tokens: int | None = None
    """Most validation tokens that one evaluation reads."""
    checkpoint_every: int | None = None
    """Steps between two checkpoints (the last step has one in any case)."""
    keep_checkpoints: int = 2
    """How many checkpoints to keep, the newest."""
    keep_every: int = 0
    """Keep besides, for good, those after every so many steps; 0: none."""
    log_every: int | None = None
    """Steps between two lines on the console (metrics.jsonl has every step)."""
    profile_steps: str | None = None
    """Profile some steps, such as 10:13 (10, 11 and 12): a trace and a table, in the run's folder profile."""
    anomalies: AnomalyOptions = field(default_factory=AnomalyOptions)
    """What to do about updates that look wrong."""
    trackers: TrackerOptions = field(default_factory=TrackerOptions)
    """Where else figures go."""


def check_ranges(options: TrainingOptions) -> None:
    """Raise `ValueError` if a value is out of range."""
    smallest = {
        "context": 1,
        "steps": 1,
        "tokens": 1,
        "global_batch_tokens": 1,
        "micro_batch": 1,
        "learning_rate": 0,
        "final_learning_rate": 0,
        "warmup_steps": 0,
        "decay_steps": 0,
        "beta1": 0,
        "beta2": 0,
        "weight_decay": 0,
        "gradient_clip": 0,
        "dropout": 0,
        "evaluate_every": 0,
        "evaluation_tokens": 1,
        "checkpoint_every": 1,
        "keep_checkpoints": 1,
        "keep_every": 0,
        "activation_checkpointing_interval": 1,
        "log_every": 1,
    }
    for name, least in smallest.items():
        value = getattr(options, name)
        if value is not None and not value >= least:
            raise ValueError(f"--{name.replace('_', '-')} is {value}: it must be at least {least}")
    for name in ("dropout", "beta1", "beta2"):
        if getattr(options, name) >= 1:
            raise ValueError(f"--{name} is {getattr(options, name)}: it must be less than 1")
    for name in ("epsilon", "epochs"):
        value = getattr(options, name)
        if value is not None and not value > 0:
            raise ValueError(f"--{name} is {value}: it must be above 0")
    for name, value in dataclasses.asdict(options).items():
        if isinstance(value, float) and math.isinf(value):
            raise ValueError(f"--{name.replace('_', '-')} is {value}: it must be a finite number")
    options.anomalies.check()
    options.trackers.check()
