"""Consistency checks: ranks that differ are found before they train or save.

Each rank gives named values; every name must have the same value on all ranks.
"""

import json
from collections import defaultdict
from collections.abc import Iterable, Mapping
from importlib.metadata import version
from pathlib import Path
from typing import Any

import xxhash
from torch import Tensor

from trainer.distributed.ranks import all_gather, fail_together

Values = Mapping[str, str]
MOST_PRINTED = 5


def check_agreement(values: Values) -> None:
    """Compare the values of all ranks, each of which must call this.

    Raises:
        ValueError: they differ (as `fail_together` raises); the message says in what, and on which ranks.
    """
    differences = describe_differences(all_gather(dict(values)))
    if differences:
        printed = "; ".join(differences[:MOST_PRINTED])
        more = len(differences) - MOST_PRINTED
        fail_together(
            ValueError(f"the ranks disagree: {printed}" + (f"; and {more} more" if more > 0 else ""))
        )


def describe_differences(values: list[dict[str, str]]) -> list[str]:
    """Describe each name on which the ranks differ: the values, and the ranks that have them."""
    names = dict.fromkeys(name for rank in values for name in rank)
    differences = []
    for name in names:
        holders: dict[str, list[int]] = defaultdict(list)
        for rank, known in enumerate(values):
            holders[known.get(name, "missing")].append(rank)
        if len(holders) > 1:
            found = (f"{value} on {_ranks(ranks)}" for value, ranks in holders.items())
            differences.append(f"{name} is {', '.join(found)}")
    return differences


def _ranks(ranks: list[int]) -> str:
    return ("rank " if len(ranks) == 1 else "ranks ") + ", ".join(str(rank) for rank in ranks)


def option_values(options: Mapping[str, Any]) -> dict[str, str]:
    """Return options by their command-line names."""
    return {f"--{name.replace('_', '-')}": json.dumps(value) for name, value in options.items()}


def code_versions() -> dict[str, str]:
    """Return the versions of the libraries, and a fingerprint of the trainer's code."""
    digest = xxhash.xxh3_64()
    for path in sorted(Path(__file__).parent.rglob("*.py")):
        digest.update(path.read_bytes())
    versions = {f"the version of {name}": version(name) for name in ("torch", "deepspeed")}
    return {**versions, "the trainer's code": digest.hexdigest()}


def tensor_checksums(tensors: Iterable[tuple[str, Tensor]]) -> dict[str, str]:
    """Return the checksum of each tensor's bytes."""
    return {name: xxhash.xxh3_64_hexdigest(tensor.detach().cpu().numpy().data) for name, tensor in tensors}
