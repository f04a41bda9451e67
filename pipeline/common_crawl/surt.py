"""The sort key of web archive indexes: an address as a SURT (Sort-friendly URI Reordering Transform).

`http://www.Example.com/A/?b&a=1` is `com,example)/a?a=1&b`. Two addresses of one page nearly always have one
SURT, and so do some of different pages (`www.`, letter case, a slash at the end): it finds candidates, and
our canonical form decides.

Why not the library `surt`, which Common Crawl's index was made with: it is under the AGPL, has had no release
for years, and takes 5 times as long. The tests compare the two.
"""

import re
from urllib.parse import quote_from_bytes, unquote_to_bytes

import pyarrow as pa
import pyarrow.compute as pc

_SAFE = "!\"$&'()*+,-./:;<=>?@[\\]^_`{|}~"
_PLAIN = re.compile(r"[!$&'()*+,\-./0-9:;=?@A-Z_a-z~]*\Z")  # what has no escape and needs none
_WWW = re.compile(r"www\d*\.")
_DOTS_OR_SLASHES = re.compile(r"/\.{0,2}/|/\.{1,2}\Z")
_PATH_SESSIONS = (
    re.compile(r"^(.*/)(?:\((?:[a-z]\([0-9a-z]{24}\))+\)/)([^?]+\.aspx.*)$"),
    re.compile(r"^(.*/)(?:\([0-9a-z]{24}\)/)([^?]+\.aspx.*)$"),
)
_QUERY_SESSIONS = (
    re.compile(r"^(.*)jsessionid=[0-9a-z]{32}(?:&(.*))?$"),
    re.compile(r"^(.*)phpsessid=[0-9a-z]{32}(?:&(.*))?$"),
    re.compile(r"^(.*)sid=[0-9a-z]{32}(?:&(.*))?$"),
    re.compile(r"^(.*)aspsessionid[a-z]{8}=[a-z]{24}(?:&(.*))?$"),
    re.compile(r"^(.*)cfid=[^&]+&cftoken=[^&]+(?:&(.*))?$"),
)


def surt_of(key: str) -> str:
    """Return the SURT of an address.

    Args:
        key: of a canonical address (`pipeline.web.urls.Address.key`): host, port, path and query.
    """
    place, _, query = key.partition("?")
    host, slash, path = place.partition("/")
    name, port = host, ""
    if not host.endswith("]") and ":" in host:
        name, _, port = host.rpartition(":")
    massaged = _WWW.sub("", name, count=1) if name.startswith("www") else name
    reversed_name = ",".join(massaged.strip("[]").split(".")[::-1])
    head = f"{reversed_name}:{port}" if port else reversed_name
    path = _path(slash + path)
    query = _query(query) if query else ""
    return f"{head}){path}?{query}" if query else f"{head}){path}"


def stem_of(surt: str) -> str:
    """Return a SURT without its query."""
    return surt.partition("?")[0]


def stems_of(surts: pa.Array) -> pa.Array:
    """Return the different stems of some SURTs."""
    return pc.unique(pc.list_element(pc.split_pattern(surts, "?", max_splits=1), 0))


def around(low: str, high: str) -> tuple[str, str]:
    """Widen a range of an index's SURTs to that of the links that rows in it may be captures of.

    A link's SURT has the same path, and may have fewer parameters and no session (`;jsessionid=…`).
    """
    bare_low, bare_high = (stem_of(surt).partition(";")[0] for surt in (low, high))
    return bare_low, bare_high + "@"  # the character after "?"


def _path(path: str) -> str:
    path = _unescaped(path)
    if _DOTS_OR_SLASHES.search(path):
        path = _without_empty_segments(path)
    path = _escaped(path).lower()
    if "(" in path:
        for pattern in _PATH_SESSIONS:
            path = pattern.sub(r"\1\2", path)
    return path[:-1] if path.endswith("/") and len(path) > 1 else path


def _query(query: str) -> str:
    query = _escaped(_unescaped(query)).lower()
    if "id=" in query:
        for pattern in _QUERY_SESSIONS:
            found = pattern.match(query)
            if found:
                query = found[1] + (found[2] or "")
    if "&" not in query:
        return query
    return "&".join("=".join(pair) for pair in sorted(tuple(part.split("=", 1)) for part in query.split("&")))


def _unescaped(text: str) -> str:
    """Undo percent-encoding until there is none; bytes that are no UTF-8 stay apart as surrogates."""
    if "%" not in text:
        return text
    raw = text.encode("utf-8", "surrogateescape")
    while (bare := unquote_to_bytes(raw)) != raw:
        raw = bare
    return raw.decode("utf-8", "surrogateescape")


def _escaped(text: str) -> str:
    if _PLAIN.match(text):
        return text
    return quote_from_bytes(text.encode("utf-8", "surrogateescape"), safe=_SAFE)


def _without_empty_segments(path: str) -> str:
    kept: list[str] = []
    for segment in path.split("/")[1:]:
        if segment == ".":
            continue
        if segment == ".." and kept:
            kept.pop()
        else:
            kept.append(segment)
    *folders, last = kept or [""]
    return "/" + "".join(f"{folder}/" for folder in folders if folder) + last
