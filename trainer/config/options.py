"""The command line of `launch/pretrain.py`.

Nothing here imports torch, so that `--help` and errors in the options are fast.
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
    """What to do about bad updates. One with NaN or Inf is always skipped."""

    skip_spikes: bool = False
    """Also skip updates whose loss or gradient norm is a spike."""
    spike_threshold: Annotated[float, Gt(0)] = 6.0
    """A spike is this many standard deviations above the mean of the last 128 steps (OLMo-core skips at
    6)."""
    max_skips_in_a_row: Annotated[int, Ge(1)] = 10
    """Stop the run after this many skipped updates in a row."""


@dataclass(frozen=True, kw_only=True)
class TrackerOptions:
    """Trackers to log to."""

    tensorboard: bool = False
    """Also write TensorBoard event files, to `tensorboard` in the run's folder."""
    wandb: str | None = None
    """Also log to this project of Weights & Biases; WANDB_MODE=offline needs no account."""

    def check(self) -> None:
        """Raise `ValueError` if a requested tracker is not installed."""
        for option, asked in (("tensorboard", self.tensorboard), ("wandb", bool(self.wandb))):
            if asked and find_spec(option) is None:
                raise ValueError(f"--{option} needs a package: pip install 'outbound[tracking]'")


@dataclass(frozen=True, kw_only=True)
class TrainingOptions:
    """The command line of `launch/pretrain.py`. Defaults come from the size's recipe."""

    data: str
    """Folder of token shards, as `tokenizer/write_shards.py` writes it; or llm.c's, nanoGPT's or Megatron's
    own. May be on a store (s3://…)."""
    vocabulary: str | None = None
    """Folder or file of the shards' vocabulary. Default: what lies beside the shards."""
    vocabulary_size: Annotated[int | None, Ge(1)] = None
    """Entries of the vocabulary, if nothing else is known of another tool's shards: such a run can be trained
    and exported later with its --vocabulary, but bits per byte and --document-attention need it now."""
    output: str | None = None
    """Folder of the run: checkpoints, metrics.jsonl, options.json. If it holds this run, the run
    resumes. May be on a store (s3://…). Default: out/ and the size."""
    scratch: str | None = None
    """Folder on this machine for what is sent to a store and what comes from there; machines need not share
    it. Default: outbound in the user's cache folder."""
    cache_gb: Annotated[float | None, Gt(0)] = None
    """Most that shards from a store take there, in GB (10⁹ bytes). Default: nine tenths of the free space."""
    shuffle_shards: Annotated[int, Ge(0)] = 0
    """Shuffle the training data within so many consecutive shards at a time, and the order of these groups;
    0: all of it. From a store, only the shards of two groups are then needed at a time."""
    size: str | None = None
    """Model size: micro, nano, small, medium, large or xl. Default: that of --init-from; otherwise small on a
    GPU and nano on a CPU."""
    init_from: str | None = None
    """Start from the weights of another run or checkpoint, or of a Hugging Face GPT-2 directory."""
    context: Annotated[int | None, Ge(1)] = None
    """Tokens per sequence, at most the context of --init-from."""
    steps: Annotated[int | None, Ge(1)] = None
    """Optimizer steps of the whole run; the learning rate's decay ends there."""
    tokens: Annotated[int | None, Ge(1)] = None
    """Total tokens to train on, instead of --steps."""
    epochs: Annotated[float | None, Gt(0)] = None
    """Passes over the training data, instead of --steps."""
    global_batch_tokens: Annotated[int | None, Ge(1)] = None
    """Tokens per optimizer step, over all ranks and accumulated micro-batches."""
    micro_batch: Annotated[int | None, Ge(1)] = None
    """Sequences per rank in one forward pass."""
    learning_rate: Annotated[float | None, Ge(0)] = None
    """Peak learning rate, reached after the warm-up."""
    final_learning_rate: Annotated[float | None, Ge(0)] = None
    """Learning rate at the last step. Default: a tenth of the peak; 0 with --schedule wsd."""
    schedule: Schedule = "cosine"
    """Learning-rate schedule: cosine, or wsd (warm-up, stable, decay), which stays at the peak until the last
    --decay-steps. Until then a wsd run can be given more --steps."""
    decay_steps: Annotated[int | None, Ge(0)] = None
    """Last steps of a wsd run, in which the rate decays. Default: a fifth of all steps."""
    warmup_steps: Annotated[int | None, Ge(0)] = None
    """Steps of linear warm-up. Default: the size's own, but at most a tenth of all steps."""
    optimizer: Optimizer = "adamw"
    """Optimizer: adamw; or muon, which is Muon for the matrices inside the blocks (one moment instead of two)
    and AdamW for embeddings and vectors, with the same learning rate and weight decay."""
    beta1: Annotated[float, Ge(0), Lt(1)] = 0.9
    """AdamW's decay of the first moment, as in GPT-3 and llm.c."""
    beta2: Annotated[float, Ge(0), Lt(1)] = 0.95
    """AdamW's decay of the second moment, as in GPT-3 and llm.c."""
    epsilon: Annotated[float, Gt(0)] = 1e-8
    """AdamW's epsilon, as in GPT-3 and llm.c."""
    weight_decay: Annotated[float, Ge(0)] = 0.1
    """Decoupled weight decay, on matrices only."""
    gradient_clip: Annotated[float, Ge(0)] = 1.0
    """Clip the gradient to this norm; 0: no clipping."""
    dropout: Annotated[float, Ge(0), Lt(1)] = 0.0
    """Probability of dropping an activation. Which ones depends on the ranks and the micro-batch."""
    seed: Annotated[int, Ge(0), Lt(2**63)] = 1337
    """Seed of the initial weights, the order of the data and dropout."""
    precision: Literal["auto", "bf16", "fp32"] = "auto"
    """Matrix products in bf16 or fp32 (weights and optimizer stay in fp32); auto: bf16 on a GPU that has
    it."""
    zero_stage: Literal[0, 1, 2, 3] | None = None
    """What is sharded over the ranks: 1 optimizer states, 2 also gradients, 3 also weights, 0 nothing.
    Default: 1, or 0 on a single rank; higher if an offload needs it."""
    offload_optimizer: bool = False
    """Keep optimizer states in CPU memory and update there; needs ZeRO stage 1, 2 or 3."""
    offload_parameters: bool = False
    """Keep the weights in CPU memory too, and only those in use on the GPU; needs ZeRO stage 3."""
    activation_checkpointing: Literal["auto", "none", "selective", "block", "offload"] = "auto"
    """What to recompute in the backward pass instead of keeping it: none; selective, everything but matrix
    products and attention; block, everything but each block's input; offload, the same with the inputs in
    CPU memory. From left to right: less memory, more time."""
    activation_checkpointing_interval: Annotated[int, Ge(1)] = 1
    """Apply activation checkpointing to every n-th block only."""
    compile: Literal["auto", "on", "off"] = "auto"
    """Compile the blocks and the loss with torch.compile, during the first step. auto: on a GPU, if Triton, a
    C compiler and Python.h are installed and the weights are not sharded (--zero-stage 3)."""
    float8: bool = False
    """Use float8 matrix products in the blocks; needs compute capability 8.9 (L4, H100 and newer), the extra
    `float8`, compiled blocks and bf16. Its speed is not measured yet."""
    rank_timeout_s: Annotated[float, Gt(0)] = 600.0
    """Longest time that a rank waits for another. In steps, once some have been timed, it waits 20 times as
    long as the slowest of them, but at least 30 s and at most this."""
    deterministic: bool = False
    """Use deterministic GPU kernels, so that a resumed run is bitwise equal to one that never stopped.
    Without it, attention sums its gradients in no fixed order on a GPU. docs/performance.md has the cost."""
    document_attention: bool = False
    """Let tokens attend only within their own document. Without compiled blocks, or with dropout, it takes
    context² bytes per sequence."""
    skip_memory_check: bool = False
    """Start even if the predicted peak memory exceeds the available memory."""
    evaluate_every: Annotated[int | None, Ge(0)] = None
    """Steps between validation losses (also computed at the first and last step); 0: none at all."""
    evaluation_tokens: Annotated[int | None, Ge(1)] = None
    """Maximum number of validation tokens per evaluation."""
    checkpoint_every: Annotated[int | None, Ge(1)] = None
    """Steps between checkpoints (the last step always has one)."""
    keep_checkpoints: Annotated[int, Ge(1)] = 2
    """Number of newest checkpoints to keep."""
    keep_every: Annotated[int, Ge(0)] = 0
    """Also keep forever every checkpoint whose step is a multiple of this; 0: none."""
    log_every: Annotated[int | None, Ge(1)] = None
    """Steps between console lines (metrics.jsonl has every step)."""
    profile_steps: str | None = None
    """Profile these steps, such as 10:13 (10, 11 and 12); writes a trace and a table to `profile` in the
    run's folder."""
    sample_every: Annotated[int | None, Ge(0)] = None
    """Steps between texts that the model writes, for run.html and samples.jsonl; 0: none. Default: with every
    validation loss, if the shards have a vocabulary."""
    sample_prompts: tuple[str, ...] = ("", "The ")
    """What the texts begin with; an empty one begins a document."""
    sample_tokens: Annotated[int, Ge(1)] = 64
    """Length of each text in tokens, beyond its prompt."""
    anomalies: AnomalyOptions = field(default_factory=AnomalyOptions)
    """What to do about bad updates."""
    trackers: TrackerOptions = field(default_factory=TrackerOptions)
    """Trackers to log to."""
