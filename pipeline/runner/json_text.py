"""JSON from strangers: parsed, and checked against a dataclass."""

import json
from typing import Any, TypeVar

Content = TypeVar("Content")


def parse_json(text: str | bytes) -> Any:
    """Return what a text of JSON says.

    Raises:
        ValueError: it is none, or nested deeper than Python can read.
    """
    try:
        return json.loads(text)
    except RecursionError as error:
        raise ValueError("it is nested too deep") from error


def parse_as(kind: type[Content], content: Any) -> Content:
    """Return parsed JSON as a dataclass, whose fields must have their types; other names are passed over.

    Half a surrogate pair, as names of files that are not UTF-8 have it, becomes a question mark.

    Raises:
        ValueError: a field is missing or of another type (the message names it), or it is nested too deep.
    """
    from pydantic import TypeAdapter, ValidationError

    try:
        whole = json.dumps(content, ensure_ascii=False).encode(errors="replace")
        return TypeAdapter(kind).validate_json(whole, strict=True)
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(map(str, first["loc"]))
        raise ValueError(f"{where}: {first['msg']}" if where else first["msg"]) from error
    except RecursionError as error:
        raise ValueError("it is nested too deep") from error
