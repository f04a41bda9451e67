"""Signals by which a page or site says that it is not to be indexed, trained on or mined.

`X-Robots-Tag` and `<meta name="robots">` (`noindex`, `none`, and `noai`, which image and text sites
adopted in 2022), and the TDM Reservation Protocol (W3C Community Group report of 10 May 2024, the
machine-readable reservation of Directive (EU) 2019/790, Article 4) as header, meta element and
`/.well-known/tdmrep.json`. `noimageai` speaks of images alone, and is no reason to leave the text.
"""

import html
import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from urllib.parse import quote, urlsplit

from pipeline.runner.json_text import parse_json
from pipeline.web.html_tags import start_tags
from pipeline.web.urls import with_normal_escapes
from pipeline.web.utf16 import utf16_of

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
    us, `googlebot: noindex, nofollow` is not. A date has commas and colons too, and names nobody.
    """
    applies = True
    directives: set[str] = set()
    for part in re.split("[,;]", value.lower()):
        head, colon, rest = (piece.strip() for piece in part.partition(":"))
        directive = part
        if colon and _ROBOT.fullmatch(head) and head not in DIRECTIVES_WITH_VALUES:
            applies = head in ("*", "robots") or re.split("[^a-z_-]", head)[0] == PRODUCT
            directive = rest
        if applies:
            directives |= _words(directive)
    return directives


_ROBOT = re.compile(r"[a-z*][a-z0-9_*./-]*")


def _words(part: str) -> set[str]:
    """Return the directives between two commas: usually one, unless it takes a value."""
    return {part.strip()} if ":" in part else set(part.split())


_META_NAMES = (b"robots", PRODUCT.encode(), b"tdm-reservation")
_META_WITH_REFERENCE = re.compile(rb"<meta[\s/][^<]*&", re.IGNORECASE)  # no "<" inside: linear
_HEAD_BYTES = 512 * 1024


def meta_opt_out(body: bytes) -> OptOut | None:
    """Return the opt-out that an HTML page's meta elements express, if any: those that a browser sees."""
    head = body[:_HEAD_BYTES]
    utf16 = utf16_of(head)
    if utf16:
        head = head.decode(utf16, errors="replace").encode("utf-8", "replace")
    lowered = head.lower()
    if not any(name in lowered for name in _META_NAMES) and not _META_WITH_REFERENCE.search(lowered):
        return None  # nearly every page ends here
    directives: set[str] = set()
    reserved = False
    for name, content in _metas(lowered):
        if name in ("robots", PRODUCT):
            directives |= {word for part in re.split("[,;]", content) for word in _words(part)}
        elif name == "tdm-reservation":
            reserved = content.strip() == "1"
    return _opt_out(directives, reserved, "meta")


def _metas(page: bytes) -> Iterator[tuple[str, str]]:
    """Yield name and content of the meta elements of a page that is in lower case."""
    for attributes in start_tags(page, b"meta"):
        name, content = (
            html.unescape(attributes.get(key, b"").decode("utf-8", "replace")).lower()
            for key in (b"name", b"content")
        )
        yield name.strip(), content


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
        path = _comparable(f"{parts.path or '/'}?{parts.query}" if parts.query else parts.path or "/")
        for pattern, reserved in self.rules:
            if matches_pattern(pattern, path):
                return OptOut("opt-out TDM", "tdmrep.json") if reserved else None
        return None


NO_TDM_RULES = TdmRules()


def parse_tdmrep(body: bytes) -> TdmRules:
    """Read a `tdmrep.json`; what is not as the protocol says is skipped."""
    try:
        content = parse_json(body)
    except ValueError:
        return NO_TDM_RULES
    entries = content if isinstance(content, list) else []
    return TdmRules(
        tuple(
            (_comparable(entry["location"]), entry.get("tdm-reservation") == 1)
            for entry in entries[:MAX_TDMREP_RULES]
            if isinstance(entry, dict)
            and isinstance(entry.get("location"), str)
            and entry.get("tdm-reservation") in (0, 1)
        )
    )


def _comparable(path: str) -> str:
    """Return a path or pattern with its escapes in canonical form: `/käse`, `/a b` and `/a%7Eb` too."""
    return with_normal_escapes(quote(path, safe="%/~!$&'()*+,;=:@?#[]", errors="replace"))


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
