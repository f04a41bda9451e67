"""robots.txt by RFC 9309: what it allows us, and how long it asks us to wait."""

from dataclasses import dataclass

from protego import Protego

from pipeline.runner.records import Drop
from pipeline.web.optout import PRODUCT

MAX_AGE_S = 24 * 3600.0  # section 2.4
MAX_REDIRECTS = 5  # section 2.3.1.2
MAX_BYTES = 512 * 1024  # section 2.5 asks for 500 KiB at least; what is beyond is not looked at


@dataclass(frozen=True, slots=True)
class Robots:
    """What one origin's robots.txt says: its rules, or why nothing there may be fetched."""

    rules: Protego | None = None
    unreachable: Drop | None = None
    size_bytes: int = 0

    def refusal(self, url: str) -> Drop | None:
        """Say why an address may not be fetched, or None if it may."""
        if self.unreachable is not None:
            return Drop(self.unreachable.reason, url, self.unreachable.detail)
        if self.rules is None or self.rules.can_fetch(url, PRODUCT):
            return None
        return Drop("robots.txt", url, "disallowed")

    def crawl_delay_s(self) -> float | None:
        """Return the Crawl-delay for us, in seconds, or None where none is given."""
        return None if self.rules is None else self.rules.crawl_delay(PRODUCT)


ALLOW_ALL = Robots()


def parse(body: bytes) -> Robots:
    """Read a robots.txt, of which only the first `MAX_BYTES` count."""
    body = body[:MAX_BYTES]
    if len(body) == MAX_BYTES:
        body = body[: body.rfind(b"\n") + 1]  # half a rule may forbid or allow far more than the whole
    text = body.decode("utf-8-sig", errors="replace").replace("\0", "")
    return Robots(rules=Protego.parse(text), size_bytes=len(body))


def from_status(status: int) -> Robots:
    """Return what a status other than success or a redirect means (sections 2.3.1.3 and 2.3.1.4).

    429 is no "unavailable": a server that cannot bear the question should not be asked more.
    """
    if 400 <= status < 500 and status != 429:
        return ALLOW_ALL
    return Robots(unreachable=Drop("robots.txt unreachable", detail=f"status {status}"))
