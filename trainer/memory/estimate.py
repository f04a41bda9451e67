"""Predicted peak memory of one rank, part by part, before anything is allocated.

It counts what `model.py` keeps for the backward pass and what DeepSpeed holds for the plan that
`engine.py` gives it: weights, gradients and moments in fp32, matrix products in bf16 by autocast. Bytes;
N parameters (including the embedding's padding), L layers, width C, H heads, B sequences of T tokens.
"""

from collections.abc import Iterator
from dataclasses import dataclass, fields, replace

from trainer.config.model_config import ModelConfig
from trainer.config.options import Optimizer
from trainer.memory.activations import (
    copies_in_hand,
    copies_kept,
    copies_made,
    has_table,
    in_hand_per_token,
    kept_per_token,
)
from trainer.memory.layout import BF16, FP32, Layout
from trainer.model.loss_chunks import CHUNK_LOGITS, IN_PLACE

GIB = 2**30

# DeepSpeed's own constants (0.19): how much it sums up at once without ZeRO, the optimizer's stretch at
# stage 3, and how far ahead, in elements, the next use of a gathered weight may lie for it to stay.
ALL_REDUCE = 500_000_000
SUB_GROUP = 1_000_000_000
REUSE_DISTANCE = 1_000_000_000
PREFETCH = 50_000_000

# Allowances for what PyTorch's allocator does not tell: they are part of what must fit, but not of what
# is compared with the measured peak.
CUDA_CONTEXT = 1 * GIB  # the driver's context, cuBLAS and NCCL
PROCESS = GIB // 2  # a rank on a CPU: the interpreter with PyTorch and DeepSpeed
FRAGMENTATION = 0.04  # of all that is allocated: an H100 reserved 0.2 % (xl) to 6 % (small) more


@dataclass(frozen=True, kw_only=True)
class Memory:
    """Bytes on the device by part, at one moment of a step."""

    moment: str
    parameters: int
    gradients: int
    optimizer: int
    """Two moments per parameter (one under Muon), and at stages 1 and 2 DeepSpeed's copy of what it
    updates."""
    weight_copies: int
    """The weights in bf16, which autocast makes for the products."""
    activations: int
    """What the forward pass has kept, and what the backward pass is using."""
    loss: int
    """Logits and their gradients."""
    buffers: int
    """DeepSpeed's buffers: gradients in transit, weights gathered for use."""
    overhead: int = 0
    """An allowance for memory outside tensors: the CUDA context, fragmentation."""

    @property
    def allocated(self) -> int:
        """Bytes in tensors: what `torch.cuda.max_memory_allocated` counts."""
        return self.total - self.overhead

    @property
    def total(self) -> int:
        """Bytes of all parts, the allowance included: what must fit."""
        return sum(self.parts().values())

    def parts(self) -> dict[str, int]:
        """Bytes by the name of the part."""
        return {field.name: getattr(self, field.name) for field in fields(self) if field.name != "moment"}


def predict(config: ModelConfig, layout: Layout) -> Memory:
    """Return a rank's memory at the peak of a step."""
    most = max(_moments(config, layout), key=lambda memory: memory.total)
    if layout.accelerator:
        return replace(most, overhead=CUDA_CONTEXT + int(FRAGMENTATION * most.total))
    return replace(most, overhead=PROCESS)


