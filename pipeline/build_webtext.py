"""Build a WebText-style corpus from Reddit dumps: links, pages, text, English, no duplicates.

Give dumps to crawl what they link to; dumps and WARC files to take the pages from those; or WARC files
alone. --common-crawl looks links up in Common Crawl. Run the same command again to go on after a stop;
with other options, what depends on them is done again and nothing else.
"""

import dataclasses
import hashlib
import json
import sys
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any

if __package__ in (None, ""):  # run as a plain file, from wherever: the packages lie beside this folder
    sys.path[0] = str(Path(__file__).resolve().parents[1])

from pipeline.boilerplate.trimming import BoilerplateOptions
from pipeline.common_crawl.options import DEFAULT_ROOT, ArchiveOptions
from pipeline.corpus.card import EvaluationFile, Index, InputFile, Provenance, dataset_card, deciding
from pipeline.corpus.figures import figures
from pipeline.corpus.funnel import check_funnel, funnel_json, funnel_text, read_funnel
from pipeline.corpus.layout import corpus_files
from pipeline.corpus.report import report_html
from pipeline.decontaminate.overlap import OverlapLimits, names_of
from pipeline.decontaminate.plain_texts import TextOptions
from pipeline.options import Options
from pipeline.recipe import Recipe
from pipeline.runner import storage
from pipeline.runner.command import run_command
from pipeline.runner.json_file import read_as
from pipeline.runner.lock import locked
from pipeline.runner.names import file_name, without_secrets
from pipeline.runner.stages import StageOutput
from pipeline.runner.summary import summary_json, summary_table
from pipeline.runner.terminal import say


def main(options: Options) -> None:
    """Build what the options ask for, and report the result."""
    recipe = Recipe(options)
    with locked(options.output):
        _check_earlier_run(options)
        storage.write_text(storage.join(options.output, "options.json"), _options_json(options))
        with recipe.page:
            recipe.build()
            published = _publish(recipe) if options.only == "corpus" else False
        _keep_summary(recipe)
    _print_summary(recipe, published)


def _options_json(options: Options) -> str:
    """Return the options of a run, with names in place of addresses."""
    content = dataclasses.asdict(options)
    for name in ("submissions", "warcs", "decontaminate"):
        content[name] = [file_name(address) for address in content[name]]
    archive = content["archive"]
    archive["archive_index"] = [file_name(address) for address in archive["archive_index"]]
    if archive["archive_root"] != DEFAULT_ROOT:
        archive["archive_root"] = file_name(archive["archive_root"])
    content["output"] = file_name(options.output)
    content["links"]["blocklist"] = file_name(options.links.blocklist)
    return json.dumps(content, indent=1)


def _check_earlier_run(options: Options) -> None:
    """Check that the folder is empty or a build's, and that no page of its crawl would be fetched again.

    A crawl's pages lie in its partitions. With another number of them, all would be fetched again.

    Raises:
        ValueError: it is another command's, or has other partitions, or says neither.
    """
    address = storage.join(options.output, "options.json")
    if not storage.exists(address):
        return
    earlier = read_as(dict[str, Any], address)
    if "submissions" not in earlier:
        raise ValueError(f"{options.output} holds another command's results: choose another --output")
    partitions = earlier.get("partitions")
    has_crawled = storage.exists(storage.join(options.output, "pages", "store"))
    if has_crawled and partitions != options.partitions:
        raise ValueError(
            f"{options.output} holds pages crawled in {partitions} partitions: "
            f"resume with --partitions {partitions}, or choose another --output"
        )


def _publish(recipe: Recipe) -> bool:
    """Lay the corpus folder out; say whether there was anything new to lay out."""
    output = recipe.options.output
    check_funnel(recipe.funnel)
    split = recipe.outputs[-1]
    final = [output for output in recipe.outputs if output.stage not in recipe.handed_on]
    files = corpus_files(split, final)
    origin = provenance(recipe)
    content = [[name, source.fingerprint] for name, source in files.items()]
    whole = [content, funnel_json(recipe.funnel), dataclasses.asdict(origin)]
    fingerprint = hashlib.sha256(json.dumps(whole).encode()).hexdigest()
    corpus = storage.join(output, "corpus")
    if read_funnel(corpus).get("fingerprint") == fingerprint:
        return False
    numbers = figures(recipe.outputs, recipe.handed_on)
    funnel = {
        "fingerprint": fingerprint,
        "steps": funnel_json(recipe.funnel),
        "damage": recipe.damage,
        "documents": numbers.documents,
        "characters": numbers.characters,
    }
    texts = {
        "README.md": dataset_card(recipe.funnel, numbers, origin),
        "report.html": report_html(recipe.funnel, numbers, origin),
        "funnel.json": json.dumps(funnel, indent=1),
    }
    storage.publish({name: source.address for name, source in files.items()}, texts, corpus)
    return True


