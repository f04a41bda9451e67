import pytest
import torch
from torch.utils.flop_counter import FlopCounterMode

from trainer.config.model_config import ModelConfig
from trainer.model import flops
from trainer.model.gpt2 import GPT2

SMALL = ModelConfig(layers=12, heads=12, width=768, context=1024, vocabulary=50_257)


@pytest.mark.parametrize(
    ("reported", "name", "bf16"),
    [
        # as `torch.cuda.get_device_name` returns them
        ("NVIDIA H100 80GB HBM3", "H100 SXM", 989.5e12),
        ("NVIDIA H100 PCIe", "H100 PCIe", 756.5e12),
        ("NVIDIA H100 NVL", "H100 NVL", 835.5e12),
        ("NVIDIA H200", "H200 SXM", 989.5e12),
        ("NVIDIA A100-SXM4-80GB", "A100", 312e12),
        ("NVIDIA A100-PCIE-40GB", "A100", 312e12),
        ("NVIDIA A10", "A10", 125e12),
        ("NVIDIA A10G", "A10G", 70e12),
        ("NVIDIA L4", "L4", 121e12),
        ("NVIDIA L40S", "L40S", 362.05e12),
        ("NVIDIA GeForce RTX 4090", "RTX 4090", 165.2e12),
        ("Tesla T4", "T4", None),
        ("Tesla V100-SXM2-32GB", "V100 SXM", None),
        ("AMD Instinct MI300X", "MI300X", 1307.4e12),
        ("h100 sxm", "H100 SXM", 989.5e12),  # as a person writes it
    ],
)
def test_a_gpu_is_known_by_the_name_that_pytorch_reports(reported, name, bf16):
    gpu = flops.find_gpu(reported)
    assert gpu is not None and gpu.name == name
    assert flops.peak_flops(reported, "bf16") == bf16


@pytest.mark.parametrize(
    "reported",
    [
        "NVIDIA GeForce RTX 4090 Laptop GPU",
        "NVIDIA GeForce RTX 3090 Ti",
        "NVIDIA A100X",
        "NVIDIA GB200",
        "NVIDIA H100 80GB HBM3 MIG 1g.10gb",
        "GRID A100-40C",
        "Quadro RTX 6000",
        "",
    ],
)
def test_a_gpu_that_is_only_like_a_known_one_is_unknown(reported):
    assert flops.find_gpu(reported) is None
    assert flops.peak_flops(reported, "bf16") is None
    assert flops.model_flops_utilisation(1.0, SMALL, gpus=1, peak=None) is None


@pytest.mark.parametrize("gpu", flops.GPUS, ids=lambda gpu: gpu.name)
def test_the_table_finds_each_gpu_by_its_own_name_and_bf16_is_the_faster(gpu):
    assert flops.find_gpu(gpu.name) is gpu
    assert gpu.bf16 is None or gpu.bf16 > gpu.fp32


def test_flops_of_a_token_are_those_that_pytorch_counts():
    # Three times the forward pass's, which the counter takes at every position (PaLM's formula counts
    # causal attention in full too), but for biases and gains, which multiply no matrix.
    config = ModelConfig(layers=3, heads=4, width=256, context=128, vocabulary=1024)
    with torch.device("meta"):
        model, tokens = GPT2(config), torch.zeros(1, config.context, dtype=torch.long)
    with FlopCounterMode(display=False) as counter:
        model(tokens)
    per_token = 3 * counter.get_total_flops() / config.context
    vectors = sum(parameter.numel() for parameter in model.parameters() if parameter.ndim == 1)
    assert flops.flops_per_token(config) - 6 * vectors == per_token


def test_mfu_is_the_share_of_all_gpus_peaks():
    # llm.c's 124M on 8 A100: 1.75 M tokens/s
    assert flops.flops_per_token(SMALL) == 6 * 123_653_376 + 12 * 12 * 768 * 1024 == 855_166_464
    used = flops.model_flops_utilisation(1.75e6, SMALL, gpus=8, peak=312e12)
    assert used == pytest.approx(1.75e6 * 855_166_464 / (8 * 312e12)) == pytest.approx(0.6, abs=0.01)
