"""Signals by which a page or site says that it is not to be indexed, trained on or mined.

`X-Robots-Tag` and `<meta name="robots">` (`noindex`, `none`, and `noai`, which image and text sites
adopted in 2022), and the TDM Reservation Protocol (W3C Community Group report of 10 May 2024, the
machine-readable reservation of Directive (EU) 2019/790, Article 4) as header, meta element and
`/.well-known/tdmrep.json`. `noimageai` speaks of images alone, and is no reason to leave the text.
"""

import html
import json
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from urllib.parse import urlsplit

PRODUCT = "outbound"
"""The product token (RFC 9309, section 2.2.1) under which sites can name this crawler."""

TDMREP_PATH = "/.well-known/tdmrep.json"
MAX_TDMREP_BYTES = 512 * 1024
MAX_TDMREP_RULES = 1_000

# The most telling first: it names the drop where a page gives several.
REFUSING_DIRECTIVES = {"noai": "opt-out noai", "noindex": "opt-out noindex", "none": "opt-out noindex"}
DIRECTIVES_WITH_VALUES = {"max-snippet", "max-image-preview", "max-video-preview", "unavailable_after"}


@dataclass(frozen=True, slots=True)
class OptOut:
    """A page's wish to be left out: the reason as the funnel counts it, and where it stood."""

    reason: str
    where: str


def header_opt_out(headers: Iterable[tuple[str, str]]) -> OptOut | None:
    """Return the opt-out that a response's headers express, if any."""
    directives: set[str] = set()
    reserved = False
    for name, value in headers:
        lowered = name.lower()
        if lowered == "x-robots-tag":
            directives |= robots_directives(value)
        elif lowered == "tdm-reservation":
            reserved = value.strip() == "1"
    return _opt_out(directives, reserved, "header")


def robots_directives(value: str) -> set[str]:
    """Return the directives of one X-Robots-Tag value that apply to us.

    A value may name the robot that what follows is for: `noindex` and `outbound: noai` are meant for
    us, `googlebot: noindex, nofollow` is not.
    """
    applies = True
    directives: set[str] = set()
    for part in value.lower().split(","):
        head, colon, rest = part.partition(":")
        directive = part.strip()
        if colon and head.strip() not in DIRECTIVES_WITH_VALUES:
            applies = head.strip() in (PRODUCT, "*", "robots")
            directive = rest.strip()
        if applies and directive:
            directives.add(directive)
    return directives


# No "<" inside keeps the search linear, whatever the page.
_META = re.compile(rb"<meta\s([^<>]{1,2048})>")
_ATTRIBUTE = re.compile(r"""([a-z-]{1,40})\s*=\s*(?:"([^"]*)"|'([^']*)'|([^\s"'>]+))""")
_META_NAMES = (b"robots", PRODUCT.encode(), b"tdm-reservation")
_HEAD_BYTES = 512 * 1024


def meta_opt_out(body: bytes) -> OptOut | None:
    """Return the opt-out that an HTML page's meta elements express, if any."""
    head = body[:_HEAD_BYTES]
    if head[:2] in (b"\xff\xfe", b"\xfe\xff"):
        head = head.decode("utf-16", errors="replace").encode()
    lowered = head.lower()
    if not any(name in lowered for name in _META_NAMES):
        return None  # nearly every page ends here
    directives: set[str] = set()
    reserved = False
    for match in _META.finditer(_without_comments(lowered)):
        name, content = _meta_name_and_content(match[1])
        if name in ("robots", PRODUCT):
            directives |= {part.strip() for part in content.split(",")}
        elif name == "tdm-reservation":
            reserved = content.strip() == "1"
    return _opt_out(directives, reserved, "meta")


def _without_comments(page: bytes) -> bytes:
    first, *rest = page.split(b"<!--")
    return first + b"".join(part.partition(b"-->")[2] for part in rest)


def _meta_name_and_content(attributes: bytes) -> tuple[str, str]:
    found: dict[str, str] = {}
    for match in _ATTRIBUTE.finditer(attributes.decode("utf-8", errors="replace")):
        found.setdefault(match[1], html.unescape(match[2] or match[3] or match[4] or ""))
    return found.get("name", "").strip(), found.get("content", "")


def _opt_out(directives: set[str], reserved: bool, where: str) -> OptOut | None:
    for directive, reason in REFUSING_DIRECTIVES.items():
        if directive in directives:
            return OptOut(reason, f"{directive} in {where}")
    return OptOut("opt-out TDM", f"tdm-reservation in {where}") if reserved else None


@dataclass(frozen=True, slots=True)
class TdmRules:
    """The rules of a `tdmrep.json`: path patterns and whether rights are reserved there."""

    rules: Sequence[tuple[str, bool]] = ()

    def opt_out(self, url: str) -> OptOut | None:
        """Return the opt-out that the first rule matching an address expresses, if any.

        The protocol lets a response's own header take a reservation back; asking for each page in case
        its header does is what this file is there to spare the server.
        """
        parts = urlsplit(url)
        path = f"{parts.path or '/'}?{parts.query}" if parts.query else parts.path or "/"
        for pattern, reserved in self.rules:
            if matches_pattern(pattern, path):
                return OptOut("opt-out TDM", "tdmrep.json") if reserved else None
        return None


NO_TDM_RULES = TdmRules()


def parse_tdmrep(body: bytes) -> TdmRules:
    """Read a `tdmrep.json`; what is not as the protocol says is skipped."""
    try:
        content = json.loads(body)
    except (ValueError, RecursionError):
        return NO_TDM_RULES
    entries = content if isinstance(content, list) else []
    return TdmRules(
        tuple(
            (entry["location"], entry.get("tdm-reservation") == 1)
            for entry in entries[:MAX_TDMREP_RULES]
            if isinstance(entry, dict)
            and isinstance(entry.get("location"), str)
            and entry.get("tdm-reservation") in (0, 1)
        )
    )


def matches_pattern(pattern: str, path: str) -> bool:
    """Say whether a path starts with a pattern in which `*` is any text and a last `$` is the end.

    Each part between stars is looked for from where the last one ended: linear, unlike a regular
    expression, with which a hostile pattern could hold up the crawl.
    """
    anchored = pattern.endswith("$")
    first, *rest = pattern.removesuffix("$").split("*")
    if not path.startswith(first):
        return False
    if not rest:
        return path == first if anchored else True
    position = len(first)
    last = rest.pop() if anchored else ""
    for part in rest:
        found = path.find(part, position)
        if found < 0:
            return False
        position = found + len(part)
    return path.endswith(last) and len(path) - len(last) >= position
