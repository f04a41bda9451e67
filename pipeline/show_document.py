"""Show one document's life: who linked to it, what was fetched, what was made of it, and where it ended.

python pipeline/show_document.py --output out/webtext https://example.org/page
"""

import re
import sys
import textwrap
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

import pyarrow.compute as pc
import pyarrow.dataset as ds
import tyro
from annotated_types import Ge

if __package__ in (None, ""):  # run as a plain file, from wherever: the packages lie beside this folder
    sys.path[0] = str(Path(__file__).resolve().parents[1])

from pipeline.corpus.split import SPLITS
from pipeline.runner import storage
from pipeline.runner.command import run_command
from pipeline.runner.json_file import read_as
from pipeline.runner.names import without_digest
from pipeline.runner.terminal import say

SHOWN_CHARACTERS = 200  # of what was taken out of a document
_ID = re.compile(r"[0-9a-f]{32}")


@dataclass(frozen=True, kw_only=True)
class ShowOptions:
    """Which document of which run."""

    page: tyro.conf.Positional[str]
    """Address of the page (as submitted, as redirected, or as in the corpus), or the id of a document."""
    output: str
    """Folder that pipeline/build_webtext.py wrote."""


@dataclass(frozen=True)
class Event:
    """What one stage did with the page."""

    stage: str
    text: str


@dataclass(frozen=True)
class StageRow:
    """A row of a file of some stage's partition."""

    partition: str
    values: dict[str, Any]


def main(options: ShowOptions) -> None:
    """Print the life of every link that the page is known under.

    Raises:
        ValueError: there is no such run, or it never heard of the page.
    """
    run = Run(options.output)
    urls = run.links_of(options.page)
    if not urls:
        raise ValueError(f"{options.page} is nowhere in {options.output}: no dump or archive of it names it")
    for url in urls:
        say(url)
        events = Counter(run.life(url))
        stages = sorted({event.stage for event in events}, key=run.stages.index)
        for stage in stages:
            heading = stage
            for event, times in events.items():
                if event.stage == stage:
                    say(f"  {heading:<12} {event.text}{f' ({times} times)' if times > 1 else ''}")
                    heading = ""


@dataclass(frozen=True, kw_only=True)
class _Trimming:
    trim_boilerplate: bool = False


@dataclass(frozen=True, kw_only=True)
class _Used:
    """What is asked of the options of a run, as it wrote them; earlier versions had not all of them."""

    partitions: Annotated[int, Ge(1)]
    sources: Sequence[str] = ()
    boilerplate: _Trimming = _Trimming()
    decontaminate: Sequence[str] = ()


