"""How records are cut into the buckets of a shuffle, and what a bucket's file is called."""

from dataclasses import dataclass

import xxhash


@dataclass(frozen=True, kw_only=True)
class CutOptions:
    """Into how many partitions links or pages are cut."""

    partitions: int


def bucket_of(key: str, buckets: int) -> int:
    """Say which of so many buckets takes a link: the same for all its submissions, on every machine."""
    return xxhash.xxh3_64_intdigest(key.encode()) % buckets


def bucket_file(bucket: int) -> str:
    """The file of a scattering partition that belongs to one gathering partition."""
    return f"{bucket:05d}.parquet"


def moved_file(bucket: int) -> str:
    """The file of links that were redirected to what another partition knows."""
    return f"moved-{bucket_file(bucket)}"
