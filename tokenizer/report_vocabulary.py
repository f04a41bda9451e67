"""Compare a vocabulary with others, such as GPT-2's, on the same corpus.

python tokenizer/report_vocabulary.py --vocabulary out/vocabulary --corpus out/webtext/corpus \
    --compare gpt2/tokenizer.json --output out/vocabulary_report
"""

import json
import sys
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path

if __package__ in (None, ""):  # run as a plain file, from wherever: the packages lie beside this folder
    sys.path[0] = str(Path(__file__).resolve().parents[1])

from pipeline.corpus.split import SPLITS
from pipeline.runner import storage
from pipeline.runner.command import run_command
from pipeline.runner.executor import run_stage
from pipeline.runner.outputs import check_output
from pipeline.runner.stages import InputFile, Partition, Stage
from pipeline.sources.options import TextOptions
from tokenizer.bpe.vocabulary import load_vocabulary
from tokenizer.documents import open_corpus
from tokenizer.report.usage import KINDS, USAGE, Usage, UsageOptions, measure_usage, read_usage
from tokenizer.report.vocabulary_report import Measured, Text, describe, to_markdown


@dataclass(frozen=True, kw_only=True)
class ReportOptions:
    """Which vocabularies to compare, and on which corpus."""

    vocabulary: str
    """Folder of a vocabulary, as tokenizer/train_bpe.py writes it; or a tokenizer.json such as GPT-2's."""
    corpus: str
    """A corpus as pipeline/build_webtext.py writes it; or any text: a file, folder or glob of Parquet, JSON
    Lines or plain text (.gz, .zst or not), or a data set that `datasets` saved to disk."""
    output: str
    """Folder for report.md and report.json."""
    compare: tuple[str, ...] = ()
    """Other vocabularies to measure on the same text."""
    workers: int | None = None
    """Number of tasks to run at once. Default: the number of cores of the Ray cluster."""
    text: TextOptions = field(default_factory=TextOptions)
    """Where the texts are."""


def main(options: ReportOptions) -> None:
    """Encode the whole corpus with each vocabulary, write the report and print it.

    Raises:
        ValueError: the corpus or a vocabulary is missing or damaged, there is no text, or the output is
            another command's.
    """
    check_output(options.output, "report.json", option="compare")
    addresses = [options.vocabulary, *options.compare]
    vocabularies = [load_vocabulary(address) for address in addresses]
    corpus = open_corpus(options.corpus, options.text, output=options.output, workers=options.workers)
    sources = [
        InputFile(storage.absolute(address), vocabulary.fingerprint)
        for address, vocabulary in zip(addresses, vocabularies, strict=True)
    ]
    texts, usages = dict[str, Text](), dict[str, list[Usage]]()
    for split in SPLITS:
        usage = UsageOptions(vocabularies=len(sources), reading=corpus.reading[split])
        stage = Stage(name=f"use_{split}", work=measure_usage, options=usage)
        inputs = {name: [*files, *sources] for name, files in corpus.files[split].items()}
        root = storage.join(options.output, ".stages")
        measured = run_stage(stage, inputs, root, workers=options.workers)
        texts[split] = _text(measured.partitions)
        usages[split] = [Usage.none(vocabulary.size) for vocabulary in vocabularies]
        for file in measured.files(USAGE):
            usages[split] = [a + b for a, b in zip(usages[split], read_usage(file.address), strict=True)]
    if not any(text.documents for text in texts.values()):
        raise ValueError(f"no text in {options.corpus}: all documents are empty")

    sides = [
        Measured(address=address, vocabulary=vocabulary, usage={split: usages[split][i] for split in SPLITS})
        for i, (address, vocabulary) in enumerate(zip(addresses, vocabularies, strict=True))
    ]
    report = describe(texts, sides)
    page = to_markdown(report)
    files = {"report.json": report, "options.json": asdict(options)}
    for name, content in files.items():
        text = json.dumps(content, indent=1, ensure_ascii=False) + "\n"
        storage.write_text(storage.join(options.output, name), text)
    storage.write_text(storage.join(options.output, "report.md"), page)
    print(page)
    print(f"written to {options.output}: report.md, report.json")


def _text(partitions: Sequence[Partition]) -> Text:
    """Add up what the tasks noted about a split's text."""
    notes = [partition.notes for partition in partitions]
    kinds = [sum(note["bytes_by_kind"][kind] for note in notes) for kind in range(len(KINDS))]
    return Text(
        documents=sum(partition.counts.kept for partition in partitions),
        characters=sum(note["characters"] for note in notes),
        bytes=sum(note["bytes"] for note in notes),
        bytes_by_kind=kinds,
    )


if __name__ == "__main__":
    run_command(ReportOptions, main, "Compare a vocabulary with others on the same corpus.")
