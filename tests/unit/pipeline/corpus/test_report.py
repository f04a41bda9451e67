"""Card and report say what was counted, and show text of strangers as text."""

import dataclasses

import yaml

from pipeline.corpus.card import InputFile, Provenance, command_line, dataset_card, deciding
from pipeline.corpus.figures import Boilerplate, DropSamples, Figures, Sample, evenly
from pipeline.corpus.funnel import Step
from pipeline.corpus.likeness import likeness_to_webtext
from pipeline.corpus.report import report_html
from pipeline.runner.stages import Counts

STEPS = [
    Step("submissions", "outbound links", Counts(1200, 1000, {"self post": 150, "<b>odd</b>": 50})),
    Step("links", "links", Counts(1000, 700, {"low karma": 300})),
    Step("trimmed", "documents", Counts(700, 700), changed={"documents shortened": 61}),
]
SAMPLE = Sample(
    url="https://a.org/?<i>", title="<script>alert(1)</script>", about='"karma" 3', excerpt="A & B"
)
FIGURES = Figures(
    documents={"train": 1_234_567, "validation": 12},
    characters={"train": 6_000_000_000, "validation": 1000},
    distinct_domains=98_765,
    domains=[("b.org", 2), ("a.org", 1)],
    subreddits=[("pics", 3)],
    lengths=[("512", 1), ("1,024", 0), ("2,048", 2)],
    karma=[("2", 3)],
    dates=[("2011", 1), ("unknown", 2)],
    first_seen=[("2012", 3)],
    fetched=("2026-01-02", "2026-02-03"),
    clusters=[("2", 44)],
    bands={
        **{"permutations": 128, "bands": 21, "rows": 6, "least_agreeing": 98},
        "odds": [{"similarity": 0.8, "compared": 0.998, "found": 0.861}],
    },
    kept=[SAMPLE],
    dropped=[DropSamples(step="refined", reason="too short", count=77, samples=[SAMPLE])],
    boilerplate=[
        Boilerplate(domain="<b>.org", edge="end", excerpt="<script>follow()</script>", documents=61)
    ],
)
PROVENANCE = Provenance(
    dumps=[InputFile(name="RS_2012-01.zst", size_bytes=123_456_789, read=1200, kept=1000)],
    archives=[],
    options={"languages": ("en", "cy"), "min_karma": 5, "respect_robots": True, "respect_opt_outs": True}
    | {"min_boilerplate_pages": 10, "min_boilerplate_share": 0.125},
    changed={"languages": ("en", "cy"), "min_karma": 5, "respect_robots": False},
)


@dataclasses.dataclass(frozen=True)
class Inner:
    min_karma: int = 3
    contact: str = ""


@dataclasses.dataclass(frozen=True)
class Outer:
    output: str = ""
    inner: Inner = dataclasses.field(default_factory=Inner)


def test_card_begins_with_what_the_hub_reads() -> None:
    head = yaml.safe_load(dataset_card(STEPS, FIGURES, PROVENANCE).split("---\n")[1])
    assert head["language"] == ["en", "cy"]
    assert head["license"] == "other"
    assert head["size_categories"] == ["1M<n<10M"]
    assert head["configs"][0]["data_files"][1] == {"split": "validation", "path": "validation/*.parquet"}


def test_card_tells_numbers_inputs_options_and_days() -> None:
    card = dataset_card(STEPS, FIGURES, PROVENANCE)
    for printed in (
        "| train | 1,234,567 | 6,000,000,000 |",
        "98,765 registrable domains",
        "| RS_2012-01.zst | 123,456,789 | 1,200 | 1,000 |",
        "| links | 1,000 | 700 | links | low karma 300 |",
        "between 2026-01-02 and 2026-02-03",
        "| `min_karma` | 5 (not the default) |",
        "asked every host for its robots.txt",
        "in 21 bands of\n6.",
        "0.80: 86.1 %.",
        "| trimmed | 700 | 700 | documents (61 documents shortened) | none |",
        "at least 10 pages and 12.5 % of",
    ):
        assert printed in card


def test_card_admits_that_opt_outs_were_not_honoured() -> None:
    rude = dataclasses.replace(
        PROVENANCE, options={**PROVENANCE.options, "respect_robots": False, "respect_opt_outs": False}
    )
    card = dataset_card(STEPS, FIGURES, rude)
    assert "did not ask for robots.txt" in card
    assert "were not honoured" in card


def test_command_of_the_card_names_what_was_changed_and_no_paths() -> None:
    assert command_line(PROVENANCE) == (
        "python pipeline/build_webtext.py --submissions dumps/ --output out/webtext "
        "--languages en cy --min-karma 5 --no-respect-robots"
    )


def test_options_that_decide_leave_places_and_people_out() -> None:
    options = Outer(output="/home/me/out", inner=Inner(min_karma=4, contact="me@example.org"))
    assert deciding(options, Outer()) == ({"min_karma": 4}, {"min_karma": 4})


def test_report_shows_every_figure_and_only_escaped_text() -> None:
    page = report_html(STEPS, FIGURES, PROVENANCE)
    for printed in (
        "1,234,567",
        "6,000,001,000",
        "98,765",
        "b.org",
        "pics",
        "unknown",
        "too short",
        "77",
        "44",
        "86.1 %",
        "&lt;script&gt;follow()",
        ">61<",
        "documents shortened",
    ):
        assert printed in page
    assert "<script" not in page
    assert "<b>odd</b>" not in page
    assert "&lt;script&gt;alert(1)&lt;/script&gt;" in page


def test_report_shows_likeness_to_webtext_and_says_nothing_of_it_without_domains() -> None:
    likeness = likeness_to_webtext([("bbc.co.uk", 3), ("<i>unheard</i>", 1)])
    page = report_html(STEPS, dataclasses.replace(FIGURES, likeness=likeness), PROVENANCE)
    assert "Likeness to WebText" in page
    assert "75.0 %" in page
    assert "&lt;i&gt;unheard&lt;/i&gt;" in page and "<i>unheard" not in page
    assert "Likeness to WebText" not in report_html(STEPS, FIGURES, PROVENANCE)


def test_report_loads_nothing_from_elsewhere() -> None:
    page = report_html(STEPS, dataclasses.replace(FIGURES, kept=[], dropped=[]), PROVENANCE)
    assert not any(word in page for word in ("http:", "https:", "src=", "@import", "url("))


def test_empty_corpus_has_a_card_and_a_report_too() -> None:
    nothing = Figures(
        documents={"train": 0, "validation": 0},
        characters={"train": 0, "validation": 0},
        distinct_domains=0,
        domains=[],
        subreddits=[],
        lengths=[],
        karma=[],
        dates=[],
        first_seen=[],
        fetched=None,
    )
    assert "| train | 0 | 0 |" in dataset_card([], nothing, PROVENANCE)
    assert "documents for train" in report_html([], nothing, PROVENANCE)


def test_samples_are_spread_evenly_and_never_more_than_there_are() -> None:
    assert evenly(100, 4) == [12, 37, 62, 87]
    assert evenly(2, 5) == [0, 1]
    assert evenly(0, 5) == []
