"""The page of a build in progress, `build.html`: its stages, what they drop, and how long they will take.

It loads nothing and runs nothing; while the build runs, a browser loads it again every few seconds. All text
is escaped by the template (`build.html.jinja`).
"""

import re
import time
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from types import TracebackType
from typing import Final, Self

from tqdm import tqdm

from pipeline.runner import storage
from pipeline.runner.names import file_name, without_secrets
from pipeline.runner.progress import StageProgress
from pipeline.runner.stages import StageOutput
from pipeline.runner.templates import fill

PAGE: Final = "build.html"
LOCAL_S: Final = 2.0  # between two editions of the page
REMOTE_S: Final = 20.0
MOST_REASONS: Final = 30
MOST_DOMAINS: Final = 30
NAMES_DROPS_FOR: Final = {"duplicates": "split"}
"""A stage that only names what another then drops."""


@dataclass(frozen=True, kw_only=True)
class StageRow:
    """A line of the page: a stage that is done, or the one that is under way."""

    name: str
    partitions: int
    done: int
    read: int
    kept: int | None  # not known before all partitions are done
    dropped: int
    per_s: float
    seconds: float
    is_running: bool = False

    @property
    def percent(self) -> float:
        """How many of the partitions are done."""
        return 100 * self.done / self.partitions if self.partitions else 100.0


class BuildPage:
    """Keeps the page of one build up to date. Use it in a `with`; an error that leaves it is on the page.

    Args:
        output: the build's folder; a local path or an fsspec address.
        clock: seconds, from whenever.
    """

    def __init__(self, output: str, clock: Callable[[], float] = time.monotonic) -> None:
        self._title = file_name(output)
        self._address = storage.join(output, PAGE)
        self._every_s = REMOTE_S if storage.local_path(output) is None else LOCAL_S
        self._clock = clock
        self._begun, self._written = clock(), -self._every_s
        self._done: list[StageOutput] = []
        self._under_way: StageProgress | None = None

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if error is None:
            self._write("finished")
        elif isinstance(error, KeyboardInterrupt):
            self._write("interrupted")
        else:
            self._write(f"stopped: {without_secrets(' '.join(str(error).split()))[:1_000]}")

    def watch(self, progress: StageProgress) -> None:
        """Take note of how far the stage under way is; write the page if it is time to."""
        self._under_way = progress
        if self._clock() - self._written >= self._every_s:
            self._write("")

    def add(self, output: StageOutput) -> None:
        """Take note of a stage that is done."""
        self._done.append(output)
        self._under_way = None

    def _write(self, end: str) -> None:
        self._written = self._clock()
        text = page(
            self._title, self._done, self._under_way, seconds=self._clock() - self._begun, end=end,
            reload_s=0 if end else max(5, round(self._every_s)),
        )  # fmt: skip
        try:
            storage.write_text(self._address, text)
        except Exception as error:  # a full disk or a lost store ends the build by itself, and says so better
            if not isinstance(error, OSError) and not storage.is_unreachable(error):
                raise


def page(
    title: str,
    done: Sequence[StageOutput],
    under_way: StageProgress | None,
    *,
    seconds: float,
    end: str,
    reload_s: int,
) -> str:
    """Return the page.

    Args:
        done: the stages that are done, in their order.
        under_way: the stage that is not.
        seconds: since the build began.
        end: how it ended; empty while it runs.
        reload_s: seconds after which a browser loads the page again; 0: never.
    """
    rows = [_row(output) for output in done]
    names = {output.stage for output in done}
    drops = [
        (reason, output.stage, count)
        for output in done
        if NAMES_DROPS_FOR.get(output.stage) not in names
        for reason, count in output.counts.dropped.items()
    ]
    if under_way is not None:
        rows.append(_running(under_way))
        drops += [(reason, under_way.stage, count) for reason, count in under_way.dropped.items()]
    drops = [drop for drop in drops if drop[2]]
    drops.sort(key=lambda drop: (-drop[2], drop))
    stage, domains = _domains(done, under_way)
    left = under_way.seconds_left if under_way is not None and not end else None
    return fill(
        Path(__file__).parent / "build.html.jinja",
        title=title,
        end=end,
        reload_s=reload_s,
        written=f"{datetime.now(UTC):%Y-%m-%d %H:%M:%S} UTC",
        elapsed=tqdm.format_interval(seconds),
        left=None if left is None else tqdm.format_interval(left),
        rows=rows,
        drops=drops[:MOST_REASONS],
        most_dropped=max((count for *_, count in drops), default=0),
        domains_of=stage,
        domains=domains,
        interval=tqdm.format_interval,
    )


def _row(output: StageOutput) -> StageRow:
    counts = output.counts
    return StageRow(
        name=output.stage,
        partitions=len(output.partitions),
        done=len(output.partitions),
        read=counts.read,
        kept=counts.kept,
        dropped=counts.read - counts.kept,
        per_s=0.0 if output.reused or not output.seconds else counts.read / output.seconds,
        seconds=output.seconds,
    )


def _running(at: StageProgress) -> StageRow:
    return StageRow(
        name=at.stage,
        partitions=at.partitions,
        done=at.done,
        read=at.records,
        kept=None,
        dropped=sum(at.dropped.values()),
        per_s=at.records_per_s,
        seconds=at.seconds,
        is_running=True,
    )


def _domains(
    done: Sequence[StageOutput], under_way: StageProgress | None
) -> tuple[str, list[tuple[str, int, float]]]:
    """Return the newest stage that knows domains; its largest, with counts and shares of the first's."""
    stages = [(output.stage, [part.domains for part in output.partitions]) for output in done]
    if under_way is not None:
        stages.append((under_way.stage, [under_way.domains]))
    known = [(_without_round(stage), parts) for stage, parts in stages if any(parts)]
    if not known:
        return "", []
    newest, found = known[-1][0], Counter[str]()
    for part in (part for stage, parts in known if stage == newest for part in parts):
        found.update(part)
    largest = sorted(found.items(), key=lambda item: (-item[1], item[0]))[:MOST_DOMAINS]
    return newest, [(name, count, 100 * count / largest[0][1]) for name, count in largest]


def _without_round(stage: str) -> str:
    """Return what a stage is called in its first round: `pages` of `pages_2`."""
    return re.sub(r"_\d+$", "", stage)