def host_bytes(config: ModelConfig, layout: Layout) -> int:
    """Return the CPU memory of a rank with a GPU, most of it page-locked.

    The optimizer's: weights, two moments, gradients, and at stages 1 and 2 what DeepSpeed adds these up in.
    Offloaded inputs of blocks lie in pieces of a power of two bytes each, as PyTorch hands out such memory.
    """
    share = FP32 * -(-elements(config) // layout.ranks)
    states = (5 if layout.zero_stage < 3 else 4) * share if layout.offload_optimizer else 0
    weights = share if layout.offload_parameters else 0
    inputs = 0
    if layout.recompute == "offload":
        piece = FP32 * layout.micro_batch * config.context * config.width
        inputs = sum(map(layout.recomputes, range(config.layers))) * 2 ** (piece - 1).bit_length()
    return states + weights + inputs


def elements(config: ModelConfig) -> int:
    """Return how many parameters are trained: the model's, and the rows that pad its embedding."""
    return config.parameters + (config.padded_vocabulary - config.vocabulary) * config.width


def one_moment(config: ModelConfig, optimizer: Optimizer) -> int:
    """Return how many parameters have no second moment: with Muon the 12 C² of each block's matrices."""
    return 12 * config.width**2 * config.layers if optimizer == "muon" else 0


def reduce_bucket(config: ModelConfig) -> int:
    """Return how many gradient elements DeepSpeed should send at once.

    DeepSpeed's 500 million would cost 2 GB and, while they are sent, 2 GB more. A sixteenth of the model,
    at most 50 million elements (200 MB), is as good for the network: PyTorch's own choice is 25 MB.
    """
    return min(50_000_000, -(-elements(config) // 16))


def kept_bytes(config: ModelConfig, layout: Layout) -> int:
    """Return what the blocks keep for the backward pass, copies of their weights in bf16 included."""
    tokens = layout.micro_batch * config.context
    return sum(
        tokens * kept_per_token(config, layout, layer) + copies_kept(config, layout, layer)
        for layer in range(config.layers)
    )


def _moments(config: ModelConfig, layout: Layout) -> Iterator[Memory]:
    """Yield what a rank holds when the loss is computed, in the backward pass, and in the optimizer step.

    Gradients count from the forward pass on, as in all but the first micro-batch of a step.
    """
    shares = _shares(config, layout)
    held = {"parameters": shares.parameters, "optimizer": shares.optimizer}
    tokens = layout.micro_batch * config.context
    kept = [tokens * kept_per_token(config, layout, layer) for layer in range(config.layers)]
    copies = [copies_kept(config, layout, layer) for layer in range(config.layers)]
    mask = tokens * config.context if has_table(config, layout) else 0
    last = tokens * layout.product_bytes * config.width if layout.recompute == "offload" else 0
    # The last norm's input and output.
    head = tokens * (layout.residual_bytes + layout.product_bytes) * config.width + mask + last
    yield Memory(
        moment="loss",
        **held,
        gradients=shares.gradients,
        weight_copies=copies_made(config, layout),
        activations=sum(kept) + head,
        loss=_loss(config, layout, tokens),
        buffers=shares.buffers,
    )
    embedding = FP32 * config.padded_vocabulary * config.width
    yield Memory(
        moment="gradient of the loss",
        **held,
        gradients=shares.gradients,
        weight_copies=sum(copies),
        activations=sum(kept) + tokens * layout.residual_bytes * config.width + mask + last,
        # The gradients of the head's input and weights, as they were kept and once more as they are scaled.
        loss=tokens * 2 * layout.product_bytes * config.width + 2 * embedding,
        buffers=shares.buffers,
    )
    for layer in range(config.layers):  # going back; those above have let go of what they kept
        done = 12 * config.width**2 * (config.layers - 1 - layer)  # elements of gradients
        sends = done >= reduce_bucket(config)  # else the first bucket is not yet full
        yield Memory(
            moment="backward pass",
            **held,
            gradients=(shares.gradients_backward if sends else shares.gradients)
            + _gradient_in_hand(config, layout),
            weight_copies=sum(copies[: layer + 1]) + copies_in_hand(config, layout, layer),
            activations=sum(kept[: layer + 1]) + tokens * in_hand_per_token(config, layout, layer) + mask,
            loss=0,
            buffers=shares.buffers_backward,
        )
    yield Memory(
        moment="end of the backward pass",
        **held,
        # The head's, the embedding's, and one of them again as it is added up or sent.
        gradients=shares.gradients_backward + 3 * embedding,
        weight_copies=0,
        activations=0,
        loss=0,
        buffers=shares.buffers_backward,
    )
    yield Memory(
        moment="optimizer step",
        **held,
        gradients=shares.gradients_step,
        weight_copies=0,
        activations=0,
        loss=0,
        buffers=shares.buffers_step,
    )


def _gradient_in_hand(config: ModelConfig, layout: Layout) -> int:
    """Bytes of gradients before they reach the parameters.

    The head's waits for the embedding's, since they are one matrix (4 V C). The largest of a block's
    (4 C² elements) exists once as its product returns it, and in bf16 once more when it is made fp32.
    """
    waiting = FP32 * config.padded_vocabulary * config.width
    largest = 4 * config.width**2 * (FP32 + (BF16 if layout.precision == "bf16" else 0))
    return waiting + largest


def _loss(config: ModelConfig, layout: Layout, tokens: int) -> int:
    """Bytes that `losses.py` takes in the forward pass, where it makes the gradients too.

    Of the chunk in hand, a position: the logits, their logarithms in fp32, their gradient before and after
    it is padded (in fp32 one does for both), 10 V bytes in bf16 and 12 V in fp32; or the logits alone, p V,
    where their gradient takes their place. Of all positions the gradient p C. Of the head's weights the
    gradient (4 V C), and in bf16 on a CPU what a chunk adds to it (2 V C).
    """
    rows, product = config.padded_vocabulary, layout.product_bytes
    logits = CHUNK_LOGITS["cuda" if layout.accelerator else "cpu"] * (IN_PLACE if layout.in_place else 1)
    chunks = -(-tokens // max(1, logits // rows))
    numbers = product if layout.in_place else 10 if layout.precision == "bf16" else 12
    chunk = -(-tokens // chunks) * rows * numbers
    added = BF16 if layout.precision == "bf16" and not layout.accelerator else 0
    return chunk + tokens * config.width * product + rows * config.width * (FP32 + added)


def _orthogonal(config: ModelConfig, layout: Layout) -> int:
    """Bytes that Muon takes to make the largest matrix of a block orthogonal, C by 4 C.

    An iteration holds it twice, before and after, and a product C by C: 9 C² numbers. Where the matrix is
    collected from several ranks, it is there in fp32 besides.
    """
    if layout.optimizer != "muon":
        return 0
    collected = 4 * FP32 if layout.zero_stage > 0 and layout.ranks > 1 else 0
    return (collected + 9 * layout.product_bytes) * config.width**2


@dataclass(frozen=True, kw_only=True)
class _Shares:
    """What a rank holds for DeepSpeed: always, and gradients and buffers in each part of a step."""

    parameters: int
    optimizer: int
    gradients: int
    gradients_backward: int
    gradients_step: int
    buffers: int
    buffers_backward: int
    buffers_step: int


def _shares(config: ModelConfig, layout: Layout) -> _Shares:
    """Return a rank's share at each ZeRO stage, after DeepSpeed 0.19's source.

    Stage 1 sends gradients when the step's last micro-batch is through, stages 2 and 3 as they come.
    Offloading the optimizer takes its state to the CPU, and from stage 2 on the summed gradients too.
    """
    whole = FP32 * elements(config)
    share = -(-whole // layout.ranks)
    unused = FP32 * one_moment(config, layout.optimizer)  # second moments that there are not
    unused_share = unused // layout.ranks
    orthogonal = _orthogonal(config, layout)
    bucket = FP32 * reduce_bucket(config)
    sent = bucket if layout.ranks > 1 else 0  # the bucket again, laid out for sending
    embedding = FP32 * config.padded_vocabulary * config.width
    norm = 2 * min(embedding, share)  # the largest gradient in fp64, for its norm
    on_device = not layout.offload_optimizer
    passing = 0 if on_device else embedding  # through which offloaded gradients pass, one by one
    match layout.zero_stage:
        case 0:
            return _Shares(
                parameters=whole,
                optimizer=2 * whole - unused,
                gradients=whole,
                gradients_backward=whole,
                gradients_step=whole,
                buffers=0,
                buffers_backward=0,
                buffers_step=max(min(whole, FP32 * ALL_REDUCE) if layout.ranks > 1 else 0, orthogonal),
            )
        case 1:
            return _Shares(
                parameters=whole,
                optimizer=(3 * share - unused_share) * on_device,
                gradients=whole,
                gradients_backward=whole,
                gradients_step=whole + share * on_device,  # as they come in, and once collected
                buffers=bucket + passing,
                buffers_backward=bucket + passing,
                buffers_step=max(sent, embedding, orthogonal) + passing,
            )
        case 2:
            return _Shares(
                parameters=whole,
                optimizer=(3 * share - unused_share) * on_device,
                gradients=share * on_device,
                gradients_backward=2 * share * on_device,  # this micro-batch's, and the sum so far
                gradients_step=2 * share * on_device,  # one by one, and in one piece
                buffers=passing,
                buffers_backward=bucket + sent + passing,
                buffers_step=max(norm, orthogonal) + passing,
            )
        case _:
            # A weight stays gathered if the way to its next use, there and back, is short; those on their
            # way lie in a buffer first.
            gathered = min(whole, FP32 * (REUSE_DISTANCE // 2 + PREFETCH)) + min(whole, FP32 * PREFETCH)
            return _Shares(
                parameters=0 if layout.offload_parameters else share,
                optimizer=(2 * share - unused_share) * on_device,
                gradients=share * on_device,
                gradients_backward=share * on_device,
                gradients_step=(share + min(share, FP32 * SUB_GROUP)) * on_device,
                buffers=gathered + bucket,
                buffers_backward=gathered + 2 * bucket,
                buffers_step=bucket + max(norm, orthogonal),
            )
