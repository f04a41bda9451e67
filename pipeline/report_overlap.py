"""Report which share of evaluation sets' 8-grams occurs in a corpus, as the GPT-2 paper did for WebText.

python pipeline/report_overlap.py --evaluation wiki.test.raw lambada.jsonl --corpus out/webtext/corpus \
    --output out/overlap
"""

import json
import sys
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path

import numpy as np

if __package__ in (None, ""):  # run as a plain file, from wherever: the packages lie beside this folder
    sys.path[0] = str(Path(__file__).resolve().parents[1])

from pipeline.corpus.layout import parquet_files
from pipeline.decontaminate import stages as steps
from pipeline.decontaminate.overlap import EvaluationSet, find_sets, names_of
from pipeline.decontaminate.overlap_report import SetOverlap, Study, to_json, to_markdown
from pipeline.decontaminate.plain_texts import TextOptions
from pipeline.runner import storage
from pipeline.runner.command import run_command
from pipeline.runner.executor import run_stage
from pipeline.runner.lock import locked
from pipeline.runner.outputs import check_output
from pipeline.runner.stages import InputFile, Stage, StageOutput, by_name


@dataclass(frozen=True, kw_only=True)
class OverlapOptions:
    """What is looked for, and in what."""

    evaluation: tuple[str, ...]
    """Evaluation sets: UTF-8 text, or JSON Lines (.jsonl), compressed or not; files, folders, globs or fsspec
    addresses."""
    output: str
    """Folder for report.md and report.json."""
    corpus: str = ""
    """Folder with train/*.parquet, as pipeline/build_webtext.py writes it: its training side is searched."""
    against: tuple[str, ...] = ()
    """Files to search in place of a corpus, such as a set's own training split; the same kinds of files."""
    texts: TextOptions = field(default_factory=TextOptions)
    workers: int | None = None
    """How many tasks run at once. By default as many as the Ray cluster has cores."""


def main(options: OverlapOptions) -> None:
    """Look the evaluation sets up, write the report and print it.

    Raises:
        ValueError: a set, the corpus or a file is missing, or is not what the options say.
    """
    if bool(options.corpus) == bool(options.against):
        raise ValueError("give --corpus (a folder), or --against (files), and not both")
    check_output(options.output, "report.json", option="evaluation")
    addresses = find_sets(options.evaluation, options.texts)
    if options.corpus:
        searched = parquet_files(options.corpus, "train")
    else:
        searched = storage.find_files(options.against, lambda _: True, "file of text")
    with locked(options.output):
        study = _study(options, addresses, searched)
        page = to_markdown(study)
        for name, content in (("report.json", to_json(study)), ("options.json", asdict(options))):
            text = json.dumps(content, indent=1, ensure_ascii=False) + "\n"
            storage.write_text(storage.join(options.output, name), text)
        storage.write_text(storage.join(options.output, "report.md"), page)
    print(page)
    print(f"written to {options.output}: report.md, report.json")


def _study(options: OverlapOptions, addresses: Sequence[str], searched: Sequence[str]) -> Study:
    """Look for the sets in files of a corpus or of text, and put together what was found."""

    def run(stage: Stage, inputs: Mapping[str, Sequence[InputFile]]) -> StageOutput:
        return run_stage(stage, inputs, storage.join(options.output, ".stages"), workers=options.workers)

    sets = run(Stage(name="evaluation", work=steps.collect_grams, options=options.texts), by_name(addresses))
    grams = sets.files(steps.GRAMS)
    bloom = run(Stage(name="filter", work=steps.make_filter), {"all": grams})
    sought = [*bloom.files(steps.FILTER), *grams]
    if options.corpus:
        stage = Stage(name="overlap", work=steps.find_in_documents)
    else:
        stage = Stage(name="overlap", work=steps.find_in_texts, options=options.texts)
    found = run(stage, {name: [*file, *sought] for name, file in by_name(searched).items()})
    return Study(
        searched=options.corpus or " ".join(options.against),
        grams=sum(partition.notes["grams"] for partition in found.partitions),
        bloom=bloom.partitions[0].notes,
        sets=_sum_up(sets, found, addresses),
    )


def _sum_up(sets: StageOutput, found: StageOutput, addresses: Sequence[str]) -> list[SetOverlap]:
    """Add up what all tasks have seen of each set."""
    sizes = [partition.notes["distinct"] for partition in sets.partitions]
    seen = [np.zeros(size, np.bool_) for size in sizes]
    for file in found.files(steps.FOUND):
        here = steps.read_found(file.address, sizes)
        seen = [some | others for some, others in zip(seen, here, strict=True)]
    overlaps = []
    for number, (address, name) in enumerate(zip(addresses, names_of(addresses), strict=True)):
        evaluation = EvaluationSet.read(sets.files(steps.GRAMS)[number].address)
        documents = [
            document for partition in found.partitions for document in partition.notes["documents"][number]
        ]
        overlap = SetOverlap(
            name=name,
            address=address,
            texts=evaluation.texts,
            grams=int(evaluation.counts.sum()),
            found=int(evaluation.counts[seen[number]].sum()),
            distinct=len(evaluation.grams),
            distinct_found=int(seen[number].sum()),
            documents=steps.most_overlapping(documents),
        )
        overlaps.append(overlap)
    return overlaps


if __name__ == "__main__":
    run_command(OverlapOptions, main, __doc__)
