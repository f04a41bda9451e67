"""The whole recipe on real Ray: every page accounted for, resumable, the same bytes whatever the way."""

import contextlib
import dataclasses
import gzip
import hashlib
import io
import itertools
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pyarrow.dataset as ds
import pyarrow.parquet as pq
import pytest
import zstandard
from made_web import all_files
from pages import browser, faults

from launch.demo_site.web import CLOSING, EmbeddedWeb, WebPage, build_pages, write_dump
from pipeline.boilerplate.trimming import BoilerplateOptions
from pipeline.build_webtext import Options, main
from pipeline.corpus.funnel import read_funnel
from pipeline.corpus.split import CorpusOptions
from pipeline.crawl.options import CrawlOptions
from pipeline.links.candidates import LinkOptions
from pipeline.links.stages import MergeOptions
from pipeline.runner.buckets import bucket_of
from pipeline.show_document import ShowOptions
from pipeline.show_document import main as show
from pipeline.web.http_head import Response
from pipeline.web.urls import host_of_key, registrable_domain
from pipeline.web.warc import response_record

ROOT = Path(__file__).parents[3]
SHARED = ROOT.parent / "shared" / "data"
DUMP, WARC = "RS_2012-05.zst", "pages.warc.gz"
LOOPBACK = CrawlOptions(contact="test@example.org", delay_s=0.0, allow_networks=("127.0.0.0/8",), retries=0)


@dataclasses.dataclass(frozen=True)
class Built:
    """A corpus that was crawled once for this module."""

    folder: Path
    dump: Path
    web: EmbeddedWeb
    pages: list[WebPage]
    options: Options


@pytest.fixture(scope="module")
def built(ray: None, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Built]:
    folder = tmp_path_factory.mktemp("built")
    with EmbeddedWeb() as web:
        pages = build_pages(60, web.addresses)
        web.serve(pages)
        dump = folder / "RS_demo.zst"
        write_dump(dump, pages, web.addresses)
        options = Options(
            submissions=(str(dump),),
            output=str(folder / "out"),
            partitions=3,
            crawl=LOOPBACK,
            boilerplate=BoilerplateOptions(min_boilerplate_pages=5),  # each server has ten or so
            corpus=CorpusOptions(validation_share=0.1),
        )
        main(options)
        yield Built(folder, dump, web, pages, options)


def funnel(output: str | Path) -> dict[str, dict[str, Any]]:
    return {step["step"]: step for step in read_funnel(str(Path(output) / "corpus"))["steps"]}


def content(folder: Path) -> dict[str, str]:
    """Every Parquet file below a folder, by its checksum."""
    files = sorted(folder.rglob("*.parquet"))
    return {str(path.relative_to(folder)): hashlib.sha256(path.read_bytes()).hexdigest() for path in files}


def archives(built: Built) -> tuple[str, ...]:
    return tuple(str(path) for path in sorted((built.folder / "out").glob("pages*/store/*/*.warc.gz")))


def ends_of_redirects(pages: list[WebPage]) -> set[str]:
    """Paths that are asked for again whenever a link that leads there by a redirect is followed."""
    targets = [page.headers["Location"] for page in pages if "Location" in page.headers]
    return {target if target.startswith("/") else "/" + target.split("/", 3)[3] for target in targets}


def from_archives(built: Built, output: Path, **changes: Any) -> Options:
    """Build from the pages that the module's crawl left, with other options or none."""
    changed = {"output": str(output), "warcs": archives(built)} | changes
    return dataclasses.replace(built.options, **changed)


def test_funnel_sums_from_submissions_to_documents(built: Built) -> None:
    steps = read_funnel(str(built.folder / "out" / "corpus"))["steps"]
    assert [step["step"] for step in steps] == [
        "submissions",
        "links",
        "pages",
        "documents",
        "refined",
        "trimmed",
        "split",
    ]
    for before, after in itertools.pairwise(steps):
        assert before["kept"] == after["read"]
    for step in steps:
        assert step["read"] == step["kept"] + sum(step["dropped"].values())
    corpus = ds.dataset(
        [
            *(built.folder / "out" / "corpus").glob("train/*.parquet"),
            *(built.folder / "out" / "corpus").glob("validation/*.parquet"),
        ]
    )
    assert corpus.count_rows() == steps[-1]["kept"] > 30


