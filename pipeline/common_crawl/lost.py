"""What one source of pages lost, for the next: links that another source may have a page of.

What is not wanted is not looked for elsewhere, and neither is what its owner does not want taken: robots.txt,
opt-outs, and addresses that the rules of links leave out end a link whatever sources follow.
"""

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from pipeline.runner.names import file_name
from pipeline.runner.records import DROPS, LINKS
from pipeline.runner.stages import Counts, Task, output_version
from pipeline.runner.tables import counts_of, read_tables

LOST = frozenset(
    {
        # of a crawl
        *("not found", "forbidden", "client error", "server error", "unexpected status", "too many requests"),
        *(
            "no connection",
            "connection lost",
            "deadline",
            "too slow",
            "bad HTTP",
            "bad encoding",
            "too large",
        ),
        *("empty page", "not HTML", "bad redirect", "redirect loop", "too many redirects", "bad address"),
        *("robots.txt unreachable", "unsafe redirect"),
        # of archives
        *("not in the archives", "truncated capture", "not status 200", "damaged archive", "damaged index"),
        *(
            "wrong record",
            "wrong digest",
            "archive forbidden",
            "archive file not found",
            "archive unavailable",
        ),
        *("archive without ranges", "outside the archive file"),
    }
)


@output_version(1)
def hand_on_lost(task: Task) -> Counts:
    """Take the links that a source lost; those dropped for good end here. Inputs: its links and fetches."""
    names = {address: file_name(address) for address in task.inputs}
    links = read_tables((address for address, name in names.items() if name == "links.parquet"), LINKS)
    fetches = read_tables((address for address, name in names.items() if name == "fetches.parquet"), DROPS)
    failed = fetches.filter(pc.not_equal(fetches["reason"], ""))
    is_lost = pc.is_in(failed["reason"], pa.array(sorted(LOST)))
    lost = failed.filter(is_lost)["url"].combine_chunks()
    ended = failed.filter(pc.invert(is_lost)).sort_by("url")
    handed_on = links.filter(pc.is_in(links["url"], lost)).sort_by("url")
    assert len(handed_on) == len(lost), f"{len(handed_on)} links of {len(lost)}"
    pq.write_table(handed_on, task.folder / "links.parquet", compression="zstd")
    pq.write_table(ended, task.folder / "drops.parquet", compression="zstd")
    task.progress(len(failed))
    return counts_of(len(handed_on), ended)
