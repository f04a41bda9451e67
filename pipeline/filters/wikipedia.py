"""Wikipedia's articles, wherever they stand: WebText has none, because test sets are often taken from there.

By address (of the page, after redirects, or the one that it calls its own), from the same list that
blocks links; and by content, for copies on other sites: what the licence makes them say at the top or
the bottom, or several of the marks that the encyclopedia's editors leave in an article. Talk about
Wikipedia has neither, and other wikis have few of the editors' marks.
"""

import re
from functools import cache

from pipeline.runner.drops import Drop
from pipeline.web.blocklist import Blocklist, load_blocklist
from pipeline.web.urls import parse

REASON = "Wikipedia"

# What copies say of themselves. No part can match in two ways, so that none takes long on hostile text.
_ENCYCLOPEDIA = r"the free encyclop(?:e|ae)dia"
_THIS = r"(?:this (?:article|page|entry|text|work|site)|it)"
_FROM = r"(?:the |an? )?(?:english )?wikipedia\b"
_DECLARATION = re.compile(
    rf"(?:^|\n)\W{{0,3}}(?:sourced )?from wikipedia,? {_ENCYCLOPEDIA}"  # at a line's start: its subtitle
    rf"|(?:^|\n)\W{{0,3}}sourced from wikipedia|from {_ENCYCLOPEDIA},? wikipedia\b"
    rf"|wikipedia, {_ENCYCLOPEDIA} ?©"
    rf"|{_THIS} (?:uses|incorporates|includes|contains) (?:\w+ )?(?:material|text|content) from {_FROM}"
    rf"|{_THIS} is (?:based on|(?:taken |copied |adapted |derived )?from) {_FROM}"
    r"|(?:article|text|content|material) (?:from|by) wikipedia,? [^.\n]{0,60}(?:licen[cs]e|cc[ -]by|gfdl)"
    r"|retrieved from [\"'“]?https?://[a-z-]+\.(?:m\.)?wikipedia\.org/"
    r"|you can help wikipedia by (?:expanding|adding)"
    r"|wikipedia(?:&reg;|[^\w\n]{1,3}) is a registered trademark"
    # The same head in other languages, for corpora of those.
    r"|aus wikipedia, der freien enzyklopädie|wikipédia, l['’]encyclopédie libre"
    r"|(?:de|da|d['’]a) ?wikipedia, (?:la enciclopedia libre|l['’]enciclopedia libera)"
    r"|wikipédia, a enciclopédia livre|uit wikipedia, de vrije encyclopedie"
    r"|z wikipedii, wolnej encyklopedii|википедии — свободной энциклопедии"
    r"|フリー百科事典『ウィキペディア|维基百科,自由的百科全书|維基百科,自由的百科全書",
    re.IGNORECASE,
)
_NAMES = ("wikip", "википед", "ウィキペディア", "基百科")  # every declaration has one: a quick look first
_EDGE_CHARACTERS = 1_000  # such marks stand at the top or the bottom; in the middle it is a quotation
_LAST_LINE = re.compile(r"\n\W{0,3}source: ?wikipedia\W{0,3}$", re.IGNORECASE)  # above, a picture's
_TITLE = re.compile(r" [-–—|] wikip[eé]dia(?:[,:] [^\n]{1,40})?$", re.IGNORECASE)

# Marks of the encyclopedia's editors, each alone also found elsewhere. In lower case.
_EDITORS_MARKS = (
    ("[citation needed]", "[clarification needed]", "[dubious – discuss]", "[original research?]"),
    ("[who?]", "[when?]", "[by whom?]", "[which?]", "[according to whom?]", "[better source needed]"),
    ("(disambiguation).", "(disambiguation)\n", "redirects here. for "),
    ("needs additional citations for verification", "does not cite any sources", "lacks inline citations"),
    ("this article is about ", "coordinates: "),
    ("\nmain article: ", "\nmain articles: ", "\nfurther information: ", "\nsee also: "),
)
_WIKI_MARKS = (  # of any wiki that runs on the same software
    ("[edit]", "[edit source]", "[edit | edit source]"),
    ("jump to navigation", "jump to search", "jump to: navigation"),
    ("\nsee also\n", "\nexternal links\n", "\nfurther reading\n"),
    ("\ncategories: ", "\ncategory: ", "\nhidden categories: "),
    ("^ jump up", "\n^ a b", "retrieved from "),
)
LEAST_MARKS, LEAST_EDITORS_MARKS = 4, 2
"""So many kinds of marks, of which so many are of the editors, make a text a copy."""


def is_wikipedia_address(address: str) -> bool:
    """Say whether an address is Wikipedia's, one of a mirror's, or shows an article through a proxy."""
    parts = parse(address)
    if isinstance(parts, Drop):
        return False
    known = _blocklist()
    return REASON in (known.host_reject_reason(parts.host), known.path_reject_reason(parts.host, parts.path))


@cache
def _blocklist() -> Blocklist:
    return load_blocklist("webtext")


def is_wikipedia_copy(text: str, title: str = "") -> bool:
    """Say whether a text declares itself to be taken from Wikipedia, or is marked like its articles."""
    if (
        _TITLE.search(title)
        or _is_declared(text[:_EDGE_CHARACTERS])
        or _is_declared(text[-_EDGE_CHARACTERS:])
    ):
        return True
    lowered = f"\n{text.lower()}\n"
    by_editors = sum(any(mark in lowered for mark in kind) for kind in _EDITORS_MARKS)
    if by_editors < LEAST_EDITORS_MARKS:
        return False
    by_software = sum(any(mark in lowered for mark in kind) for kind in _WIKI_MARKS)
    return by_editors + by_software >= LEAST_MARKS


# Extraction leaves out heads and foots, where licences are named: they are sought in the page itself.
_NAME_IN_HTML = re.compile(rb"wikipedia", re.IGNORECASE)
_AROUND_BYTES = 300
_INLINE = re.compile(r"</?(?:a|b|i|em|strong|cite|span|sup|small|q|abbr)\b[^<>]*>", re.IGNORECASE)
_TAG = re.compile("<[^<>]*>")


def is_declared_in_html(html: bytes) -> bool:
    """Say whether a page, read as ASCII, declares anywhere that its text is from an article of Wikipedia."""
    end = 0
    for name in _NAME_IN_HTML.finditer(html):
        if name.start() < end:  # within what was looked at already
            continue
        end = name.end() + _AROUND_BYTES
        around = html[max(0, name.start() - _AROUND_BYTES) : end].decode("ascii", "replace")
        visible = _TAG.sub("\n", _INLINE.sub("", around.partition(">")[2]))
        lines = filter(None, map(str.strip, visible.split("\n")))
        if _DECLARATION.search("\n".join(lines)):
            return True
    return False


def _is_declared(edge: str) -> bool:
    lowered = edge.lower()
    if not any(name in lowered for name in _NAMES):
        return False
    return bool(_DECLARATION.search(edge) or _LAST_LINE.search(edge))
