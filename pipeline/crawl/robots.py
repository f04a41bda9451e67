"""robots.txt by RFC 9309: what it allows us, and how long it asks us to wait.

A file may have thousands of groups, and a parser would keep the rules of each for each of its robots. So only
the lines of the groups that are for us reach it: those that name us, or if none does those for all robots.
"""

import codecs
import re
from dataclasses import dataclass

from protego import Protego

from pipeline.runner.records import Drop
from pipeline.web.optout import PRODUCT

MAX_AGE_S = 24 * 3600.0  # section 2.4
MAX_REDIRECTS = 5  # section 2.3.1.2
MAX_BYTES = 512 * 1024  # section 2.5 asks for 500 KiB at least; what is beyond is not looked at
PARSER_BYTES = 1_000  # of one without rules
MAX_WILDCARD_RULES = 2_000  # each is tried on every address: so many take 30 ms


@dataclass(frozen=True, slots=True)
class Robots:
    """What one origin's robots.txt says: its rules, or why nothing there may be fetched."""

    rules: Protego | None = None
    unreachable: Drop | None = None
    size_bytes: int = 0  # that it takes in memory

    def drop_for(self, url: str) -> Drop | None:
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
    """Read a robots.txt, of which only the first `MAX_BYTES` count.

    With more rules than can be looked through for every page, all of the origin counts as forbidden.
    """
    body = body[:MAX_BYTES]
    if len(body) == MAX_BYTES:
        body = body[: body.rfind(b"\n") + 1]  # half a rule may forbid or allow far more than the whole
    rules = our_rules(_without_mark(body).decode("utf-8", errors="replace").replace("\0", ""))
    wildcards = sum("*" in rule or "$" in rule for rule in rules)
    if wildcards > MAX_WILDCARD_RULES:
        return Robots(
            unreachable=Drop("robots.txt", detail=f"over {MAX_WILDCARD_RULES:,} rules with wildcards")
        )
    # What Protego takes for them, measured with 10 to 50,000 rules of many forms.
    size_bytes = (
        PARSER_BYTES
        + sum(300 + 6 * len(rule.encode("utf-8", "replace")) for rule in rules)
        + 1_200 * wildcards
    )
    return Robots(rules=Protego.parse("\n".join(("User-agent: *", *rules))), size_bytes=size_bytes)


def _without_mark(body: bytes) -> bytes:
    """Return a file without its byte-order mark, of which some editors leave a part."""
    marks = (codecs.BOM_UTF8[:size] for size in (3, 2, 1))
    return next((body.removeprefix(mark) for mark in marks if body.startswith(mark)), body)


_AGENT = re.compile(r"user[- ]?agent\s*(?::|\s)(.*)", re.IGNORECASE)
_WHOLE_SITE = re.compile(r"(?:site-?maps?|host)\s*:", re.IGNORECASE)  # stands anywhere, and ends no group
_TOKEN = re.compile(r"[A-Za-z_-]*")


def our_rules(text: str) -> list[str]:
    """Return the lines of the groups that are for us, less those that name robots and comments.

    A group names us by our product token, whatever follows it: `Outbound/0.1`, `outbound bot`, `Outbound*`.
    """
    ours: list[str] = []
    everybodys: list[str] = []
    targets: list[list[str]] = []  # where the rules of the present group go
    is_named, in_head = False, False
    for line in (line.partition("#")[0].strip() for line in text.splitlines()):
        if agent := _AGENT.match(line):
            if not in_head:
                targets = []
            in_head = True
            name = agent[1].strip()
            if _is_us(name):
                targets.append(ours)
                is_named = True
            elif name.split()[:1] == ["*"]:
                targets.append(everybodys)
        elif line and not _WHOLE_SITE.match(line):
            in_head = False
            for target in targets:
                target.append(line)
    return ours if is_named else everybodys


def _is_us(name: str) -> bool:
    token = _TOKEN.match(name.lstrip("*"))
    return token is not None and token[0].lower() == PRODUCT


def from_status(status: int) -> Robots:
    """Return what a status other than success or a redirect means (sections 2.3.1.3 and 2.3.1.4).

    429 is no "unavailable": a server that cannot bear the question should not be asked more.
    """
    if 400 <= status < 500 and status != 429:
        return ALLOW_ALL
    return Robots(unreachable=Drop("robots.txt unreachable", detail=f"status {status}"))
