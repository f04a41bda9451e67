"""The stages in their order: seek, look up, choose, fetch; then the same for where redirects led."""

import sys
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from pipeline.archives.ways import MatchOptions
from pipeline.common_crawl.captures import Wanted
from pipeline.common_crawl.index_batch import IndexTally
from pipeline.common_crawl.index_files import find_indexes
from pipeline.common_crawl.languages import three_letter
from pipeline.common_crawl.options import ArchiveOptions, RecordOptions
from pipeline.common_crawl.sought import SOUGHT_FILE
from pipeline.common_crawl.stages import (
    FetchOptions,
    choose_captures,
    chosen_file,
    fetch_records,
    look_up,
    seek_links,
)
from pipeline.crawl.options import CrawlOptions
from pipeline.links.candidates import LinkOptions
from pipeline.runner import storage
from pipeline.runner.buckets import bucket_file, moved_file
from pipeline.runner.inputs import Inputs, Run, files_of, gathered, joined
from pipeline.runner.stages import Counts, InputFile, StageOutput
from pipeline.web.page import MAX_BODY_BYTES

UNKNOWN = -1
"""What a stage is expected to read, where nobody knows that."""


@dataclass(frozen=True)
class Source:
    """What a source of pages found: the files of its links and fetches, and what became of the links."""

    pages: Inputs  # for extraction
    fetched: Inputs  # with those of links that have no page; names begin with the links' partition
    counts: Counts
    outputs: Sequence[StageOutput]  # those that dropped links
    names: Mapping[str, int] = field(default_factory=dict)  # pages by the archives that they are from


class Archives:
    """Archives with an index, as a source of pages."""

    def __init__(
        self,
        options: ArchiveOptions,
        crawl: CrawlOptions,
        links: LinkOptions,
        languages: Sequence[str],
        partitions: int,
    ) -> None:
        """Find the indexes.

        Raises:
            ValueError: one is not there, or an index does not name the languages.
        """
        self._options = options
        self._partitions = partitions
        self._wanted = Wanted(languages=three_letter(languages) if options.skip_foreign_captures else ())
        self._choice = MatchOptions(
            links=links,
            allow_networks=crawl.allow_networks,
            max_redirects=crawl.max_redirects,
            partitions=partitions,
        )
        self._crawl = crawl
        self._parts = find_indexes(options)

    def find(self, run: Run, waiting: Inputs, left: int, workers: int | None) -> Source:
        """Find and fetch a page of each link.

        Args:
            run: runs a stage.
            waiting: the files of links, for each partition.
            left: how many links there are.
            workers: tasks at once; None: as many as there are cores.
        """
        outputs: list[StageOutput] = []
        fetched: dict[str, Sequence[InputFile]] = {}
        with_pages: dict[str, Sequence[InputFile]] = {}
        kept, dropped = 0, Counts(0, 0)
        number = 1
        while any(waiting.values()) or number == 1:
            suffix = f"_{number}" if number > 1 else ""
            chosen = self._choose(run, waiting, suffix)
            pages = self._fetch(run, chosen, suffix, workers)
            outputs += [chosen, pages]
            lost, found = (files_of(output, "links.parquet", "fetches.parquet") for output in (chosen, pages))
            with_pages |= {f"{part}-archive-{number}": files for part, files in found.items()}
            fetched |= {f"{part}-lost-{number}": files for part, files in lost.items()}
            kept += pages.counts.kept
            dropped = Counts.total([dropped, *(_dropped(output) for output in (chosen, pages))])
            waiting = gathered([chosen, pages], self._partitions, moved_file)
            number += 1
        counts = Counts(kept + dropped.read, kept, dropped.dropped)
        assert counts.read == left, f"{counts} of {left} links"
        names = Counter[str]()
        for partition in (partition for output in outputs for partition in output.partitions):
            names.update(partition.notes.get("sources", {}))
        return Source(with_pages, fetched | with_pages, counts, outputs, names)

    def _choose(self, run: Run, waiting: Inputs, suffix: str) -> StageOutput:
        sought = run(f"sought{suffix}", seek_links, waiting)
        ours = [_unmeasured(file) for file in sought.files(SOUGHT_FILE)]
        parts = {part.name: [*ours, *map(_unmeasured, part.files)] for part in self._parts}
        found = run(f"lookup{suffix}", look_up, parts, self._wanted, expected=UNKNOWN)
        tally = IndexTally()
        for partition in found.partitions:
            tally.add(IndexTally(**partition.notes["index"]))
            if partition.notes.get("unavailable"):  # what was found counts in this run, and is no result
                storage.remove(f"{partition.address}.json")
        print(f"{found.stage:<12} {tally}", file=sys.stderr)
        # The place of a partition among what is sought is the bucket of what was found for it.
        captures = gathered([found], len(waiting), bucket_file)
        captures = dict(zip(waiting, captures.values(), strict=True))
        return run(f"captures{suffix}", choose_captures, joined(waiting, captures), self._choice)

    def _fetch(self, run: Run, chosen: StageOutput, suffix: str, workers: int | None) -> StageOutput:
        options = self._options
        at_once = min(options.archive_workers, self._partitions, workers or options.archive_workers)
        records = RecordOptions(
            connections=options.archive_connections,
            requests_per_second=options.archive_requests_per_second / at_once,
            retries=options.archive_retries,
            backoff_s=options.archive_backoff_s,
            max_body_bytes=MAX_BODY_BYTES,
            max_record_bytes=self._crawl.max_compressed_bytes,
            warc_bytes=self._crawl.warc_bytes,
            segment_s=self._crawl.segment_s,
        )
        root = InputFile.untracked(options.archive_root)
        captures = gathered([chosen], self._partitions, chosen_file)
        inputs = {part: [root, *files] for part, files in captures.items() if files}
        fetch = FetchOptions(records=records, choice=self._choice)
        expected = sum(partition.counts.kept for partition in chosen.partitions)
        # A fetch waits more than it works: several share a core.
        return run(
            f"pages_archive{suffix}",
            fetch_records,
            inputs,
            fetch,
            cpus=0.25,
            expected=expected,
            workers=at_once,
        )


def _unmeasured(file: InputFile) -> InputFile:
    """Of a file that is read in parts, its size is not what is read."""
    return InputFile(file.address, file.fingerprint)


def _dropped(output: StageOutput) -> Counts:
    dropped: Mapping[str, int] = output.counts.dropped
    return Counts(sum(dropped.values()), 0, dropped)