class Run:
    """The files that a run left, to look things up in."""

    def __init__(self, output: str) -> None:
        """Open the output folder of a run.

        Raises:
            ValueError: it is none, or its options.json is damaged.
        """
        options_file = storage.join(output, "options.json")
        if not storage.exists(options_file):
            raise ValueError(f"no run at {output}: give the --output of pipeline/build_webtext.py")
        self.output = output
        options = read_as(_Used, options_file)
        self.partitions = options.partitions
        self._sources = options.sources or ("crawl", "archive")
        self._is_trimmed = options.boilerplate.trim_boilerplate
        self._is_decontaminated = bool(options.decontaminate)  # else the stage is an earlier run's
        self._filesystem, self._path = storage.locate(output)

    def links_of(self, page: str) -> list[str]:
        """Return the addresses under which the run knows a page: itself, or what was redirected to it."""
        if _ID.fullmatch(page):
            stages = ["documents", *(["trimmed"] if self._is_trimmed else [])]  # which gives new ids
            named = [row for stage in stages for row in self.rows(stage, "documents", _is("id", [page]))]
            return sorted({row.values["url"] for row in named})
        same = _is("url", _spellings(page))
        known = [row for stage in ("links", *self.rounds) for row in self.rows(stage, "links", same)]
        known += [row for _, row in self._drops(same)]
        if not known:
            ended_there = _is("final_url", _spellings(page))
            known = [row for stage in self.rounds for row in self.rows(stage, "fetches", ended_there)]
        return sorted({row.values["url"] for row in known})

    def life(self, url: str) -> Iterator[Event]:
        """Yield what happened to a link, stage by stage."""
        same = _is("url", _spellings(url))
        yield from self._submissions(url)
        for row in self.rows("links", "links", same):
            yield Event("links", _link(row.values))
        for stage in self.rounds:
            for row in self.rows(stage, "fetches", same):
                yield Event(stage, self._fetch(stage, row))
        for row in self.rows("documents", "documents", same):
            yield Event("documents", _extracted(row.values))
        for row in self.rows("refined", "documents", same):
            values = row.values
            yield Event("refined", f"{values['language']}, {values['language_score']:.0%} of the text")
        if self._is_trimmed:
            yield from self._trimming(same)
        for stage, row in self._drops(same):
            yield Event(stage, f"dropped: {_reason(row.values)}")
        for side in SPLITS:
            for row in self.rows("split", side, same):
                yield Event("corpus", f"{side}, id {row.values['id']}")
        for _, row in self._drops(_copy_of(url)):
            yield Event("corpus", f"stands for {row.values['url']}: {_reason(row.values)}")

    @property
    def stages(self) -> list[str]:
        """The stages that events come from, in their order."""
        trimmed = ["trimmed"] if self._is_trimmed else []
        decontaminated = ["decontaminated"] if self._is_decontaminated else []
        gathered = ["submissions", "index", "links", *self._by_source()]
        return [*gathered, "documents", "refined", *trimmed, *decontaminated, "split", "corpus"]

    @property
    def rounds(self) -> list[str]:
        """The stages that fetched pages, in their order."""
        found = self._filesystem.glob(f"{self._path}/pages*")
        names = (path.rstrip("/").rsplit("/", 1)[-1] for path in found)
        return sorted(names, key=lambda name: (len(name), name))

    def _by_source(self) -> list[str]:
        """The stages that look for pages, source by source."""
        archive = [name for name in self.rounds if name.startswith("pages_archive")]
        found = {
            "crawl": [name for name in self.rounds if name not in archive],
            "archive": [
                stage for name in archive for stage in (name.replace("pages_archive", "captures"), name)
            ],
        }
        order = sorted(
            found, key=lambda source: self._sources.index(source) if source in self._sources else 9
        )
        return [stage for source in order for stage in (*found[source], f"lost_by_{source}")]

    def rows(self, stage: str, file: str, wanted: ds.Expression) -> list[StageRow]:
        """Return the rows that are wanted of the files of one name in all partitions of a stage."""
        rows = []
        for path in sorted(self._filesystem.glob(f"{self._path}/{stage}/*/{file}.parquet")):
            partition = path.rsplit("/", 2)[-2]
            if not partition.startswith("."):  # one that is not finished
                table = ds.dataset(path, filesystem=self._filesystem).to_table(filter=wanted)
                rows += [StageRow(partition, values) for values in table.to_pylist()]
        return rows

    def _drops(self, wanted: ds.Expression) -> list[tuple[str, StageRow]]:
        """Return what the stages dropped."""
        return [(stage, row) for stage in self.stages for row in self.rows(stage, "drops", wanted)]

    def _submissions(self, url: str) -> Iterator[Event]:
        """Yield the submissions of a link, the best first."""
        from pipeline.runner.buckets import bucket_file, bucket_of

        key = url.partition("://")[2]
        file = bucket_file(bucket_of(key, self.partitions)).removesuffix(".parquet")
        rows = self.rows("submissions", file, _is("key", [key]))
        for row in sorted(rows, key=lambda row: (-row.values["karma"], row.values["submission_id"])):
            values, dump = row.values, without_digest(row.partition)
            day = f"{values['seen']:%Y-%m-%d}" if values["seen"] else "unknown"
            text = f"{day}  karma {values['karma']:,} in r/{values['subreddit']}, {values['submission_id']}"
            yield Event("submissions", f"{text} of {dump}: {values['title']}")

    def _trimming(self, same: ds.Expression) -> Iterator[Event]:
        """Yield what was taken out of a document as boilerplate."""
        for row in self.rows("trimmed", "taken", same):
            for edge in ("beginning", "end"):
                if taken := row.values[edge]:
                    text = f"{len(taken):,} characters taken from its {edge}: {_brief(taken)}"
                    yield Event("trimmed", text)
            for left in self.rows("trimmed", "documents", same):
                yield Event("trimmed", f"{left.values['characters']:,} characters left")

    def _fetch(self, stage: str, row: StageRow) -> str:
        """Describe one fetch, and where the page lies."""
        fetch = row.values
        text = [f"status {fetch['status']}"] if fetch["status"] else []
        at = f"{fetch['fetched_at']:%Y-%m-%d %H:%M} UTC" if fetch["fetched_at"] else ""
        if source := fetch.get("source"):
            text.append(f"captured by {source} {at}".rstrip())
        elif at:
            text.append(at)
        text += [f"redirected to {fetch['final_url']}"] if fetch["redirects"] else []
        if fetch["archive"]:
            text.append(f"in {self._archive(stage, row)} at byte {fetch['offset']:,}")
        return ", ".join(text) or "no answer"

    def _archive(self, stage: str, row: StageRow) -> str:
        """Say where the archive lies that the crawl wrote, or what the one is called that was given."""
        archive = str(row.values["archive"])
        if "/" not in archive:
            return without_digest(archive)
        return storage.resolve(storage.join(self.output, stage, row.partition), archive)


def _spellings(page: str) -> list[str]:
    """Return the addresses that mean one link: as given, and in canonical form under both schemes."""
    from pipeline.runner.records import Drop
    from pipeline.web.urls import parse

    address = parse(page)
    canonical = (
        [] if isinstance(address, Drop) else [f"{scheme}://{address.key}" for scheme in ("http", "https")]
    )
    return [page, *canonical]


def _is(column: str, values: Sequence[str]) -> ds.Expression:
    return ds.field(column).isin(list(values))


def _copy_of(url: str) -> ds.Expression:
    """What is said of a document in whose place another one stands."""
    return pc.match_substring_regex(ds.field("detail"), f"^of {re.escape(url)}(,|$)")


def _reason(drop: dict[str, Any]) -> str:
    return f"{drop['reason']} ({drop['detail']})" if drop["detail"] else str(drop["reason"])


def _link(link: dict[str, Any]) -> str:
    submissions = f"{link['submissions']:,} submission{'' if link['submissions'] == 1 else 's'}"
    return f"karma {link['karma']:,} from {submissions}, domain {link['domain']}"


def _brief(text: str) -> str:
    """Return a text on one line, cut between words if it is long."""
    return textwrap.shorten(text, SHOWN_CHARACTERS, placeholder=" …")


def _extracted(document: dict[str, Any]) -> str:
    dated = f", {document['date']}" if document["date"] else ""
    return f"{document['characters']:,} characters{dated}: {document['title'] or 'no title'}"


if __name__ == "__main__":
    run_command(ShowOptions, main, __doc__)