def provenance(recipe: Recipe) -> Provenance:
    """Say what a run was made from: its input files, and the options that decide."""
    stages = {output.stage: output for output in recipe.outputs}
    every, changed = deciding(recipe.options, Options(output=""))
    kinds: list[type] = [] if recipe.evaluation else [OverlapLimits, TextOptions]
    kinds += [] if recipe.indexes else [ArchiveOptions]
    # What is not used decides nothing.
    idle = {option.name for kind in kinds for option in dataclasses.fields(kind)}
    idle |= set() if recipe.indexes else {"sources"}
    if not recipe.options.boilerplate.trim_boilerplate:
        idle |= {option.name for option in dataclasses.fields(BoilerplateOptions)} - {"trim_boilerplate"}
    every, changed = (
        {name: value for name, value in content.items() if name not in idle} for content in (every, changed)
    )
    return Provenance(
        dumps=_input_files(recipe.dumps, stages.get("submissions")),
        archives=_input_files(recipe.archives, stages.get("index")),
        evaluation=_evaluation_files(recipe),
        options=every,
        changed=changed,
        indexes=_indexes(recipe),
        sources=recipe.sources,
    )


def _indexes(recipe: Recipe) -> list[Index]:
    """Say in which indexes links were looked up, all rounds together."""
    found: dict[str, Counter[str]] = {}
    for output in recipe.outputs:
        for partition in output.partitions if output.stage.startswith("lookup") else ():
            for name, numbers in partition.notes["sources"].items():
                found.setdefault(name, Counter()).update(numbers)
    return [
        Index(
            name=name,
            files=numbers["files"],
            rows_looked_at=numbers["rows_looked_at"],
            captures=numbers["captures"],
        )
        for name, numbers in sorted(found.items())
    ]


def _input_files(addresses: Sequence[str], read: StageOutput | None) -> list[InputFile]:
    return [
        InputFile(
            name=file_name(address),
            size_bytes=storage.size_bytes(address),
            read=partition.counts.read,
            kept=partition.counts.kept,
        )
        for address, partition in zip(addresses, read.partitions if read else (), strict=True)
    ]


def _evaluation_files(recipe: Recipe) -> list[EvaluationFile]:
    sets = next((output.partitions for output in recipe.outputs if output.stage == "evaluation"), ())
    return [
        EvaluationFile(name=name, texts=partition.notes["texts"], grams=partition.notes["grams"])
        for name, partition in zip(names_of(recipe.evaluation), sets, strict=True)
    ]


def _keep_summary(recipe: Recipe) -> None:
    """Write what each stage of this run did and what it cost, if it did anything.

    Apart from the corpus: times differ from run to run, and the corpus is the same bytes.
    """
    if any(stage.seconds for stage in recipe.outputs):
        content = json.dumps({"stages": summary_json(recipe.outputs)}, indent=1)
        storage.write_text(storage.join(recipe.options.output, "run.json"), content)


def _print_summary(recipe: Recipe, published: bool) -> None:
    """Print the funnel, what was damaged, and where the result lies."""
    output, only = without_secrets(recipe.options.output), recipe.options.only
    total = sum(len(stage.partitions) for stage in recipe.outputs)
    reused = sum(stage.reused for stage in recipe.outputs)
    print(summary_table(recipe.outputs), file=sys.stderr)
    print(funnel_text(recipe.funnel))
    for line in recipe.damage:
        say(f"warning: {line}", file=sys.stderr)
    where = {"links": "links/*/links.parquet", "pages": "pages/", "corpus": "corpus/"}[only]
    if reused == total and not published:
        say(f"Nothing to do: all {total} partitions are up to date. {output}/{where}")
    else:
        say(f"{total - reused} partitions built, {reused} reused. {output}/{where}")
    if not recipe.funnel[-1].counts.kept:
        raise ValueError(f"no {recipe.funnel[-1].unit} are left: see the funnel above")


if __name__ == "__main__":
    run_command(Options, main, __doc__ or "", renamed={"--spare-after-opt-outs": "--give-up-after-opt-outs"})
