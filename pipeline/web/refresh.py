"""Where a page sends its reader without a redirect of HTTP: by a Refresh header, or a meta element.

Both say "go there in so many seconds" (WHATWG HTML, section 4.2.5.3, "shared declarative refresh steps").
A page that nobody is given the time to read is a redirect; one that loads itself anew, or shows its next
slide in half a minute, is a page.
"""

import re
from collections.abc import Iterable
from html import unescape
from urllib.parse import urljoin, urlsplit

from pipeline.web.html_tags import head_tags
from pipeline.web.utf16 import utf16_of

MAX_DELAY_S = 10
LOOKED_AT_BYTES = 16 * 1024  # of a page, decoded; a page that only sends on is no longer
_CONTENT_CHARACTERS = 8_192
_WANTED = frozenset({b"meta", b"base"})

_MAY_BE = re.compile(
    rb"""http-equiv\s*+=\s*+["']?\s*+(?:refresh|[^\s"'>&]*+&)"""
)  # or is spelt with references
_CONTENT = re.compile(
    r"\s*(?:(\d+)[\d.]*|\.[\d.]*)(?:\s*[;,]\s*|\s+|\Z)(?:url\s*=\s*)?(.*)", re.I | re.DOTALL
)


def refresh_target(url: str, headers: Iterable[tuple[str, str]], page: bytes = b"") -> str:
    """Return the address that a page soon gives way to, its own if it loads itself anew; empty if it stays.

    Args:
        url: of the page.
        headers: of its response.
        page: its beginning, decoded, if meta elements count too.
    """
    for name, value in headers:
        if name.lower() == "refresh":
            return _target(url, value)
    head = page[:LOOKED_AT_BYTES]
    if utf16 := utf16_of(head):
        head = head.decode(utf16, "replace").encode("utf-8", "replace")
    if not _MAY_BE.search(head.lower()):
        return ""  # nearly every page ends here
    base, found = "", None
    for element, attributes in head_tags(head, _WANTED):
        if element == b"base":
            base = base or _text(attributes.get(b"href", b""))
        elif found is None and _text(attributes.get(b"http-equiv", b"")).strip().lower() == "refresh":
            found = _text(attributes.get(b"content", b""))
    return _target(_joined(url, base) or url, found, url) if found is not None else ""


def _target(base: str, content: str, own: str = "") -> str:
    match = _CONTENT.match(content[:_CONTENT_CHARACTERS])
    if match is None or int((match[1] or "0").lstrip("0")[:9] or "0") > MAX_DELAY_S:
        return ""
    place = match[2].strip()
    if place[:1] in ("'", '"'):
        place = place[1:].partition(place[0])[0].strip()
    if not place:
        return own or base
    target = _joined(base, place)
    return target if target.startswith(("http://", "https://")) else ""  # no javascript:


def _joined(base: str, address: str) -> str:
    try:
        joined = urljoin(base, address.strip())
        return joined if urlsplit(joined).netloc else ""
    except ValueError:  # brackets that hold no IPv6 address
        return ""


def _text(value: bytes) -> str:
    try:
        return unescape(value.decode())
    except UnicodeDecodeError:
        return unescape(value.decode("latin-1"))
