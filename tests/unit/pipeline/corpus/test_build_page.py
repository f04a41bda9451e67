"""A build in progress is seen: how far it is, what it drops, and how it ended."""

from collections import Counter
from pathlib import Path

import pytest

from pipeline.corpus import build_page
from pipeline.corpus.build_page import BuildPage, page
from pipeline.runner.progress import StageProgress
from pipeline.runner.stages import Counts, Partition, StageOutput

RUNNING = StageProgress(
    stage="pages",
    partitions=4,
    done=1,
    records=1_500,
    records_per_s=25.4,
    seconds=60,
    seconds_left=3_700,
    dropped=Counter({"deadline": 7, "<b>odd</b>": 70}),
)


def partition(name: str, counts: Counts, domains: dict[str, int]) -> Partition:
    return Partition(name, "", {}, counts, {}, 0, 1.0, domains)


LINKS = StageOutput(
    stage="links",
    partitions=[
        partition("0", Counts(1_000, 900, {"low karma": 100}), {"a.org": 5, "b.org": 9}),
        partition("1", Counts(1_000, 950, {"low karma": 50}), {"a.org": 5, "<i>.org": 1}),
    ],
    reused=0,
    seconds=4.0,
    task_seconds=8.0,
    bytes_read=0,
)


def test_it_says_how_far_the_stage_is_and_how_long_it_will_take() -> None:
    text = page("webtext", [LINKS], RUNNING, seconds=125, end="", reload_s=5)
    assert '<meta http-equiv="refresh" content="5">' in text
    assert "<b>02:05</b><span>so far</span>" in text
    assert "<b>1:01:40</b><span>left of stage pages</span>" in text
    assert "<b>25/s</b>" in text
    assert "<b>1 of 4</b>" in text
    assert "<td>2,000</td><td>1,850</td><td>150</td>" in text  # links
    assert "<td>1,500</td><td></td><td>77</td>" in text  # pages: what is kept is not known yet


def test_drops_of_all_stages_and_domains_of_the_newest_that_knows_them_go_by_size() -> None:
    text = page("webtext", [LINKS], RUNNING, seconds=1, end="", reload_s=5)
    reasons = [text.index(reason) for reason in ("low karma", "&lt;b&gt;odd", "deadline")]
    assert reasons == sorted(reasons)
    assert "<b>150</b>" in text
    assert 'Largest domains <span class="quiet">links</span>' in text
    domains = [text.index(name) for name in ("a.org", "b.org", "&lt;i&gt;.org")]
    assert domains == sorted(domains)
    assert "<span>a.org</span><b>10</b>" in text
    assert "<b>odd" not in text
    assert "<i>.org" not in text


def output(stage: str, counts: Counts, domains: dict[str, int]) -> StageOutput:
    return StageOutput(
        stage=stage,
        partitions=[partition("0", counts, domains)],
        reused=1,
        seconds=0.0,
        task_seconds=0.0,
        bytes_read=0,
    )


def test_reasons_that_dropped_nothing_are_not_told() -> None:
    text = page(
        "w", [output("links", Counts(2, 2, {"low karma": 0}), {})], None, seconds=1, end="", reload_s=5
    )
    assert "low karma" not in text


def test_rounds_of_a_stage_have_their_domains_together() -> None:
    rounds = [
        output("pages", Counts(3, 3), {"a.org": 2, "b.org": 1}),
        output("pages_2", Counts(1, 1), {"a.org": 1}),
    ]
    text = page("webtext", rounds, None, seconds=1, end="finished", reload_s=0)
    assert 'Largest domains <span class="quiet">pages</span>' in text
    assert "<span>a.org</span><b>3</b>" in text


def test_what_is_named_in_one_stage_and_dropped_in_the_next_is_told_once() -> None:
    drops = Counts(9, 7, {"near duplicate": 2})
    named = output("duplicates", drops, {})
    told = '<span>near duplicate <span class="quiet">{}</span></span><b>2</b>'
    assert told.format("duplicates") in page("w", [named], None, seconds=1, end="", reload_s=5)
    both = page("w", [named, output("split", drops, {})], None, seconds=1, end="", reload_s=5)
    assert told.format("split") in both
    assert both.count("near duplicate") == 1


class Clock:
    def __init__(self) -> None:
        self.now = 100.0

    def __call__(self) -> float:
        return self.now


def test_it_is_written_now_and_then_and_at_the_end(tmp_path: Path) -> None:
    clock = Clock()
    file = tmp_path / "webtext" / "build.html"
    with BuildPage(str(file.parent), clock) as watched:
        watched.watch(RUNNING)
        first = file.read_text()
        clock.now += 1
        watched.watch(RUNNING)
        assert file.read_text() == first
        clock.now += build_page.LOCAL_S
        watched.watch(RUNNING)
        assert "<b>00:03</b><span>so far" in file.read_text()
        watched.add(LINKS)
    assert '<div class="quiet">finished</div>' in file.read_text()
    assert 'class="running"' not in file.read_text()
    assert "http-equiv" not in file.read_text()


@pytest.mark.parametrize(
    ("error", "said"),
    [
        (ValueError("stage pages:\n s3://key:secret@bucket/a?token=1 <is> full"), "stopped: stage pages: "),
        (KeyboardInterrupt(), "interrupted"),
    ],
)
def test_an_error_that_ends_the_build_is_on_it(tmp_path: Path, error: BaseException, said: str) -> None:
    with pytest.raises(type(error)), BuildPage(str(tmp_path)) as watched:
        watched.watch(RUNNING)
        raise error
    text = (tmp_path / "build.html").read_text()
    assert said in text
    assert "secret" not in text
    assert "token" not in text
    assert "<is>" not in text


def test_a_page_that_cannot_be_written_ends_no_build(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with BuildPage(str(tmp_path / "file" / "out")) as watched:
        watched.watch(RUNNING)
