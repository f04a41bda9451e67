"""Link extraction against a bare reading loop and a plain script, and its memory over ten times the links.

    python tests/benchmarks/bench_links.py [--submissions 80000] [--rounds 5]

Makes a dump of full-size submissions (about 3 kB each, in the layout and mix of 2023) from a seed.
All three read the same bytes on one core, in turns, and the best of the rounds counts, in CPU seconds:

    ours    decompress, parse, canonical candidates with drops, as Arrow batches
    bare    decompress and `orjson.loads` each line, nothing else; the aim is to reach 60 % of it
    plain   decompress, `json.loads` each line, `urlsplit`, a few conditions, one dictionary of links

Then a process of its own takes each of two dumps, one with ten times the links of the other, through
extraction, buckets on disk and merging, and reports its peak memory.
"""

import argparse
import io
import json
import random
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from urllib.parse import urlsplit

import orjson
import pyarrow.parquet as pq
import zstandard

from pipeline.links.candidates import CANDIDATES, LinkOptions, LinkRules, extract, scatter
from pipeline.links.merging import merge
from pipeline.links.submissions import read_submissions

SEED = 20_190_214
LINKS_A_BUCKET = 25_000

# What a submission of 2023 has besides what is made below, as Reddit's API gives it.
NULLS = """
approved_at_utc approved_by author_cakeday author_flair_background_color author_flair_css_class
author_flair_template_id author_flair_text author_flair_text_color banned_at_utc banned_by category
content_categories discussion_type distinguished likes link_flair_css_class link_flair_template_id
link_flair_text media_metadata mod_note mod_reason_by mod_reason_title num_reports removal_reason
removed_by removed_by_category report_reasons secure_media selftext_html suggested_sort view_count
"""
FALSES = """
archived author_is_blocked author_patreon_flair author_premium can_gild can_mod_post clicked contest_mode
edited hidden hide_score is_created_from_ads_ui is_meta is_original_content is_reddit_media_domain locked
media_only no_follow over_18 pinned quarantine saved spoiler stickied visited
"""
EMPTY_LISTS = """
all_awardings author_flair_richtext awarders link_flair_richtext mod_reports treatment_tags user_reports
"""
WORDS = """
the of and a to in is that for it as was with be by on not he his but at are this have from or had an
they which one you were all her she there would their we him been has when who will more no if out so
"""
MEDIA = (
    "i.redd.it/{}.jpg",
    "i.imgur.com/{}.png",
    "www.youtube.com/watch?v={}",
    "v.redd.it/{}",
    "imgur.com/a/{}",
)
TAILS = ("", "", "", "/", "?utm_source=reddit", "?id={}", "?a=1&amp;b={}", "#part")


def text(chance: random.Random, words: int) -> str:
    """Words in random order."""
    return " ".join(chance.choices(WORDS.split(), k=words))


