"""A model's FLOPs, GPUs' peak FLOP/s, and the share of the peak that a run uses (MFU).

Peaks are those of the vendors' data sheets: dense (NVIDIA prints twice as much "with sparsity"), at boost
clock, products of bf16 summed in fp32; fp32 as PyTorch multiplies it by default, without TF32.
"""

import re
from dataclasses import dataclass

from trainer.config.model_config import ModelConfig
from trainer.config.options import Precision

TERA = 1e12


@dataclass(frozen=True, kw_only=True)
class Gpu:
    """A GPU as PyTorch sees one, and its peak by precision; None: it has no such unit."""

    name: str
    reported: str
    """Expression that its name in `torch.cuda.get_device_name` matches, and no other GPU's."""
    bf16: float | None
    """TFLOP/s."""
    fp32: float | None
    """TFLOP/s."""

    def peak(self, precision: Precision) -> float | None:
        """Peak FLOP/s at a precision."""
        tera = self.bf16 if precision == "bf16" else self.fp32
        return None if tera is None else tera * TERA


# NVIDIA: data sheets of each product; GeForce: appendices of the GA102, Ada and RTX Blackwell architecture
# white papers. Where a sheet prints the sparse rate only, half of it stands here with the division.
# AMD: Instinct data sheets, matrix units. An MI250X is two devices to PyTorch, each half of the sheet's.
GPUS = (
    Gpu(name="V100 SXM", reported=r"V100-SXM[23]", bf16=None, fp32=15.7),
    Gpu(name="V100 PCIe", reported=r"V100-PCIE", bf16=None, fp32=14.0),
    Gpu(name="V100S PCIe", reported=r"V100S-PCIE", bf16=None, fp32=16.4),
    Gpu(name="T4", reported=r"\bT4\b", bf16=None, fp32=8.1),
    Gpu(name="A10", reported=r"\bA10\b", bf16=125.0, fp32=31.2),
    Gpu(name="A10G", reported=r"\bA10G\b", bf16=70.0, fp32=31.5),
    Gpu(name="A30", reported=r"\bA30\b", bf16=165.0, fp32=10.3),
    Gpu(name="A40", reported=r"\bA40\b", bf16=149.7, fp32=37.4),
    Gpu(name="RTX A6000", reported=r"\bRTX A6000\b", bf16=309.7 / 2, fp32=38.7),
    Gpu(name="A100", reported=r"\bA100\b", bf16=312.0, fp32=19.5),
    Gpu(name="L4", reported=r"\bL4\b", bf16=242 / 2, fp32=30.3),
    Gpu(name="L40", reported=r"\bL40\b", bf16=181.05, fp32=90.5),
    Gpu(name="L40S", reported=r"\bL40S\b", bf16=362.05, fp32=91.6),
    Gpu(name="RTX 6000 Ada", reported=r"\bRTX 6000 Ada\b", bf16=1457 / 4, fp32=91.1),  # from FP8, sparse
    Gpu(name="RTX 3090", reported=r"\bRTX 3090$", bf16=71.0, fp32=35.6),
    Gpu(name="RTX 4090", reported=r"\bRTX 4090$", bf16=165.2, fp32=82.6),
    Gpu(name="RTX 5090", reported=r"\bRTX 5090$", bf16=209.5, fp32=104.8),
    Gpu(name="H100 SXM", reported=r"\bH100 (80GB HBM3|SXM)", bf16=1979 / 2, fp32=67.0),
    Gpu(name="H100 PCIe", reported=r"\bH100 PCIe\b", bf16=1513 / 2, fp32=51.0),
    Gpu(name="H100 NVL", reported=r"\bH100 NVL\b", bf16=1671 / 2, fp32=60.0),
    Gpu(name="GH200", reported=r"\bGH200\b", bf16=1979 / 2, fp32=67.0),
    Gpu(name="H200 SXM", reported=r"\bH200( SXM|$)", bf16=1979 / 2, fp32=67.0),
    Gpu(name="H200 NVL", reported=r"\bH200 NVL\b", bf16=1671 / 2, fp32=60.0),
    Gpu(name="B200", reported=r"\bB200\b", bf16=4500 / 2, fp32=75.0),
    Gpu(name="MI250X", reported=r"\bMI250X\b", bf16=383.0 / 2, fp32=95.7 / 2),
    Gpu(name="MI300X", reported=r"\bMI300X\b", bf16=1307.4, fp32=163.4),
)


def find_gpu(name: str) -> Gpu | None:
    """Return the GPU of a name, as PyTorch reports it or as the table has it; None if it is not known."""
    if re.search(r"\b(MIG|GRID)\b", name):
        return None  # a part of a GPU
    for gpu in GPUS:
        if name.strip().casefold() == gpu.name.casefold() or re.search(gpu.reported, name.strip()):
            return gpu
    return None


def peak_flops(name: str, precision: Precision) -> float | None:
    """Return the peak FLOP/s of the GPU that PyTorch reports by this name; None if it is not known."""
    gpu = find_gpu(name)
    return None if gpu is None else gpu.peak(precision)


def flops_per_token(config: ModelConfig) -> float:
    """Return the FLOPs that one token of training takes, forward and backward: 6 N + 12 L H Q T.

    Source: PaLM (Chowdhery et al. 2022), appendix B. L layers, H heads of Q channels, T tokens of context;
    what is recomputed is not counted. N is every parameter but the position table, which is only added:
    the tied embedding counts once, for the head's product, and its padding, which is no use, not at all.
    For small: 6 × 123,653,376 + 12 × 12 × 768 × 1024 = 855 million.
    """
    parameters = config.parameters - config.context * config.width
    return 6 * parameters + 12 * config.layers * config.width * config.context  # H Q is the width


def model_flops_utilisation(
    tokens_per_second: float, config: ModelConfig, *, gpus: int, peak: float | None
) -> float | None:
    """Return the share of the GPUs' peak FLOP/s that training at this rate uses; None if it is not known."""
    return None if peak is None else tokens_per_second * flops_per_token(config) / (gpus * peak)
