"""What goes into the partitions of a stage, out of those of the stages before it."""

from collections.abc import Callable, Mapping, Sequence
from typing import Protocol

from pipeline.runner.buckets import bucket_file
from pipeline.runner.stages import InputFile, StageOutput, Work

Inputs = Mapping[str, Sequence[InputFile]]
"""For each partition, by its name, what its task reads."""


class Run(Protocol):
    """Runs one stage of a recipe."""

    def __call__(
        self, name: str, work: Work, inputs: Inputs, options: object = None,
        *, cpus: float = 1, expected: int | None = None, workers: int | None = None,
    ) -> StageOutput: ...  # fmt: skip


def files_of(output: StageOutput, *names: str) -> Inputs:
    """For each partition of a stage, the files of these names."""
    found = {part.name: [part.file(name) for name in names] for part in output.partitions}
    return {part: [source for source in sources if source is not None] for part, sources in found.items()}


def flat(output: StageOutput, *names: str) -> list[InputFile]:
    """Return the files of these names of all partitions, those of one partition together."""
    return [source for sources in files_of(output, *names).values() for source in sources]


def gathered(
    outputs: Sequence[StageOutput], partitions: int, file: Callable[[int], str] = bucket_file
) -> Inputs:
    """For each bucket, its file from every partition that scattered into it: the other half of a shuffle."""
    return {
        f"{bucket:05d}": [source for output in outputs for source in output.files(file(bucket))]
        for bucket in range(partitions)
    }


def joined(left: Inputs, right: Inputs) -> Inputs:
    """For each partition, what both have for it."""
    return {name: [*sources, *right[name]] for name, sources in left.items()}
