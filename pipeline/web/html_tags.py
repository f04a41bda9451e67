"""The start tags of a page as the tokenizer of a browser sees them (WHATWG HTML, section 13.2.5).

A whole parser builds a tree, and some trees take it time by the square of the page's length. Tags alone are
had in one walk over the bytes: what stands in comments, scripts, titles and quotes is none.
"""

import functools
import re
from collections.abc import Iterator

# Without steps back, which could be many. A quote that nobody closes goes to the end of the page.
_VALUE = rb"""(?:"([^"]*+)(?:"|\Z)|'([^']*+)(?:'|\Z)|([^\s>"'][^\s>]*+))"""
_ATTRIBUTE = rb"[\s/]*+([^\s/>][^\s/>=]*+)(?:\s*+=\s*+" + _VALUE + rb"?+)?+"
_ATTRIBUTES = re.compile(_ATTRIBUTE)
_REST_OF_TAG = re.compile(rb"(?:" + _ATTRIBUTE + rb")*+[\s/]*+>")
_OPENING = re.compile(rb"<(?:(!--)|(/?[a-z][^\s/>]*+)|[/!?])")
_NOTHING = re.compile(b"")
_COMMENT_END = re.compile(rb"--!?>")
# What stands in these elements is text; each ends with its own end tag only.
_RAW = frozenset({b"style", b"textarea", b"title", b"xmp", b"iframe", b"noembed", b"noframes"})
_RAW_WITH_SCRIPTS = _RAW | {b"noscript"}  # for a browser that runs them
_RAW_END = {name: re.compile(rb"</" + name + rb"(?=[\s/>])") for name in _RAW_WITH_SCRIPTS}
_OF_HEAD = frozenset(
    {b"html", b"head", b"base", b"basefont", b"bgsound", b"link", b"meta", b"title"}
    | {b"noframes", b"noscript", b"script", b"style", b"template"}
)
_SCRIPT = re.compile(rb"<!---?>|<!--|-->|</?script(?=[\s/>])")


def start_tags(page: bytes, wanted: bytes) -> Iterator[dict[bytes, bytes]]:
    """Yield the attributes of each element of one name.

    Args:
        page: in lower case, in an encoding with ASCII in it.
        wanted: the element's name.
    """
    for name, start, end in _tags(page, _RAW, _ordinary(wanted)):
        if name == wanted:
            yield _attributes(page, start, end)


@functools.cache
def _ordinary(wanted: bytes) -> re.Pattern[bytes]:
    """Return what matches text and tags that are neither wanted nor change what may stand behind them.

    Most of a page is of these, and one match for a run of them costs a quarter of one for each.
    """
    others = b"|".join([wanted, b"script", b"plaintext", *sorted(_RAW)])
    attribute = re.sub(rb"\((?!\?)", b"(?:", _ATTRIBUTE)  # no groups to be filled
    tag = rb"<(?!(?:" + others + rb")[\s/>])/?+[a-z][^\s/>]*+(?:" + attribute + rb")*+[\s/]*+>"
    return re.compile(rb"(?:[^<]++|" + tag + rb")*+")


def head_tags(page: bytes, wanted: frozenset[bytes]) -> Iterator[tuple[bytes, dict[bytes, bytes]]]:
    """Yield name and attributes of elements in a page's head as browsers that run scripts see it.

    Args:
        page: in an encoding with ASCII in it. Names come in lower case, values as they stand.
        wanted: the elements' names.
    """
    templates = 0  # what stands in them is no part of the page
    for name, start, end in _tags(page.lower(), _RAW_WITH_SCRIPTS):
        if name.endswith(b"template"):
            templates += 1 if name == b"template" else -1
        elif templates > 0 or name.startswith(b"/"):
            continue
        elif name not in _OF_HEAD:  # the body begins
            return
        elif name in wanted:
            yield name, _attributes(page, start, end)


def _tags(
    page: bytes, raw: frozenset[bytes], passed: re.Pattern[bytes] = _NOTHING
) -> Iterator[tuple[bytes, int, int]]:
    """Yield each tag's name, end tags with their slash, and where its attributes begin and end.

    What `passed` matches, which may be nothing, is passed over.
    """
    position = 0
    while (over := passed.match(page, position)) and (opening := _OPENING.search(page, over.end())):
        is_comment, name = opening.groups()
        position = opening.end()
        if is_comment:
            position = _after_comment(page, position)
        elif name is None:
            position = page.find(b">", position) + 1
        elif rest := _REST_OF_TAG.match(page, position):
            yield name, position, rest.end() - 1
            position = _after_text(page, rest.end(), name, raw)
        else:
            return
        if not position:  # the page ends in the middle
            return


def _attributes(page: bytes, start: int, end: int) -> dict[bytes, bytes]:
    found: dict[bytes, bytes] = {}
    for match in _ATTRIBUTES.finditer(page, start, end):
        name, *values = match.groups()
        found.setdefault(name.lower(), next((value for value in values if value is not None), b""))
    return found


def _after_comment(page: bytes, position: int) -> int:
    """Return where a comment has ended, 0 if it never does; `<!-->` and `<!--->` are whole ones."""
    for short in (b">", b"->"):
        if page.startswith(short, position):
            return position + len(short)
    end = _COMMENT_END.search(page, position)
    return end.end() if end else 0


def _after_text(page: bytes, position: int, name: bytes, raw: frozenset[bytes]) -> int:
    """Return where the text in an element has ended if no tags can stand in it, else where it begins."""
    if name == b"script":
        return _after_script(page, position)
    if name == b"plaintext":
        return 0
    end = _RAW_END[name].search(page, position) if name in raw else None
    return position if name not in raw else end.start() if end else 0


def _after_script(page: bytes, position: int) -> int:
    """Return where a script has ended: after `<!--`, a script within it has an end tag of its own."""
    is_hidden, is_nested = False, False
    for found in _SCRIPT.finditer(page, position):
        match found[0]:
            case b"<!--":
                is_hidden = True
            case b"-->":
                is_hidden, is_nested = False, False
            case b"<script":
                is_nested = is_hidden
            case b"</script" if is_nested:
                is_nested = False
            case b"</script":
                return found.start()
    return 0
