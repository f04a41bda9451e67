"""The command line of `launch/pretrain.py`.

Nothing here imports torch, so that `--help` and a mistake in the options are answered at once.
"""

from dataclasses import dataclass, field
from importlib.util import find_spec
from typing import Annotated, Literal

from annotated_types import Ge, Gt, Lt

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
    spike_threshold: Annotated[float, Gt(0)] = 6.0
    """Standard deviations above the mean of the last 128 steps that make a spike (OLMo-core's skips at 6)."""
    max_skips_in_a_row: Annotated[int, Ge(1)] = 10
    """Stop the run after so many updates in a row that were not applied."""


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
    context: Annotated[int | None, Ge(1)] = None
    """Tokens in a sequence, at most as many as --init-from was trained with."""
    steps: Annotated[int | None, Ge(1)] = None
    """Optimizer steps of the whole run, where the learning rate's decay ends."""
    tokens: Annotated[int | None, Ge(1)] = None
    """Tokens to train on in all, in place of --steps."""
    epochs: Annotated[float | None, Gt(0)] = None
    """How often to go through the training data, in place of --steps."""
    global_batch_tokens: Annotated[int | None, Ge(1)] = None
    """Tokens in one optimizer step, over all ranks and accumulated micro-batches."""
    micro_batch: Annotated[int | None, Ge(1)] = None
    """Sequences that one rank takes through the model at once."""
    learning_rate: Annotated[float | None, Ge(0)] = None
    """Peak learning rate, reached after the warm-up."""
    final_learning_rate: Annotated[float | None, Ge(0)] = None
    """Learning rate at the last step; left out, a tenth of the peak, and 0 with --schedule wsd."""
    schedule: Schedule = "cosine"
    """How the rate goes down: half a cosine; or wsd (warm-up, stable, decay), which stays at the peak till
    the last --decay-steps. Until then such a run may be given more --steps."""
    decay_steps: Annotated[int | None, Ge(0)] = None
    """Last steps of a wsd run, in which the rate falls; left out, a fifth of all steps."""
    warmup_steps: Annotated[int | None, Ge(0)] = None
    """Steps of linear warm-up; left out, the size's own but at most a tenth of all steps."""
    optimizer: Optimizer = "adamw"
    """What turns gradients into updates: adamw; or muon, which does so for the matrices inside the blocks,
    with one moment in place of two, and leaves embeddings and vectors to AdamW, all at the same rates."""
    beta1: Annotated[float, Ge(0), Lt(1)] = 0.9
    """AdamW's decay of the first moment, as GPT-3 and llm.c."""
    beta2: Annotated[float, Ge(0), Lt(1)] = 0.95
    """AdamW's decay of the second moment, as GPT-3 and llm.c."""
    epsilon: Annotated[float, Gt(0)] = 1e-8
    """AdamW's epsilon, as GPT-3 and llm.c."""
    weight_decay: Annotated[float, Ge(0)] = 0.1
    """Decoupled weight decay, on matrices only."""
    gradient_clip: Annotated[float, Ge(0)] = 1.0
    """Largest norm of the whole gradient; 0: no clipping."""
    dropout: Annotated[float, Ge(0), Lt(1)] = 0.0
    """Probability of dropping an activation."""
    seed: Annotated[int, Ge(0), Lt(2**63)] = 1337
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
    activation_checkpointing_interval: Annotated[int, Ge(1)] = 1
    """Do so in every n-th block only."""
    compile: Literal["auto", "on", "off"] = "auto"
    """Let torch.compile make kernels of the blocks and of the loss, at the first step: auto does so on a GPU
    where there is all that takes (Triton, a C compiler, Python.h) and the weights are not sharded
    (--zero-stage 3)."""
    float8: bool = False
    """Multiply in float8 in the blocks, on a GPU that can (compute capability 8.9: L4, H100 and newer). Wants
    the extra float8, compiled blocks and bf16. Not measured yet."""
    rank_timeout_s: Annotated[float, Gt(0)] = 600.0
    """Longest time that a rank waits for another before it gives up. During steps, once some have been timed,
    it waits 20 times as long as the slowest of them, at least 30 s and at most this."""
    deterministic: bool = False
    """Compute the same bits each time on a GPU too, so that a resumed run equals one that never stopped to
    the last bit. Without it a GPU's attention adds up its gradients in no fixed order. docs/performance.md
    has its price."""
    document_attention: bool = False
    """Let tokens attend to their own document only. Where the blocks are not compiled, or with dropout, it
    takes context² bytes a sequence."""
    skip_memory_check: bool = False
    """Start even if the predicted peak memory is more than there is."""
    evaluate_every: Annotated[int | None, Ge(0)] = None
    """Steps between two validation losses (the first and last step have one in any case); 0: none at all."""
    evaluation_tokens: Annotated[int | None, Ge(1)] = None
    """Most validation tokens that one evaluation reads."""
    checkpoint_every: Annotated[int | None, Ge(1)] = None
    """Steps between two checkpoints (the last step has one in any case)."""
    keep_checkpoints: Annotated[int, Ge(1)] = 2
    """How many checkpoints to keep, the newest."""
    keep_every: Annotated[int, Ge(0)] = 0
    """Keep besides, for good, those after every so many steps; 0: none."""
    log_every: Annotated[int | None, Ge(1)] = None
    """Steps between two lines on the console (metrics.jsonl has every step)."""
    profile_steps: str | None = None
    """Profile some steps, such as 10:13 (10, 11 and 12): a trace and a table, in the run's folder profile."""
    anomalies: AnomalyOptions = field(default_factory=AnomalyOptions)
    """What to do about updates that look wrong."""
    trackers: TrackerOptions = field(default_factory=TrackerOptions)
    """Where else figures go."""
