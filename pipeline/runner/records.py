"""The records that cross a boundary of the pipeline, and what becomes of those that do not.

Every step takes a record and gives back a record, or a `Drop` that says why there is none. The
schemas below are what the Parquet files between the steps hold.
"""

import pyarrow as pa

from pipeline.runner.drops import Drop

__all__ = [
    "DOCUMENTS", "DROPS", "FETCHES", "LINKS", "ROUTED", "SOURCE_CRAWL", "SOURCE_WARCS", "UTC_SECONDS", "Drop",
]  # fmt: skip

UTC_SECONDS = pa.timestamp("s", tz="UTC")

LINKS = pa.schema(
    [
        ("url", pa.string()),  # canonical
        ("domain", pa.string()),  # registrable domain, or the host where there is none
        ("karma", pa.int32()),  # highest score that any one submission of the link got
        ("submissions", pa.int32()),  # how many submissions had the link
        ("first_seen", UTC_SECONDS),  # time of the earliest of them
        ("subreddit", pa.string()),  # of the highest-scoring one, as are the next two
        ("title", pa.string()),
        ("submission_id", pa.string()),
    ]
)

# A link on its way to the partition that knows more of it, and the redirects that have led there.
ROUTED = LINKS.append(pa.field("hops", pa.list_(pa.string()))).append(
    pa.field("carried", pa.string())  # what that partition needs to know of the way; empty if nothing
)

FETCHES = pa.schema(
    [
        ("url", pa.string()),  # the link's canonical address
        ("final_url", pa.string()),  # where the redirects ended
        ("redirects", pa.list_(pa.string())),  # every address asked for after the first
        ("status", pa.int16()),  # HTTP status of the last response; 0 where there was none
        ("reason", pa.string()),  # why there is no page; empty where there is one
        ("detail", pa.string()),
        ("bytes", pa.int64()),  # of the body as it is stored
        ("seconds", pa.float32()),  # from the first request to the end of the last body
        ("fetched_at", UTC_SECONDS),
        (
            "archive",
            pa.string(),
        ),  # WARC file: an address from this log's folder, or an input's name; or empty
        ("offset", pa.int64()),  # of the response record's gzip member in that file
        ("source", pa.string()),  # the archive whose index had it; null: a crawl's page, or a given file's
    ]
)

DOCUMENTS = pa.schema(
    [
        ("id", pa.string()),  # first 128 bits of the text's SHA-256, in hexadecimal
        ("text", pa.string()),
        ("url", pa.string()),
        ("domain", pa.string()),
        ("title", pa.string()),
        ("date", pa.string()),  # ISO 8601 day that the page gives for itself; empty if none
        ("language", pa.string()),  # ISO 639-1
        ("language_score", pa.float32()),  # share of the text in that language, 0 to 1
        ("karma", pa.int32()),
        ("subreddit", pa.string()),
        ("first_seen", UTC_SECONDS),
        ("characters", pa.int64()),
        ("source", pa.string()),  # where the page is from: `SOURCE_CRAWL`, `SOURCE_WARCS`, CC-MAIN-2013-48 …
        ("captured_at", UTC_SECONDS),  # when an archive's page was captured; null for a page of a crawl
    ]
)

SOURCE_CRAWL = "crawl"
SOURCE_WARCS = "WARC files"

DROPS = pa.schema([("url", pa.string()), ("reason", pa.string()), ("detail", pa.string())])
