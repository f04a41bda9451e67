"""Put two corpora side by side: domains, words, years, languages, near-duplicates across, samples.

Either may be ours, or any texts. Between two builds of ours it also says which documents came and went, and
by which rule. --with webtext-domains compares with OpenAI's list of WebText's 1,000 most frequent domains.

python pipeline/compare_corpora.py --corpus out/webtext/corpus --with other/corpus
python pipeline/compare_corpora.py --corpus out/webtext --with out/earlier --output out/changes
"""

import json
import sys
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Annotated, Final

import tyro

if __package__ in (None, ""):  # run as a plain file, from wherever: the packages lie beside this folder
    sys.path[0] = str(Path(__file__).resolve().parents[1])

from pipeline.compare.comparison import Comparer, Comparison
from pipeline.compare.page import comparison_html, comparison_text
from pipeline.compare.sides import open_side
from pipeline.compare.survey import Columns, SurveyOptions
from pipeline.dedup.minhash import DuplicateOptions
from pipeline.runner import storage
from pipeline.runner.command import run_command
from pipeline.runner.lock import locked
from pipeline.runner.names import file_name, without_secrets
from pipeline.runner.outputs import check_output
from pipeline.runner.terminal import say
from pipeline.sources.options import Reading

WEBTEXT: Final = "webtext-domains"


@dataclass(frozen=True, kw_only=True)
class CompareOptions:
    """What is compared with what."""

    corpus: str
    """A corpus or a build of pipeline/build_webtext.py; or any text: a file, folder or glob of Parquet, JSON
    Lines or plain text (.gz, .zst or not), or a data set that `datasets` saved."""
    other: Annotated[str, tyro.conf.arg(name="with")]
    """What it is compared with: the same kinds, or webtext-domains. Of two builds, the earlier one."""
    output: str = "out/comparison"
    """Folder for comparison.html and comparison.json."""
    text_column: str = "text"
    """Column of Parquet and Arrow, or field of JSON Lines, that has the text."""
    url_column: str = ""
    """The one that has a document's address; a.b is the field b in the field a. If not given: url, meta.url
    or metadata.url."""
    date_column: str = ""
    """The one that has a document's date. If not given: date, timestamp, created or metadata.date."""
    vocabulary: str = ""
    """A tokenizer.json, or a folder with one, to count tokens with. If not given, only words are counted."""
    duplicates: DuplicateOptions = field(default_factory=DuplicateOptions)
    workers: int | None = None
    """Tasks at once; as many as the cluster has cores if not given."""


def main(options: CompareOptions) -> None:
    """Compare, write page and JSON, and print a summary.

    Raises:
        ValueError: a corpus is missing, damaged, without documents or without the column; or the output is
            another command's.
    """
    check_output(options.output, "comparison.json")
    addresses = [options.corpus] if options.other == WEBTEXT else [options.corpus, options.other]
    sides = [open_side(address, options.text_column, options.output) for address in addresses]
    vocabulary = _vocabulary(options.vocabulary)
    with locked(options.output):
        comparer = Comparer(
            sides, _survey(options), options.output, vocabulary=vocabulary, workers=options.workers
        )
        found = comparer.compare()
        _write(found, options)
    say(comparison_text(found))
    say(f"written to {without_secrets(options.output)}: comparison.html, comparison.json")


def _survey(options: CompareOptions) -> SurveyOptions:
    usual = Columns()
    columns = Columns(
        url=(options.url_column,) if options.url_column else usual.url,
        date=(options.date_column,) if options.date_column else usual.date,
    )
    reading = Reading(text_column=options.text_column, columns=columns.names)
    return SurveyOptions(reading=reading, columns=columns, duplicates=options.duplicates)


def _vocabulary(address: str) -> str:
    """Return the address of the `tokenizer.json` that is meant."""
    if not address:
        return ""
    within = storage.join(address, "tokenizer.json")
    found = within if storage.exists(within) else address
    if not storage.exists(found) or storage.locate(found)[0].isdir(storage.locate(found)[1]):
        raise ValueError(f"no tokenizer.json at {address}")
    return found


def _write(found: Comparison, options: CompareOptions) -> None:
    used = asdict(options)
    for name in ("corpus", "other", "output", "vocabulary"):  # no paths of this machine
        used[name] = file_name(used[name])
    texts = {
        "comparison.html": comparison_html(found),
        "comparison.json": json.dumps(found.to_json(), indent=1, ensure_ascii=False) + "\n",
        "options.json": json.dumps(used, indent=1) + "\n",
    }
    for name, text in texts.items():
        storage.write_text(storage.join(options.output, name), text)


if __name__ == "__main__":
    run_command(CompareOptions, main, __doc__)