def preview(chance: random.Random) -> dict[str, object]:
    """Addresses of a picture in several sizes, a good part of a submission's bytes."""
    sizes = []
    for width in (108, 216, 320, 640, 960, 1080):
        name, signature = f"{chance.getrandbits(240):x}", f"{chance.getrandbits(160):x}"
        url = f"https://external-preview.redd.it/{name}?width={width}&amp;crop=smart&amp;s={signature}"
        sizes.append({"url": url, "width": width, "height": width * 2 // 3})
    image = {"id": f"{chance.getrandbits(240):x}", "resolutions": sizes, "source": sizes[-1], "variants": {}}
    return {"enabled": False, "images": [image]}


def fields(number: int, chance: random.Random) -> dict[str, object]:
    """What all submissions have."""
    name = f"{number + 10**9:x}"
    subreddit = f"subreddit{int(chance.paretovariate(0.5)) % 50_000}"
    record: dict[str, object] = dict.fromkeys(NULLS.split()) | dict.fromkeys(FALSES.split(), False)
    record |= {field: [] for field in EMPTY_LISTS.split()}
    return record | {
        "author": f"user{number % 9_999}",
        "author_fullname": f"t2_{chance.getrandbits(36):x}",
        "created_utc": 1_680_000_000 + number,
        "gildings": {},
        "id": name,
        "is_self": False,
        "is_video": False,
        "media_embed": {},
        "name": f"t3_{name}",
        "num_comments": chance.randrange(500),
        "permalink": f"/r/{subreddit}/comments/{name}/a_story/",
        "pwls": 6,
        "retrieved_on": 1_690_000_000,
        "score": int(chance.paretovariate(0.6)) % 50_000,
        "secure_media_embed": {},
        "selftext": "",
        "subreddit": subreddit,
        "subreddit_id": f"t5_{chance.getrandbits(24):x}",
        "subreddit_name_prefixed": f"r/{subreddit}",
        "subreddit_subscribers": chance.randrange(10**6),
        "thumbnail": "default",
        "title": text(chance, 12),
        "upvote_ratio": 0.87,
        "whitelist_status": "all_ads",
    }


def submission(number: int, chance: random.Random, links_only: bool) -> dict[str, object]:
    """One submission: its own text (45 %), a picture or film (30 %), a crosspost (5 %) or a link (20 %)."""
    kind = 1.0 if links_only else chance.random()
    record = fields(number, chance)
    own = f"https://www.reddit.com{record['permalink']}"
    if kind < 0.45:
        return record | {"is_self": True, "selftext": text(chance, 260), "url": own}
    if kind < 0.75:
        address = "https://" + chance.choice(MEDIA).format(f"{chance.getrandbits(64):x}")
    else:
        site = f"www.site{int(chance.paretovariate(0.4)) % 100_000}.com"
        story = "-".join(text(chance, 7).split())
        tail = chance.choice(TAILS).format(number)
        address = f"https://{site}/2023/{chance.randrange(1, 13):02}/{story}-{number * 2 // 3}{tail}"
    record |= {
        "url": address,
        "url_overridden_by_dest": address,
        "post_hint": "link",
        "preview": preview(chance),
    }
    if 0.75 <= kind < 0.8:
        return record | {"crosspost_parent_list": [dict(record)], "url": own, "url_overridden_by_dest": own}
    return record


def make_dump(path: Path, submissions: int, links_only: bool = False) -> int:
    """Write a dump as Pushshift did; return its size before compression."""
    chance = random.Random(SEED)
    size_bytes = 0
    with path.open("wb") as file, zstandard.ZstdCompressor(level=3).stream_writer(file) as packer:
        for number in range(submissions):
            line = orjson.dumps(submission(number, chance, links_only)) + b"\n"
            packer.write(line)
            size_bytes += len(line)
    return size_bytes


def lines(dump: Path) -> Iterator[bytes]:
    """The quickest plain way to a dump's lines."""
    with dump.open("rb") as file:
        reader = zstandard.ZstdDecompressor(max_window_size=2**31).stream_reader(file, read_size=1 << 17)
        yield from io.BufferedReader(reader, 1 << 17)


def bare(dump: Path) -> int:
    """Decompress and parse, nothing else."""
    count = 0
    for line in lines(dump):
        orjson.loads(line)
        count += 1
    return count


def plain(dump: Path) -> int:
    """What a short script would do; it merges no twins and judges no host by its parts."""
    links: dict[str, int] = {}
    count = 0
    for line in lines(dump):
        post = json.loads(line)
        count += 1
        if post["is_self"] or post["over_18"]:
            continue
        url = urlsplit(post["url"])
        if url.scheme in ("http", "https") and url.hostname and not url.hostname.endswith("reddit.com"):
            address = url._replace(fragment="").geturl()
            links[address] = max(links.get(address, 0), post["score"])
    return count


def ours(dump: Path) -> int:
    """The pipeline's own path to Arrow."""
    rules = LinkRules(LinkOptions())
    return sum(
        batch.candidates.num_rows + batch.drops.num_rows
        for batch in extract(read_submissions(str(dump)), rules)
    )


def cpu_seconds(work: Callable[[Path], int], dump: Path) -> float:
    """CPU time of this process for one run."""
    start = time.process_time()
    work(dump)
    return time.process_time() - start


def compare(submissions: int, rounds: int, folder: Path) -> None:
    """Print each contender's speed and its ratio to ours."""
    dump = folder / "RS_speed.zst"
    size_bytes = make_dump(dump, submissions)
    print(
        f"{submissions:,} submissions of {size_bytes / submissions:,.0f} bytes, "
        f"{size_bytes / dump.stat().st_size:.1f} to 1 by zstd"
    )
    contenders = (ours, bare, plain)
    for work in contenders:
        assert work(dump) == submissions  # and so all is warm
    # In turns, and compared within a round: a shared machine is not as quick from one minute to the next.
    seconds = [{work.__name__: cpu_seconds(work, dump) for work in contenders} for _ in range(rounds)]
    for work in contenders:
        median = statistics.median(each[work.__name__] for each in seconds)
        speed = f"{submissions / median:9,.0f} submissions/s {size_bytes / median / 1e6:7,.0f} MB/s"
        print(f"{work.__name__:6} {speed}")
    for other, aim in (("bare", "   (aim: 0.60)"), ("plain", "")):
        ratios = sorted(each[other] / each["ours"] for each in seconds)
        print(
            f"ours / {other:5} {statistics.median(ratios):.2f}   ({ratios[0]:.2f} to {ratios[-1]:.2f}){aim}"
        )


def links_on_disk(dump: Path, folder: Path) -> None:
    """Extract, scatter and merge as the stages do, one after another; print the links and peak memory."""
    folder.mkdir()
    rules = LinkRules(LinkOptions())
    buckets = max(1, int(dump.stem.rpartition("_")[2]) // LINKS_A_BUCKET)
    writers = {bucket: pq.ParquetWriter(folder / str(bucket), CANDIDATES) for bucket in range(buckets)}
    for batch in extract(read_submissions(str(dump)), rules):
        for bucket, rows in scatter(batch.candidates, buckets):
            writers[bucket].write_batch(rows)
    links = 0
    for bucket, writer in writers.items():
        writer.close()
        merged = merge(pq.read_table(folder / str(bucket)))
        pq.write_table(merged.links, folder / f"{bucket}.parquet")
        links += merged.links.num_rows
    peak_bytes = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
    print(json.dumps({"links": links, "peak_mb": round(peak_bytes / 1e6)}))


def compare_memory(submissions: int, folder: Path) -> None:
    """Print the peak memory for so many links and for ten times as many."""
    peaks = []
    for count in (submissions, 10 * submissions):
        dump = folder / f"RS_memory_{count}.zst"
        make_dump(dump, count, links_only=True)
        command = [sys.executable, __file__, "--memory-of", str(dump), str(folder / str(count))]
        result = json.loads(subprocess.run(command, check=True, capture_output=True, text=True).stdout)
        print(
            f"{count:,} submissions of links: {result['links']:,} links kept, peak {result['peak_mb']:,} MB"
        )
        peaks.append(result["peak_mb"])
    print(f"memory at ten times the links {peaks[1] / peaks[0]:.2f}")


def main() -> None:
    """Run both parts, or the one that is measured in a process of its own."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--submissions", type=int, default=60_000, help="of the dump that is timed")
    parser.add_argument("--rounds", type=int, default=9)
    parser.add_argument("--links", type=int, default=15_000, help="of the smaller dump for the memory")
    parser.add_argument("--memory-of", nargs=2, type=Path, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.memory_of:
        links_on_disk(*options.memory_of)
        return
    with tempfile.TemporaryDirectory() as name:
        compare(options.submissions, options.rounds, Path(name))
        compare_memory(options.links, Path(name))


if __name__ == "__main__":
    main()
