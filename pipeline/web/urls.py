"""One address for each page: parsing, canonical form, registrable domain.

The parser is Ada, which follows the WHATWG URL Standard, so that an address means what it means to a
browser: case, IDNA, default ports, dot segments, numbers as hosts. To that comes what RFC 3986 calls
equivalent (section 6.2.2: percent-encoding), and what this pipeline takes for the same page:

- the fragment, credentials, an empty query and the dot at a host's end go;
- but a fragment that begins with `!` (`#!/story`) names a page of its own: it becomes the parameter
  `_escaped_fragment_`, under which crawlers asked for such pages and archives have them;
- session ids and tracking parameters go, as `tracking.tsv` lists them with the reasons;
- parameters are sorted by name if all are `name=value`, those of one name staying in their order. A
  query with a bare word in it (`?/topic/12&page=2`, `?OpenDocument&x=1`) is left as it is: software
  that reads such words often reads them by their place;
- http and https are two addresses, but one `key`.

All else stays: the case and slashes of a path, `www.`, ports, parameters that nobody listed. Where in
doubt, two addresses of one page are better, for duplicates are found later, than one of two pages.
"""

import re
from collections.abc import Callable
from functools import cache, lru_cache
from typing import NamedTuple
from urllib.parse import quote_from_bytes, unquote_to_bytes

import ada_url
from publicsuffixlist import PublicSuffixList

from pipeline.runner.drops import Drop
from pipeline.web.tracking import is_tracking, without_passages

LONGEST_ADDRESS = 4096
"""Characters of a canonical address. RFC 9110 (4.1) asks servers for 8,000, but what is longer than
this is nearly always a form's state or a failed paste."""

_UNRESERVED = frozenset("ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-._~")
_LEGAL = r"A-Za-z0-9\-._~!$&'()*+,;=:@/?"  # in a path or query, without escapes (RFC 3986, section 3.4)
_ALL_LEGAL = re.compile(rf"[{_LEGAL}]*\Z")
_ESCAPED_OR_ILLEGAL = re.compile(rf"%(?:[0-9A-Fa-f]{{2}})?|[^{_LEGAL}]")


class Address(NamedTuple):
    """A page's address in canonical form, in its parts."""

    scheme: str  # http or https
    host: str  # ASCII, lower case, IPv6 in brackets
    port: str  # empty where it is the scheme's own
    path: str  # begins with /
    query: str  # without its ?

    @property
    def key(self) -> str:
        """The address without its scheme: http and https twins have the same."""
        place = f"{self.host}:{self.port}{self.path}" if self.port else self.host + self.path
        return f"{place}?{self.query}" if self.query else place

    @property
    def url(self) -> str:
        """The address as one string."""
        return f"{self.scheme}://{self.key}"


def parse(address: str, refuse_host: Callable[[str], Drop | None] | None = None) -> Address | Drop:
    """Take any string for an address; return its canonical form in parts, or the reason why it has none.

    `refuse_host` is asked about the canonical host before the costly rest, and its answer returned
    with the address. Never raises. The reasons: "invalid address", "not http", "address too long".
    """
    parts = _parts(address)
    if isinstance(parts, Drop):
        return parts
    scheme, raw_host, port, raw_path, raw_query = parts
    host = canonical_host(raw_host)
    if host is None:
        return Drop("invalid address", printable(address), "DNS can hold no such name")
    if refuse_host is not None and (refused := refuse_host(host)) is not None:
        return Drop(refused.reason, printable(address), refused.detail)
    path = with_normal_escapes(raw_path)
    query = _canonical_query(with_normal_escapes(raw_query), host) if raw_query else ""
    found = Address(scheme, host, port, path, query)
    bare_path = without_passages(path, host)
    if bare_path != path:  # what is left may have dot segments that were none before
        return parse(found._replace(path=bare_path).url)
    if len(path) + len(query) > LONGEST_ADDRESS - 300 and len(found.url) > LONGEST_ADDRESS:
        return Drop("address too long", printable(address), f"over {LONGEST_ADDRESS:,} characters")
    return found


# What Ada would return as it is, but for the fragment: most addresses. A bare word of lower-case
# letters last makes the host a name and no number.
_PLAIN = re.compile(
    r"(https?)://((?:[a-z0-9-]+\.)+[a-z]{2,})"
    r"(/[A-Za-z0-9\-._~!$&'()*+,;=:@/%]*)(?:\?([A-Za-z0-9\-._~!$&()*+,;=:@/?%]*))?(?:#(?!!)[!-~]*)?\Z"
)


def _parts(address: str) -> tuple[str, str, str, str, str] | Drop:
    """Return scheme, host, port, path and query of an http address, as Ada sees them."""
    plain = _PLAIN.match(address)
    if plain is not None:
        scheme, host, path, query = plain.groups("")
        if "xn--" not in host and "/." not in path and "/%2" not in path:  # no IDNA, no dot segments
            return scheme, host, "", path, with_hash_bang(query, "") if HASH_BANG in query else query
    try:
        parsed = ada_url.URL(address)
    except ValueError:  # also for half of a surrogate pair, which UTF-8 cannot hold
        return Drop("invalid address", printable(address))
    scheme = parsed.protocol.removesuffix(":")
    if scheme not in ("http", "https"):
        return Drop("not http", printable(address))
    query = with_hash_bang(parsed.search.removeprefix("?"), parsed.hash)
    return scheme, parsed.hostname, parsed.port, parsed.pathname, query


