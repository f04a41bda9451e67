"""The recipe on one page: which stages make a WebText-style corpus, in which order, of what."""

import sys
from collections import Counter
from collections.abc import Sequence

from pipeline.archives.stages import (
    index_archive,
    links_of_archives,
    match_pages,
    redirects_file,
    revisits_file,
)
from pipeline.archives.ways import MatchOptions
from pipeline.boilerplate.stages import trim_boilerplate
from pipeline.common_crawl.lost import hand_on_lost
from pipeline.common_crawl.rounds import UNKNOWN, Archives, Source
from pipeline.common_crawl.stages import fetch_records
from pipeline.corpus.build_page import BuildPage
from pipeline.corpus.funnel import Step
from pipeline.corpus.split import validation_limit
from pipeline.corpus.stages import SplitOptions, split_documents
from pipeline.crawl.stages import FetchOptions, crawl_links, scatter_by_domain
from pipeline.decontaminate.overlap import find_sets, names_of
from pipeline.decontaminate.stages import (
    FILTER,
    GRAMS,
    DecontaminationOptions,
    collect_grams,
    decontaminate,
    make_filter,
)
from pipeline.dedup.bands import Bands
from pipeline.dedup.stages import (
    band_tasks,
    bands_file,
    copies_file,
    find_duplicates,
    match_documents,
    sign_documents,
)
from pipeline.extract.early import EarlyExtraction, early_folder
from pipeline.extract.stages import extract_pages
from pipeline.filters.stages import refine_documents
from pipeline.links.candidates import LinkRules
from pipeline.links.stages import ScatterOptions, merge_links, scatter_submissions
from pipeline.links.submissions import find_dumps
from pipeline.options import Options
from pipeline.runner import storage
from pipeline.runner.buckets import CutOptions, bucket_file, moved_file
from pipeline.runner.executor import run_stage
from pipeline.runner.inputs import Inputs, files_of, flat, gathered, joined
from pipeline.runner.ranges import check_ranges
from pipeline.runner.stages import Counts, InputFile, Stage, StageOutput, Work, by_name, version_of


