"""One page out of an archive, and its body decoded: what there is to know of archives for who reads it."""

from dataclasses import dataclass, replace
from datetime import datetime

from pipeline.runner.drops import Drop
from pipeline.web import content_coding, http_head

MAX_BODY_BYTES = 16 * 1024 * 1024


@dataclass(frozen=True, slots=True, kw_only=True)
class Page:
    """A page out of an archive; `charset` is what the header says, or empty.

    Its `body` is decoded, unless `read_coded_page` gave it.
    """

    url: str
    status: int
    content_type: str
    charset: str
    date: datetime
    headers: tuple[tuple[str, str], ...]
    body: bytes


def decoded(page: Page, max_bytes: int = MAX_BODY_BYTES) -> Page | Drop:
    """Undo the framing and the codings of a page's body. Strangers decide how long that takes.

    Of a chunked body that was cut, what can be decoded is kept.
    """
    codings = http_head.every(page.headers, "content-encoding")
    body, is_cut = http_head.dechunked(page.body, http_head.every(page.headers, "transfer-encoding"))
    try:
        body = content_coding.decode(body, codings, max_bytes, cut=is_cut)
    except content_coding.TooLargeError as error:
        return Drop("too large", page.url, str(error))
    except content_coding.CodingError as error:
        return Drop("bad encoding", page.url, str(error))
    return replace(page, body=body)