def test_every_kind_of_unwanted_page_is_dropped_for_its_reason(built: Built) -> None:
    steps = funnel(built.folder / "out")
    expected = {
        "submissions": {"self post", "Wikipedia", "Reddit", "media file", "media host", "private address"}
        | {"not http", "invalid address", "no address", "broken JSON line"},
        "links": {"low karma", "duplicate link"},
        "pages": {"robots.txt", "not HTML", "server error", "Wikipedia", "private address"},
        "refined": {"other language"},
        "split": {"exact duplicate", "near duplicate"},
    }
    for step, reasons in expected.items():
        assert reasons <= set(steps[step]["dropped"]), step
    assert any("opt-out" in reason for reason in steps["pages"]["dropped"])


def test_drops_name_every_address_with_its_stage_and_reason(built: Built) -> None:
    drops = ds.dataset(built.folder / "out" / "corpus" / "drops", partitioning="hive").to_table().to_pylist()
    printed = sum(sum(step["dropped"].values()) for step in funnel(built.folder / "out").values())
    assert len(drops) == printed
    closed = [drop for drop in drops if drop["reason"] == "robots.txt"]
    assert all("/private/diary" in drop["url"] and drop["stage"] == "pages" for drop in closed)
    assert closed


def test_redirect_into_another_partition_is_followed_there(built: Built) -> None:
    """Each domain is asked by the crawl of its own partition only, and each link has one row."""
    rows = []
    for folder in (built.folder / "out").glob("pages*/0*"):
        if folder.is_dir():
            rows += [(folder, row) for row in pq.read_table(folder / "fetches.parquet").to_pylist()]
    assert len(rows) == len({row["url"] for _, row in rows}) == funnel(built.folder / "out")["pages"]["read"]
    moved = [(folder, row) for folder, row in rows if folder.parent.name == "pages_2"]
    assert [row for _, row in moved if not row["reason"]], "no link was redirected into another partition"
    for folder, row in rows:
        ends_at = registrable_domain(host_of_key(row["final_url"].partition("://")[2]))
        if not row["reason"]:
            assert bucket_of(ends_at, 3) == int(folder.name)


def test_corpus_loads_as_a_hugging_face_dataset(built: Built, tmp_path: Path) -> None:
    import datasets

    corpus = datasets.load_dataset(str(built.folder / "out" / "corpus"), cache_dir=str(tmp_path))
    assert set(corpus) == {"train", "validation"}
    row = corpus["train"][0]
    assert row["language"] == "en"
    assert row["characters"] == len(row["text"])
    assert row["id"] == hashlib.sha256(row["text"].encode()).hexdigest()[:32]


def test_navigation_and_footers_are_not_in_the_text(built: Built) -> None:
    texts = pq.read_table(built.folder / "out" / "corpus" / "train")["text"].to_pylist()
    assert not [text for text in texts if "Terms, privacy, cookies" in text or "var tracker" in text]


def test_what_ends_the_pages_of_a_site_is_taken_out_of_them_and_told_everywhere(built: Built) -> None:
    output = built.folder / "out"
    step = funnel(output)["trimmed"]
    texts = pq.read_table(output / "corpus" / "train")["text"].to_pylist()
    left = [text for text in texts if CLOSING in text]
    # After a line that is no sentence it may belong to that, where few other pages of the site tell.
    assert len(left) < len(texts) / 10 and not [text for text in left if text.split("\n")[-2].endswith(".")]
    shortened = step["changed"]["documents shortened"]
    assert step["kept"] * 0.9 < shortened and shortened > 30
    assert step["changed"]["characters taken"] >= shortened * (len(CLOSING) + 1)
    page = (output / "corpus" / "report.html").read_text()
    assert "Boilerplate that was taken out" in page and CLOSING in page
    assert f"{shortened:,} documents shortened" in (output / "corpus" / "README.md").read_text()