class Recipe:
    """Runs the stages one after the other, and keeps what each returned."""

    def __init__(self, options: Options) -> None:
        """Find what to read.

        Raises:
            ValueError: an argument names nothing, or the options do not go together.
        """
        self.options = options
        self.dumps = _outside(options.output, find_dumps(options.submissions))
        self.archives = _outside(options.output, storage.find_files(options.warcs, _is_archive, "WARC file"))
        if not self.dumps and not self.archives:
            raise ValueError("give --submissions (Reddit dumps), --warcs (WARC files), or both")
        if options.only == "links" and self.archives:
            raise ValueError("--only links takes no --warcs")
        LinkRules(options.links, options.crawl.allow_networks)  # fails now if they cannot be used
        self.sources = options.page_sources
        if not self.archives and options.only != "links" and "crawl" in self.sources:
            options.crawl.check()
        if options.partitions < 1:
            raise ValueError("--partitions must be 1 or more")
        check_ranges(options.boilerplate)
        self.evaluation = (
            find_sets(options.decontaminate, options.evaluation) if options.decontaminate else []
        )
        self.indexes = None
        if "archive" in self.sources and options.only != "links":
            check_ranges(options.archive)
            self.indexes = Archives(
                options.archive, options.crawl, options.links, options.refine.languages, options.partitions
            )
        self.page = BuildPage(options.output)
        self.outputs: list[StageOutput] = []
        self.funnel: list[Step] = []
        self.handed_on: set[str] = set()
        """Stages whose drops are not final: another source of pages got these links."""

    def build(self) -> None:
        """From dumps or archives to the corpus, or as far as `only` says."""
        options = self.options
        cut = CutOptions(partitions=options.partitions)
        sought = self.evaluation_filter() if options.only == "corpus" else []
        index = None
        if self.archives:
            index = self.run("index", index_archive, by_name(self.archives), cut)
        if self.dumps:
            links = self.links_of_submissions()
        else:
            assert index is not None
            self.report(index, "pages with an address")
            named = [gathered([index], options.partitions, name) for name in (bucket_file, revisits_file)]
            links = self.run("links", links_of_archives, joined(*named))
            self.report(links, "links")
        if options.only == "links":
            return
        fetched = self.pages(links, cut) if index is None else self.match(links, index)
        if options.only == "corpus":
            self.refine(fetched, sought)

    def links_of_submissions(self) -> StageOutput:
        """Bring all submissions of a link together from all dumps, then merge them."""
        options = self.options
        scatter = ScatterOptions(
            links=options.links, allow_networks=options.crawl.allow_networks, partitions=options.partitions
        )
        submissions = self.run("submissions", scatter_submissions, by_name(self.dumps), scatter)
        self.report(submissions, "submissions of outbound links")
        links = self.run("links", merge_links, gathered([submissions], options.partitions), options.karma)
        self.report(links, "links")
        return links

    def pages(self, links: StageOutput, cut: CutOptions) -> Inputs:
        """Get a page of each link from the first source that has one."""
        fetched: dict[str, Sequence[InputFile]] = {}
        kept, dropped, read = Counter[str](), [], links.counts.kept
        for source in self.sources:
            found = self.crawl(links, cut) if source == "crawl" else self.look_up(links)
            fetched |= found.pages
            kept.update(found.names or {source: found.counts.kept})
            if source == self.sources[-1]:
                dropped.append(found.counts.dropped)
                break
            parts: dict[str, list[InputFile]] = {part.name: [] for part in links.partitions}
            for name, files in found.fetched.items():
                parts[name.partition("-")[0]] += files
            left = found.counts.read - found.counts.kept
            links = self.run(f"lost_by_{source}", hand_on_lost, parts, expected=left)
            dropped.append(links.counts.dropped)
            self.handed_on.update(output.stage for output in found.outputs)
        ended = Counts.total(Counts(sum(reasons.values()), 0, reasons) for reasons in dropped)
        named = kept if self.indexes else {}
        self.funnel.append(Step("pages", "pages", Counts(read, kept.total(), ended.dropped), named))
        return fetched

    def look_up(self, links: StageOutput) -> Source:
        """Find links in the indexes of archives, and fetch their captures."""
        assert self.indexes is not None
        return self.indexes.find(
            self.run, files_of(links, "links.parquet"), links.counts.kept, self.options.workers
        )

    def crawl(self, links: StageOutput, cut: CutOptions) -> Source:
        """Fetch each partition of domains; then what was redirected to domains of others; and so on.

        No domain is ever asked by two tasks at once: each belongs to one partition, and the rounds follow
        one another. They end, since a link follows so many redirects and no more.
        """
        options = self.options
        domains = self.run("domains", scatter_by_domain, files_of(links, "links.parquet"), cut)
        largest = Counter[str]()
        for partition in domains.partitions:
            largest.update(partition.notes["largest"])
        waiting = gathered([domains], options.partitions)
        # The largest domain takes longest, so it begins first.
        waiting = dict(sorted(waiting.items(), key=lambda piece: -largest[f"{piece[0]}.parquet"]))
        fetch = FetchOptions(crawl=options.crawl, links=options.links, partitions=options.partitions)
        # A crawl waits more than it works: several share a core.
        return self.in_rounds(crawl_links, waiting, fetch, left=links.counts.kept, cpus=0.25)

    def match(self, links: StageOutput, index: StageOutput) -> Inputs:
        """Find each link's page in the archives; then of those redirected to other partitions; and so on."""
        options = self.options
        matching = MatchOptions(
            links=options.links,
            allow_networks=options.crawl.allow_networks,
            max_redirects=options.crawl.max_redirects,
            partitions=options.partitions,
        )
        pages, redirects, revisits = (
            gathered([index], options.partitions, name)
            for name in (bucket_file, redirects_file, revisits_file)
        )
        known = joined(joined(pages, redirects), revisits)
        waiting = files_of(links, "links.parquet")
        found = self.in_rounds(match_pages, waiting, matching, left=links.counts.kept, known=known)
        self.funnel.append(Step("pages", "pages", found.counts))
        rounds: dict[str, list[InputFile]] = {part: [] for part in waiting}  # of one partition together
        for name, sources in found.pages.items():
            rounds[name.rpartition("-")[0]] += sources
        places = [InputFile.untracked(address) for address in self.archives]
        return {part: [*sources, *places] for part, sources in rounds.items()}

    def in_rounds(
        self,
        work: Work,
        waiting: Inputs,
        options: object,
        *,
        left: int,
        known: Inputs | None = None,
        cpus: float = 1,
    ) -> Source:
        """Run a stage over what waits, then over what it hands on to other partitions, until that is nothing.

        Each round also reads what is `known` to its partition. Together they are the funnel's step "pages".
        """
        rounds: list[StageOutput] = []
        fetched: dict[str, Sequence[InputFile]] = {}
        while waiting or not rounds:
            name = f"pages_{len(rounds) + 1}" if rounds else "pages"
            inputs = joined(waiting, known) if known else waiting
            pages = self.run(name, work, inputs, options, cpus=cpus, expected=left)
            rounds.append(pages)
            left -= pages.counts.read
            found = files_of(pages, "links.parquet", "fetches.parquet")
            fetched |= {f"{part}-{len(rounds)}": files for part, files in found.items()}
            moved = gathered([pages], self.options.partitions, moved_file)
            waiting = {part: sources for part, sources in moved.items() if sources}
        return Source(fetched, fetched, Counts.total(pages.counts for pages in rounds), rounds)

    def refine(self, fetched: Inputs, sought: Sequence[InputFile]) -> None:
        """Pages to documents, without those that are unwanted, copy what is `sought`, or are there twice."""
        options = self.options
        documents = self.run("documents", extract_pages, fetched, self.options.page_options)
        storage.remove(self.early_place)
        self.report(documents, "pages with text")
        refined = self.run(
            "refined", refine_documents, files_of(documents, "documents.parquet"), options.refine
        )
        self.report(refined, "documents worth keeping")
        if options.boilerplate.trim_boilerplate:
            refined = trim_boilerplate(
                self.run, refined, options.partitions, options.refine, options.boilerplate
            )
            self.report(refined, "documents without boilerplate")
        if sought:
            refined = self.decontaminate(refined, sought)
        texts = files_of(refined, "documents.parquet")
        duplicates = self.duplicates(texts)
        copies = {name: duplicates.files(copies_file(number)) for number, name in enumerate(texts)}
        (partition,) = duplicates.partitions
        limit = validation_limit(
            options.corpus.validation_share, partition.notes["smallest_ids"], duplicates.counts.kept
        )
        sides = SplitOptions(validation_limit=limit)
        split = self.run("split", split_documents, joined(texts, copies), sides)
        self.report(split, "documents in the corpus")

    def evaluation_filter(self) -> list[InputFile]:
        """Read the evaluation sets, if there are any, and make a filter of them."""
        if not self.evaluation:
            return []
        texts = self.options.evaluation
        sets = self.run("evaluation", collect_grams, by_name(self.evaluation), texts)
        grams = sets.files(GRAMS)
        bloom = self.run("filter", make_filter, {"all": grams})
        return [*bloom.files(FILTER), *grams]

    def decontaminate(self, documents: StageOutput, sought: Sequence[InputFile]) -> StageOutput:
        """Drop the documents that overlap an evaluation set too much."""
        limits = DecontaminationOptions(limits=self.options.overlap, names=names_of(self.evaluation))
        files = files_of(documents, "documents.parquet")
        inputs = {name: [*file, *sought] for name, file in files.items()}
        kept = self.run("decontaminated", decontaminate, inputs, limits)
        self.report(kept, "documents that copy no evaluation set")
        return kept

    def duplicates(self, texts: Inputs) -> StageOutput:
        """Sign all documents, match them band by band, and name those that are copies of others."""
        options = self.options.duplicates
        print(Bands.of(options).describe(), file=sys.stderr)
        signed = self.run("signatures", sign_documents, texts, options)
        matching = {
            f"{task:05d}": flat(signed, "digests.npy", "sketches.npy", bands_file(task))
            for task in band_tasks(options)
        }
        read = signed.counts.kept * len(matching)  # every task reads all
        matches = self.run("matches", match_documents, matching, options, expected=read)
        deciding = [*matches.files("matches.npy"), *flat(signed, "keys.parquet", "sketches.npy")]
        return self.run("duplicates", find_duplicates, {"all": deciding}, options)

    def run(
        self,
        name: str,
        work: Work,
        inputs: Inputs,
        options: object = None,
        *,
        cpus: float = 1,
        expected: int | None = None,
        workers: int | None = None,
    ) -> StageOutput:
        """Run one stage over its partitions; it is `expected` to read what the funnel's last step kept."""
        stage = Stage(name=name, work=work, options=options, cpus=cpus)
        if expected is None and self.funnel:
            expected = self.funnel[-1].counts.kept
        expected = None if expected == UNKNOWN else expected
        place, workers = self.options.output, workers or self.options.workers
        output = run_stage(
            stage, inputs, place, workers=workers, expected=expected, watch=self.page.watch,
            beside=self.early_extraction(stage),
        )  # fmt: skip
        self.outputs.append(output)
        self.page.add(output)
        return output

    def early_extraction(self, stage: Stage) -> EarlyExtraction | None:
        """While a stage fetches pages, those that are committed are extracted."""
        options = self.options
        if stage.work not in (crawl_links, fetch_records) or options.only != "corpus":
            return None
        if not options.extract_early:
            return None
        pages = options.page_options
        folder = early_folder(self.early_place, pages, version_of(extract_pages))
        return EarlyExtraction(storage.join(options.output, stage.name, "store"), folder, pages)

    @property
    def early_place(self) -> str:
        """Where the extracting stage looks for results."""
        return storage.join(storage.absolute(self.options.output), "documents", "store", "early")

    def report(self, output: StageOutput, unit: str) -> None:
        """Make a stage a step of the funnel."""
        self.funnel.append(Step(output.stage, unit, output.counts, changed=output.changed))

    @property
    def damage(self) -> list[str]:
        """What was wrong with whole files."""
        return [
            line
            for output in self.outputs
            for partition in output.partitions
            for line in partition.notes.get("damage", [])
        ]


def _outside(output: str, addresses: Sequence[str]) -> list[str]:
    """Leave out what lies in the output folder: it may be in a folder that is read."""
    inside = storage.join(str(storage.local_path(output) or output), "")
    return [address for address in addresses if not address.startswith(inside)]


def _is_archive(name: str) -> bool:
    return name.endswith((".warc", ".warc.gz", ".warc.zst", ".arc", ".arc.gz"))