HASH_BANG = "_escaped_fragment_"
_SAFE_IN_HASH_BANG = "!\"$'()*,/:;<=>?@[\\]^`{|}"  # all of ASCII, but for space, control characters, # % & +


def with_hash_bang(query: str, fragment: str) -> str:
    """Return a query in which a page behind `#!` is a parameter, in one form whoever escaped it.

    Google, "Making AJAX applications crawlable" (2009): `#!key=a&b` is asked for as
    `?_escaped_fragment_=key=a%26b`. Without a value it means the page itself.

    Args:
        query: without its `?`.
        fragment: with its `#`, or empty.
    """
    if not fragment.startswith("#!") and HASH_BANG not in query:
        return query
    parameters = [part for part in query.split("&") if part.partition("=")[0] != HASH_BANG]
    hidden = [part.partition("=")[2] for part in query.split("&") if part.partition("=")[0] == HASH_BANG]
    value = fragment[2:] if fragment.startswith("#!") else "".join(hidden[:1])
    escaped = quote_from_bytes(unquote_to_bytes(value), safe=_SAFE_IN_HASH_BANG)
    return "&".join([*parameters, f"{HASH_BANG}={escaped}"] if escaped else parameters)


def canonical(address: str) -> str | Drop:
    """Return the canonical form of any string as one address, or the reason why it has none; see `parse`."""
    found = parse(address)
    return found if isinstance(found, Drop) else found.url


def host_of_key(key: str) -> str:
    """Return the host that an address's key begins with."""
    authority = key.partition("/")[0]
    return authority if authority.endswith("]") else authority.rpartition(":")[0] or authority


def printable(address: str) -> str:
    """Return what can be stored and shown of an address that was refused: valid Unicode of bounded length."""
    if address.isascii() and len(address) <= LONGEST_ADDRESS:
        return address
    return address[:LONGEST_ADDRESS].encode("utf-8", "replace").decode()


@lru_cache(maxsize=65_536)
def canonical_host(host: str) -> str | None:
    """Take the root's dot from a parsed host; None for a name that DNS cannot hold (RFC 1035, 2.3.4)."""
    if host.startswith("["):
        return host
    host = host.removesuffix(".")
    if len(host) > 253 or not all(0 < len(label) <= 63 for label in host.split(".")):
        return None
    return host


def with_normal_escapes(text: str) -> str:
    """Give every character of a path or query its one form (RFC 3986, section 6.2.2)."""
    return text if _ALL_LEGAL.match(text) else _ESCAPED_OR_ILLEGAL.sub(_normal_escape, text)


def _normal_escape(match: re.Match[str]) -> str:
    """Undo escapes of unreserved characters, give the others capitals, escape what needs it.

    A percent sign that begins no escape means itself, so it is escaped: left alone, it could make an
    escape of what is undone after it.
    """
    text = match[0]
    if len(text) == 1:
        return f"%{ord(text):02X}"  # one byte: the parser has escaped all that is not ASCII
    character = chr(int(text[1:], 16))
    return character if character in _UNRESERVED else text.upper()


def _canonical_query(query: str, host: str) -> str:
    """Drop what tells nothing of the page, and sort the rest where that is safe: see the module's head."""
    parameters = [part for part in query.split("&") if part and not is_tracking(part, host)]
    if all("=" in part for part in parameters):
        parameters.sort(key=_name)
    return "&".join(parameters)


def _name(parameter: str) -> str:
    return parameter.partition("=")[0]


@cache
def _public_suffixes() -> PublicSuffixList:
    return PublicSuffixList()


@cache
def _registries() -> PublicSuffixList:
    """The list without its private section: what registries sell names under."""
    return PublicSuffixList(only_icann=True)


@lru_cache(maxsize=65_536)
def domain_label(host: str) -> str:
    """Return the name that was registered, without its public suffix: `bbc` for news.bbc.co.uk.

    The list's private section does not count, so that every blog of blogspot.com is `blogspot`. IP addresses,
    single labels and public suffixes stand for themselves.
    """
    if host.startswith("[") or host.rpartition(".")[2].isdigit():
        return host
    registered = _registries().privatesuffix(host)
    return registered.partition(".")[0] if registered else host


def is_public_suffix(name: str) -> bool:
    """Say whether anybody can register a domain right under a name: `com`, `co.uk`, `github.io`."""
    return _public_suffixes().is_public(name)


@lru_cache(maxsize=65_536)
def registrable_domain(host: str) -> str:
    """Return the domain that somebody registered for a canonical host; the host itself where there is none.

    The Public Suffix List counts with its private section, so that each of `*.github.io` or
    `*.blogspot.com` is a domain of its own: other people's pages, and partitions that can be balanced.
    IP addresses, single labels and public suffixes stand for themselves.
    """
    if host.startswith("[") or host.rpartition(".")[2].isdigit():  # WHATWG: a number last means IPv4
        return host
    return _public_suffixes().privatesuffix(host) or host