def test_boilerplate_stays_if_that_is_asked_for(built: Built, tmp_path: Path) -> None:
    main(from_archives(built, tmp_path, boilerplate=BoilerplateOptions(trim_boilerplate=False)))
    texts = pq.read_table(tmp_path / "corpus" / "train")["text"].to_pylist()
    assert texts and all(text.endswith(CLOSING) for text in texts)
    assert "trimmed" not in funnel(tmp_path)
    card = (tmp_path / "corpus" / "README.md").read_text()
    assert "--no-trim-boilerplate" in card and "min_boilerplate_pages" not in card


def test_second_run_does_no_work_and_says_so(built: Built, capsys: pytest.CaptureFixture[str]) -> None:
    before = content(built.folder / "out" / "corpus")
    asked = len(built.web.requests)
    main(built.options)
    assert "Nothing to do" in capsys.readouterr().out
    assert len(built.web.requests) == asked
    assert content(built.folder / "out" / "corpus") == before


def test_lower_karma_fetches_the_new_links_only(built: Built, tmp_path: Path) -> None:
    """And going back to the old threshold gives the old corpus without a request."""
    before = content(built.folder / "out" / "corpus")
    asked = list(built.web.requests)
    main(dataclasses.replace(built.options, karma=MergeOptions(min_karma=1)))
    new = built.web.requests[len(asked) :]
    pages = [path for path in new if not path.endswith(("/robots.txt", "/tdmrep.json"))]
    assert pages
    fetched_before = {path.partition("?")[0] for path in asked}
    again = {path for path in pages if path in fetched_before and path[1:5].isdigit()}
    assert again - ends_of_redirects(built.pages) == set()
    assert funnel(built.folder / "out")["links"]["dropped"].keys() == {"duplicate link"}
    asked = list(built.web.requests)
    main(built.options)
    assert built.web.requests == asked
    assert content(built.folder / "out" / "corpus") == before


