"""What a build is given: its options, each with its default."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Literal

from pipeline.boilerplate.trimming import BoilerplateOptions
from pipeline.common_crawl.options import ArchiveOptions
from pipeline.corpus.split import CorpusOptions
from pipeline.crawl.options import CrawlOptions
from pipeline.decontaminate.overlap import OverlapLimits
from pipeline.decontaminate.plain_texts import TextOptions
from pipeline.dedup.minhash import DuplicateOptions
from pipeline.extract.extraction import ExtractOptions
from pipeline.extract.pages import PageOptions
from pipeline.filters.quality import RefineOptions
from pipeline.links.candidates import LinkOptions
from pipeline.links.stages import MergeOptions


@dataclass(frozen=True, kw_only=True)
class Options:
    """What to build a corpus from, and how."""

    output: str
    """Folder for everything; a local path or an fsspec address."""
    submissions: tuple[str, ...] = ()
    """Reddit dumps (.zst, .xz, .bz2, .gz or plain): files, folders, globs or fsspec addresses."""
    warcs: tuple[str, ...] = ()
    """WARC files to take the pages from, in place of a crawl."""
    archive: ArchiveOptions = field(default_factory=ArchiveOptions)
    sources: tuple[Literal["crawl", "archive"], ...] = ()
    """Where pages are sought, in this order: a source gets what the one before it lost. If not given, the
    archive if --common-crawl or --archive-index names one, else the crawl."""
    only: Literal["links", "pages", "corpus"] = "corpus"
    """Where to stop."""
    partitions: int = 16
    """Pieces that links and pages are cut into: about one for each million links."""
    workers: int | None = None
    """Tasks at once; as many as the cluster has cores if not given."""
    extract_early: bool = True
    """Extract the pages of each WARC file once it is committed, while others are still being fetched."""
    links: LinkOptions = field(default_factory=LinkOptions)
    karma: MergeOptions = field(default_factory=MergeOptions)
    crawl: CrawlOptions = field(default_factory=CrawlOptions)
    extract: ExtractOptions = field(default_factory=ExtractOptions)
    refine: RefineOptions = field(default_factory=RefineOptions)
    boilerplate: BoilerplateOptions = field(default_factory=BoilerplateOptions)
    duplicates: DuplicateOptions = field(default_factory=DuplicateOptions)
    corpus: CorpusOptions = field(default_factory=CorpusOptions)
    decontaminate: tuple[str, ...] = ()
    """Evaluation sets that the corpus is to hold no copies of: UTF-8 text or JSON Lines (.jsonl), compressed
    or not; files, folders, globs or fsspec addresses."""
    overlap: OverlapLimits = field(default_factory=OverlapLimits)
    evaluation: TextOptions = field(default_factory=TextOptions)

    @property
    def page_options(self) -> PageOptions:
        """How pages become documents."""
        return PageOptions(
            extract=self.extract,
            languages=self.refine.languages,
            respect_opt_outs=self.crawl.respect_opt_outs,
            drop_wikipedia=self.refine.drop_wikipedia,
        )

    @property
    def page_sources(self) -> Sequence[str]:
        """Where pages are sought.

        Raises:
            ValueError: the options do not go together.
        """
        named = self.archive.is_named
        sources = self.sources or (("archive",) if named else ("crawl",))
        if "archive" in sources and not named:
            raise ValueError("--sources archive needs --common-crawl or --archive-index")
        if named and "archive" not in sources:
            raise ValueError("--common-crawl and --archive-index are for --sources archive")
        if len(set(sources)) < len(sources):
            raise ValueError("--sources names each source once")
        if self.warcs and (named or self.sources):
            raise ValueError("--warcs goes with none of --sources, --common-crawl and --archive-index")
        return sources
