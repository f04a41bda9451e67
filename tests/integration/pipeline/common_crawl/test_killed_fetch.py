"""A fetch that is killed goes on where it was, and has the same pages in the end."""

import json
import random
import subprocess
import sys
import time
from pathlib import Path

import pytest
from made_common_crawl import Capture, write_cdxj
from range_server import serving

from pipeline.crawl.segments import fetch_log
from pipeline.web.warc import Page, read_page

ROOT = Path(__file__).parents[4]
CHANCE = random.Random(0)
CAPTURES = [  # what is not asked for is so large that no two of the others come in one request
    Capture(url=f"http://example.com/{number}", html=None if number % 2 else CHANCE.randbytes(80_000).hex())
    for number in range(120)
]

FETCH = """
import json, sys
from datetime import UTC, datetime
from pathlib import Path
from pipeline.common_crawl.fetching import fetch_captures
from pipeline.common_crawl.options import RecordOptions
from pipeline.crawl.segments import FinishedLinks, finish_interrupted
root, folder, places = sys.argv[1], Path(sys.argv[2]), json.load(open(sys.argv[3]))
options = RecordOptions(
    connections=2, requests_per_second=RATE, retries=2, backoff_s=0.01, max_body_bytes=2**20,
    max_record_bytes=2**20, warc_bytes=8_000, segment_s=60.0,
)
finish_interrupted(folder)
finished = FinishedLinks(folder, options.fingerprint())
at = datetime(2018, 1, 1, tzinfo=UTC)
usual = {"hops": [], "source": "CC", "fetch_time": at, "warc_filename": "own.warc.gz"}
captures = [usual | place for place in places if place["id"] not in finished]
print(len(captures), flush=True)
fetch_captures(captures, root, folder, options, lambda *given: "", lambda fetched: None)
"""


def start(address: str, folder: Path, places: Path, rate: float) -> "subprocess.Popen[str]":
    command = [sys.executable, "-c", FETCH.replace("RATE", str(rate)), address, str(folder), str(places)]
    return subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, text=True)


@pytest.mark.slow
def test_killed_fetch_goes_on_with_committed_records_and_gives_the_same_pages(tmp_path: Path) -> None:
    (tmp_path / "archive").mkdir()
    write_cdxj(tmp_path / "index.cdxj", tmp_path / "archive", CAPTURES)
    places = []
    for line in (tmp_path / "index.cdxj").read_text().splitlines():
        row = json.loads(line.split(" ", 2)[2])
        number = row["url"].rpartition("/")[2]
        if int(number) % 2:
            places.append({
                "id": row["url"], "link": row["url"], "url": row["url"], "content_digest": row["digest"],
                "warc_record_offset": int(row["offset"]), "warc_record_length": int(row["length"]),
            })  # fmt: skip
    places.sort(key=lambda place: place["warc_record_offset"])
    (tmp_path / "places.json").write_text(json.dumps(places))
    segments = tmp_path / "segments"
    segments.mkdir()
    with serving(tmp_path / "archive") as server:
        left = []
        for rate in (30.0, 30.0, 0.0):
            fetcher = start(server.address, segments, tmp_path / "places.json", rate)
            assert fetcher.stdout is not None
            left.append(int(fetcher.stdout.readline()))
            before = len(list(segments.glob("*.parquet")))
            deadline = time.monotonic() + 60
            while rate and fetcher.poll() is None and time.monotonic() < deadline:
                if len(list(segments.glob("*.parquet"))) >= before + 2:
                    fetcher.kill()
                time.sleep(0.01)
            assert fetcher.wait(60) == (-9 if rate else 0)
    assert len(places) == left[0] > left[1] > left[2] > 0, "what was committed is not asked for again"
    log = fetch_log(segments)
    assert sorted(log["url"].to_pylist()) == sorted(place["id"] for place in places)
    assert set(log["reason"].to_pylist()) == {""}
    expected = {capture.url: capture.body() for capture in CAPTURES}
    for row in log.to_pylist():
        page = read_page(str(segments / row["archive"]), row["offset"])
        assert isinstance(page, Page) and page.body == expected[row["url"]]
