"""What the machine itself reaches: matrix products in the shapes of training, copies, attention.

python tests/benchmarks/gpu/rates.py --results FILE
"""

import argparse
import sys
from collections.abc import Callable
from contextlib import nullcontext
from pathlib import Path
from statistics import median
from time import perf_counter
from typing import Any

ROOT = Path(__file__).parents[3]
sys.path[:0] = [str(ROOT), str(ROOT / "tests/benchmarks")]

import torch  # noqa: E402
from torch import Tensor  # noqa: E402
from torch.nn import functional as F  # noqa: E402
from torch.nn.attention import SDPBackend, sdpa_kernel  # noqa: E402

from gpu.measure import append  # noqa: E402

GPU = torch.cuda.is_available()
DEVICE = "cuda" if GPU else "cpu"


def main() -> None:
    """Print the rates."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--results", type=Path, required=True)
    results = parser.parse_args().results
    side, rows = (8192, 65_536) if GPU else (256, 64)
    shapes = {
        "a large square": (side, side, side),
        "small, c_fc": (rows, 768, 3072),
        "small, mlp.c_proj": (rows, 3072, 768),
        "xl, c_fc": (rows // 4, 1600, 6400),
        "xl, mlp.c_proj": (rows // 4, 6400, 1600),
    }
    for name, (m, k, n) in shapes.items():
        a, b = random(m, k), random(n, k)
        ms = timed(lambda a=a, b=b: F.linear(a, b))  # type: ignore[misc]
        tera = round(2 * m * k * n / ms / 1e9, 1)
        append(results, {"what": "rate", "name": f"bf16 product, {name}", "ms": round(ms, 4), "tflops": tera})
    x = torch.empty(2**30 if GPU else 2**20, device=DEVICE)
    y = torch.empty_like(x)
    tera = round(2 * x.nbytes / timed(lambda x=x, y=y: y.copy_(x)) / 1e9, 3)  # type: ignore[misc]
    append(results, {"what": "rate", "name": "copy", "tb_s": tera})
    del x, y
    for deterministic in (False, True):
        backends = {"as chosen": None, "flash": SDPBackend.FLASH_ATTENTION}
        if GPU:
            backends["cuDNN"] = SDPBackend.CUDNN_ATTENTION
        for name, backend in backends.items():
            record: dict[str, Any] = {
                "what": "rate",
                "name": f"attention, {name}",
                "deterministic": deterministic,
            }
            torch.use_deterministic_algorithms(deterministic)
            try:
                record |= attention(backend)
            except RuntimeError as error:
                record["failed"] = str(error).splitlines()[0][:160]
            append(results, record)
    torch.use_deterministic_algorithms(False)


def random(*shape: int) -> Tensor:
    """Return random numbers in bf16: products of zeros run faster than real ones."""
    return torch.randn(*shape, device=DEVICE, dtype=torch.bfloat16)


def attention(backend: SDPBackend | None) -> dict[str, Any]:
    """Return how long causal attention takes forward and back, and whether its gradients repeat."""
    b, h, t, d = (64, 12, 1024, 64) if GPU else (2, 2, 64, 16)
    qkv = random(b, t, 3 * h * d).requires_grad_()
    weights = random(b, h, t, d)

    def forward() -> Tensor:
        q, k, v = (part.view(b, t, h, d).transpose(1, 2) for part in qkv.chunk(3, dim=-1))
        return F.scaled_dot_product_attention(q, k, v, is_causal=True)

    def both() -> Tensor:
        return torch.autograd.grad(forward(), qkv, weights)[0]

    with sdpa_kernel(backend) if backend is not None else nullcontext():
        there, back = timed(forward), timed(both)
        one = both()
        repeats = all(torch.equal(one, both()) for _ in range(4))
    return {"forward_ms": round(there, 3), "both_ms": round(back, 3), "gradients_repeat": repeats}


def timed(act: Callable[[], Any], *, repeats: int = 10, warm: int = 3) -> float:
    """Return the median milliseconds of an act."""
    for _ in range(warm):
        act()
    times = []
    for _ in range(repeats):
        if not GPU:
            start = perf_counter()
            act()
            times.append(1e3 * (perf_counter() - start))
            continue
        begin, end = (torch.cuda.Event(enable_timing=True) for _ in range(2))
        begin.record()
        act()
        end.record()
        torch.cuda.synchronize()
        times.append(begin.elapsed_time(end))
    return median(times)


if __name__ == "__main__":
    main()