def test_same_bytes_with_one_worker_or_two_and_dumps_in_any_order(built: Built, tmp_path: Path) -> None:
    lines = zstandard.decompress(built.dump.read_bytes()).splitlines(keepends=True)
    halves = (lines[: len(lines) // 3], lines[len(lines) // 3 :])
    for number, half in enumerate(halves):
        (tmp_path / f"RS_{number}.gz").write_bytes(gzip.compress(b"".join(half)))
        (tmp_path / f"RS_{1 - number}.bz2.jsonl").write_bytes(b"".join(half))
    results = []
    for number, (names, workers) in enumerate(
        [(("RS_0.gz", "RS_1.gz"), 1), (("RS_0.bz2.jsonl", "RS_1.bz2.jsonl"), 2)]
    ):
        output = tmp_path / str(number)
        dumps = tuple(str(tmp_path / name) for name in names)
        main(from_archives(built, output, submissions=dumps, workers=workers))
        results.append({side: content(output / "corpus" / side) for side in ("train", "validation")})
    assert results[0] == results[1]
    assert len(results[0]["train"]) == 3


@pytest.mark.parametrize("workers", [1, 2, 4])
def test_every_file_of_the_corpus_is_the_same_with_any_number_of_workers(
    built_in_six: dict[str, bytes], web_files: Path, tmp_path: Path, workers: int
) -> None:
    main(of_files(web_files, tmp_path, partitions=6, workers=workers))
    assert all_files(tmp_path / "corpus") == built_in_six
    assert {"README.md", "report.html", "funnel.json"} < built_in_six.keys()


def test_another_number_of_partitions_gives_the_same_documents(
    ray: None, web_files: Path, tmp_path: Path
) -> None:
    corpora = []
    for partitions in (1, 5):
        output = tmp_path / str(partitions)
        main(of_files(web_files, output, partitions=partitions))
        parts = [pq.read_table(path) for path in (output / "corpus" / "train").glob("*.parquet")]
        corpora.append(sorted(row["url"] + row["text"] for part in parts for row in part.to_pylist()))
    assert len(corpora[0]) > 20
    assert corpora[0] == corpora[1]


def of_files(web_files: Path, output: Path, **changes: Any) -> Options:
    dumps, archives = (f"{web_files}/RS_*.zst",), (f"{web_files}/pages-*.warc.gz",)
    return Options(submissions=dumps, warcs=archives, output=str(output), **changes)


def test_archives_alone_make_a_corpus(built: Built, tmp_path: Path) -> None:
    main(from_archives(built, tmp_path, submissions=()))
    steps = funnel(tmp_path)
    assert next(iter(steps)) == "index"
    logs = (built.folder / "out").glob("pages*/store/*/*.parquet")
    fetches = [fetch for log in logs for fetch in pq.read_table(log).to_pylist()]
    places = {fetch["final_url"] for fetch in fetches if not fetch["reason"]}
    assert steps["index"]["kept"] == sum(not fetch["reason"] for fetch in fetches)
    documents = steps["documents"]
    assert documents["kept"] + documents["dropped"].get("other language", 0) == len(places)


@pytest.mark.usefixtures("ray")
def test_page_of_an_archive_may_opt_out_too(tmp_path: Path) -> None:
    text = "The harbour was quiet that morning, and the boats lay still at their moorings. " * 20
    members = []
    for name, header, head in [
        ("open", (b"X-Other", b"noai"), ""),
        ("header", (b"X-Robots-Tag", b"noai"), ""),
        ("meta", (b"X-Other", b""), '<meta name="robots" content="noindex">'),
    ]:
        body = f"<html><head>{head}</head><body><article><h1>{name}</h1><p>{text}</p></article></body></html>"
        response = Response(
            url=f"http://{name}.example/", status=200, phrase="OK", address="192.0.2.1",
            headers=[(b"Content-Type", b"text/html"), header], body=body.encode(), at=datetime.now(UTC),
        )  # fmt: skip
        members.append(response_record(response))
    (tmp_path / WARC).write_bytes(b"".join(members))
    options = Options(warcs=(str(tmp_path / WARC),), output=str(tmp_path / "out"), partitions=1)
    main(options)
    assert funnel(tmp_path / "out")["documents"]["dropped"] == {"opt-out noai": 1, "opt-out noindex": 1}
    main(dataclasses.replace(options, crawl=CrawlOptions(respect_opt_outs=False)))
    assert funnel(tmp_path / "out")["documents"]["kept"] == 3


def test_archive_cut_in_the_middle_gives_what_could_be_read_and_a_warning(
    built: Built, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    cut = tmp_path / "cut.warc.gz"
    whole = Path(archives(built)[0]).read_bytes()
    cut.write_bytes(whole[: len(whole) // 2])
    main(from_archives(built, tmp_path / "out", submissions=(), warcs=(str(cut),)))
    printed = capsys.readouterr()
    assert "warning: damaged archive" in printed.err
    assert cut.name in printed.err and str(cut) not in printed.err
    assert funnel(tmp_path / "out")["index"]["kept"] > 3


def test_dump_cut_in_the_middle_gives_what_could_be_read_and_a_warning(
    built: Built, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    cut = tmp_path / "dumps" / "RS_cut.gz"
    cut.parent.mkdir()
    whole = gzip.compress(zstandard.decompress(built.dump.read_bytes()))
    cut.write_bytes(whole[: len(whole) * 2 // 3])
    (cut.parent / "RS_empty.zst").touch()
    # The output may lie in the folder that is read.
    options = Options(
        submissions=(str(cut.parent),),
        output=str(cut.parent / "out"),
        only="links",
        partitions=2,
        crawl=LOOPBACK,
    )
    for _ in range(2):
        main(options)
    printed = capsys.readouterr()
    assert f"warning: damaged file: {cut.name}" in printed.err and str(cut) not in printed.err
    assert "warning: empty file: RS_empty.zst" in printed.err


@pytest.mark.usefixtures("ray")
def test_run_that_ends_with_nothing_fails(tmp_path: Path) -> None:
    (tmp_path / DUMP).touch()
    options = Options(submissions=(str(tmp_path / DUMP),), output=str(tmp_path / "out"), only="links")
    with pytest.raises(ValueError, match="no links are left"):
        main(dataclasses.replace(options, partitions=1))


def test_crawl_with_another_number_of_partitions_is_refused(built: Built) -> None:
    with pytest.raises(ValueError, match="resume with --partitions 3"):
        main(dataclasses.replace(built.options, partitions=4))


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({}, "give --submissions"),
        ({"submissions": ("missing.zst",)}, r"no dump .* at missing\.zst"),
        ({"warcs": ("missing.warc.gz",)}, "no WARC file at missing"),
        ({"submissions": (DUMP,), "warcs": (WARC,), "only": "links"}, "--only links takes no --warcs"),
        ({"submissions": (DUMP,)}, "needs a contact"),
        ({"submissions": (DUMP,), "partitions": 0, "only": "links"}, "--partitions must be 1 or more"),
        ({"submissions": ("nosuch://x",), "only": "links"}, "nosuch://x"),
        ({"submissions": (DUMP,), "output": DUMP, "only": "links"}, "Not a directory|File exists"),
        ({"submissions": (DUMP,), "only": "links", "links": LinkOptions(blocklist="no")}, "no blocklist no"),
    ],
)
def test_mistake_is_told_in_one_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, changes: dict[str, Any], message: str
) -> None:
    monkeypatch.chdir(tmp_path)
    Path(DUMP).touch()
    Path(WARC).touch()
    with pytest.raises((ValueError, OSError), match=message):
        main(Options(**({"output": "out"} | changes)))


def test_command_ends_a_mistake_with_one_line_and_a_non_zero_code(tmp_path: Path) -> None:
    (tmp_path / "RS_1.zst").write_bytes(b"x")
    command = [sys.executable, "pipeline/build_webtext.py", "--output", str(tmp_path / "out")]
    result = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert result.returncode == 1
    assert result.stderr.startswith("error: give --submissions")
    assert result.stderr.count("\n") == 1


def test_help_answers_within_two_seconds_and_imports_no_torch() -> None:
    code = "import sys; sys.argv[1:] = ['--help']; import runpy\n"
    code += "try: runpy.run_path('pipeline/build_webtext.py', run_name='__main__')\n"
    code += "except SystemExit: pass\nprint('torch' in sys.modules, 'ray' in sys.modules)"
    started = time.monotonic()
    result = subprocess.run(
        [sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True
    )
    assert time.monotonic() - started < 2
    assert result.stdout.endswith("False False\n")
    assert "--submissions" in result.stdout


@pytest.mark.skipif(not SHARED.is_dir(), reason="needs the real pages beside the project")
def test_real_dump_and_archive_make_an_english_corpus(ray: None, tmp_path: Path) -> None:
    main(
        Options(
            submissions=(str(SHARED / "RS_pages.zst"),),
            warcs=(str(SHARED / "pages.warc.gz"),),
            output=str(tmp_path),
            partitions=2,
        )
    )
    steps = funnel(tmp_path)
    assert (steps["submissions"]["read"], steps["links"]["kept"], steps["pages"]["kept"]) == (506, 261, 261)
    assert 75 <= steps["split"]["kept"] <= 95
    assert json.loads((tmp_path / "corpus" / "funnel.json").read_text())["documents"]["validation"] >= 8


@pytest.mark.slow
def test_crawl_killed_in_the_middle_goes_on_and_fetches_no_committed_page_again(
    ray: None, tmp_path: Path
) -> None:
    """`kill -9` of the whole run; the corpus is the one that an undisturbed run makes."""
    with EmbeddedWeb() as web:
        pages = build_pages(40, web.addresses)
        web.serve(pages)
        dump = tmp_path / DUMP
        write_dump(dump, pages, web.addresses)
        command = [
            sys.executable,
            "pipeline/build_webtext.py",
            "--submissions",
            str(dump),
            "--partitions",
            "1",
        ]
        command += ["--contact", "test@example.org", "--allow-networks", "127.0.0.0/8", "--retries", "0"]
        output = tmp_path / "killed"
        slowly = [*command, "--output", str(output), "--delay-s", "0.4"]
        environment = os.environ | {"RAY_ADDRESS": "local"}
        first = subprocess.Popen(
            slowly, cwd=ROOT, env=environment, start_new_session=True,
            stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
        )  # fmt: skip
        deadline = time.monotonic() + 60
        while len(journalled(output)) < 10:
            assert time.monotonic() < deadline, "the crawl never got to ten pages"
            time.sleep(0.05)
        os.killpg(first.pid, signal.SIGKILL)
        first.wait()
        wait_until_quiet(web)
        saved, asked = journalled(output), len(web.requests)
        assert not (output / "corpus").exists()
        options = Options(submissions=(str(dump),), partitions=1, output=str(output), crawl=LOOPBACK)
        main(options)
        again = web.requests[asked:]
        main(dataclasses.replace(options, output=str(tmp_path / "undisturbed")))
    assert (saved & set(again)) - ends_of_redirects(pages) == set()
    assert len(again) > 10
    for side in ("train", "validation"):
        assert content(output / "corpus" / side) == content(tmp_path / "undisturbed" / "corpus" / side)


def journalled(output: Path) -> set[str]:
    """The paths of the pages that a crawl under way would not lose if it were killed now."""
    rows = [
        json.loads(line)
        for journal in (output / "pages" / "store").rglob(".*.jsonl.partial")
        for line in journal.read_bytes().splitlines(keepends=True)[1:]
        if line.endswith(b"\n")
    ]
    return {"/" + row["url"].split("/", 3)[3] for row in rows if not row["reason"]}


def wait_until_quiet(web: EmbeddedWeb) -> None:
    """Wait until no request has come for a second: a killed run's workers end when they notice."""
    seen, since = len(web.requests), time.monotonic()
    while time.monotonic() - since < 1.0:
        time.sleep(0.05)
        if len(web.requests) != seen:
            seen, since = len(web.requests), time.monotonic()


def life(built: Built, page: str) -> list[str]:
    """What the command says of a page."""
    with contextlib.redirect_stdout(io.StringIO()) as printed:
        show(ShowOptions(page=page, output=str(built.folder / "out")))
    return printed.getvalue().splitlines()


def test_life_of_a_kept_document_goes_from_its_submissions_to_the_corpus(built: Built) -> None:
    document = ds.dataset(built.folder / "out" / "corpus" / "train").head(1).to_pylist()[0]
    printed = life(built, document["url"])
    assert printed == life(built, document["id"])
    assert printed[0] == document["url"]
    assert [line.split()[0] for line in printed[1:] if not line.startswith("   ")] == [
        *("submissions", "links", "pages", "documents", "refined", "trimmed", "corpus")
    ]
    assert f"karma {document['karma']:,} in r/{document['subreddit']}" in printed[1]
    assert f"{document['characters']:,} characters" in "".join(printed)
    assert printed[-1].endswith(f"train, id {document['id']}")


def test_life_of_every_dropped_link_ends_with_its_reason(built: Built) -> None:
    drops = ds.dataset(built.folder / "out" / "corpus" / "drops", partitioning="hive").to_table().to_pylist()
    one_of_each = {drop["reason"]: drop for drop in drops if drop["url"]}
    assert len(one_of_each) > 15
    for reason, drop in one_of_each.items():
        assert any(f"dropped: {reason}" in line for line in life(built, drop["url"])), reason


def test_life_of_a_copy_names_the_document_that_stands_for_it_and_the_other_way_round(built: Built) -> None:
    drops = ds.dataset(built.folder / "out" / "corpus" / "drops", partitioning="hive").to_table().to_pylist()
    for reason in ("exact duplicate", "near duplicate"):
        copy = next(drop for drop in drops if drop["reason"] == reason)
        kept = copy["detail"].removeprefix("of ").split(",")[0]
        assert any(f"of {kept}" in line for line in life(built, copy["url"]))
        assert any(f"stands for {copy['url']}: {reason}" in line for line in life(built, kept))


def test_page_is_found_by_the_address_that_a_redirect_led_to(built: Built) -> None:
    logs = (built.folder / "out").glob("pages*/0*/fetches.parquet")
    fetches = [row for path in logs for row in pq.read_table(path).to_pylist()]
    links = {fetch["url"] for fetch in fetches}
    moved = next(fetch for fetch in fetches if fetch["redirects"] and fetch["final_url"] not in links)
    assert moved["url"] in life(built, moved["final_url"])


def test_page_that_no_dump_names_is_said_to_be_nowhere(built: Built) -> None:
    with pytest.raises(ValueError, match="nowhere in"):
        life(built, "http://nowhere.example/")
    with pytest.raises(ValueError, match="no run at"):
        show(ShowOptions(page="http://nowhere.example/", output=str(built.folder)))


def test_corpus_and_drops_open_in_duckdb_as_they_are(built: Built) -> None:
    import duckdb

    corpus = built.folder / "out" / "corpus"
    for side, documents in json.loads((corpus / "funnel.json").read_text())["documents"].items():
        counted = duckdb.sql(f"SELECT count(*), count(DISTINCT id) FROM '{corpus}/{side}/*.parquet'")
        assert counted.fetchall() == [(documents, documents)]
    drops = duckdb.sql(
        "SELECT stage, reason, count(*) FROM "
        f"read_parquet('{corpus}/drops/*/*.parquet', hive_partitioning = true) GROUP BY ALL"
    ).fetchall()
    dropped = {(stage, reason): count for stage, reason, count in drops}
    for step in ("submissions", "links", "documents", "refined", "split"):
        for reason, count in funnel(built.folder / "out")[step]["dropped"].items():
            assert dropped[step, reason] == count


def test_report_shows_pages_that_stayed_and_that_went(built: Built) -> None:
    page = (built.folder / "out" / "corpus" / "report.html").read_text()
    for heading in ("Some documents that were kept", "split: near duplicate", "refined: other language"):
        assert heading in page
    assert str(built.folder) not in page + (built.folder / "out" / "corpus" / "README.md").read_text()


@pytest.mark.skipif(browser() is None, reason="no browser is installed")
def test_a_browser_shows_the_report_whole_on_a_phone_and_reports_nothing(built: Built) -> None:
    out = built.folder / "out"
    assert [faults(page) for page in (out / "corpus" / "report.html", out / "build.html")] == [[], []]


def test_the_page_of_a_build_says_how_it_went(built: Built) -> None:
    page = (built.folder / "out" / "build.html").read_text()
    assert '<div class="quiet">finished</div>' in page
    assert "http-equiv" not in page  # nothing changes any more
    steps = read_funnel(str(built.folder / "out" / "corpus"))["steps"]
    for step in steps:
        if step["step"] in ("links", "refined", "split"):
            assert f"<td>{step['read']:,}</td><td>{step['kept']:,}</td>" in page
    (reason, count) = max(steps[0]["dropped"].items(), key=lambda item: item[1])
    assert f'<span>{reason} <span class="quiet">submissions</span></span><b>{count:,}</b>' in page
    assert 'Largest domains <span class="quiet">' in page
