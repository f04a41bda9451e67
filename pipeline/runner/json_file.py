"""Files of JSON from strangers: read, and checked against a dataclass."""

from typing import TypeVar

from pipeline.runner import storage
from pipeline.runner.json_text import parse_as, parse_json

Content = TypeVar("Content")


def read_as(kind: type[Content], address: str) -> Content:
    """Return what a file of JSON says, as `parse_as` does.

    Raises:
        ValueError: it is not UTF-8, not JSON, or not of this kind; the message names the file.
        OSError: it cannot be read at all.
    """
    try:
        return parse_as(kind, parse_json(storage.read_text(address)))
    except ValueError as error:
        raise ValueError(f"cannot read {address}: {error}") from error
