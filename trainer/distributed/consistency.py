"""Ranks that do not agree are found before they train on, or write down, what is not one model.

Each rank names what it holds to be true; every name must have the same value on all of them.
"""

import json
from collections import defaultdict
from collections.abc import Iterable, Mapping
from importlib.metadata import version
from pathlib import Path
from typing import Any

import xxhash
from torch import Tensor

from trainer.distributed.ranks import fail_together, gather

Facts = Mapping[str, str]
MOST_TOLD = 5


def check_agreement(facts: Facts) -> None:
    """Compare the facts of all ranks, each of which must call this.

    Raises:
        ValueError: they differ (as `fail_together` raises); it says in what, and on which ranks.
    """
    differences = describe_differences(gather(dict(facts)))
    if differences:
        told = "; ".join(differences[:MOST_TOLD])
        more = len(differences) - MOST_TOLD
        fail_together(ValueError(f"the ranks disagree: {told}" + (f"; and {more} more" if more > 0 else "")))


def describe_differences(facts: list[dict[str, str]]) -> list[str]:
    """Say for each fact on which the ranks do not agree which of them hold what."""
    names = dict.fromkeys(name for rank in facts for name in rank)
    told = []
    for name in names:
        holders: dict[str, list[int]] = defaultdict(list)
        for rank, known in enumerate(facts):
            holders[known.get(name, "missing")].append(rank)
        if len(holders) > 1:
            values = (f"{value} on {_ranks(ranks)}" for value, ranks in holders.items())
            told.append(f"{name} is {', '.join(values)}")
    return told


def _ranks(ranks: list[int]) -> str:
    return ("rank " if len(ranks) == 1 else "ranks ") + ", ".join(str(rank) for rank in ranks)


def option_facts(options: Mapping[str, Any]) -> dict[str, str]:
    """Return options as facts, by their command-line names."""
    return {f"--{name.replace('_', '-')}": json.dumps(value) for name, value in options.items()}


def code_facts() -> dict[str, str]:
    """Return what this rank runs: the versions of the libraries, and a fingerprint of the trainer's code."""
    digest = xxhash.xxh3_64()
    for path in sorted(Path(__file__).parent.rglob("*.py")):
        digest.update(path.read_bytes())
    versions = {f"the version of {name}": version(name) for name in ("torch", "deepspeed")}
    return {**versions, "the trainer's code": digest.hexdigest()}


def tensor_facts(tensors: Iterable[tuple[str, Tensor]]) -> dict[str, str]:
    """Return the fingerprint of each tensor's bits."""
    return {name: xxhash.xxh3_64_hexdigest(tensor.detach().cpu().numpy().data) for name, tensor in tensors}
