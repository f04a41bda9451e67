"""The start tags of a page as the tokenizer of a browser sees them (WHATWG HTML, section 13.2.5).

A whole parser builds a tree, and some trees take it time by the square of the page's length. Tags alone are
had in one walk over the bytes: what stands in comments, scripts, titles and quotes is none.
"""

import re
from collections.abc import Iterator

# Without steps back, which could be many. A quote that nobody closes goes to the end of the page.
_VALUE = rb"""(?:"([^"]*+)(?:"|\Z)|'([^']*+)(?:'|\Z)|([^\s>"'][^\s>]*+))"""
_ATTRIBUTE = rb"[\s/]*+([^\s/>][^\s/>=]*+)(?:\s*+=\s*+" + _VALUE + rb"?+)?+"
_ATTRIBUTES = re.compile(_ATTRIBUTE)
_REST_OF_TAG = re.compile(rb"(?:" + _ATTRIBUTE + rb")*+[\s/]*+>")
_OPENING = re.compile(rb"<(?:(!--)|(/?[a-z][^\s/>]*+)|[/!?])")
_COMMENT_END = re.compile(rb"--!?>")
# What stands in these elements is text; each ends with its own end tag only.
_RAW = frozenset({b"style", b"textarea", b"title", b"xmp", b"iframe", b"noembed", b"noframes"})
_RAW_END = {name: re.compile(rb"</" + name + rb"(?=[\s/>])") for name in _RAW}
_SCRIPT = re.compile(rb"<!---?>|<!--|-->|</?script(?=[\s/>])")


def start_tags(page: bytes, wanted: bytes) -> Iterator[dict[bytes, bytes]]:
    """Yield the attributes of each element of one name.

    Args:
        page: in lower case, in an encoding with ASCII in it.
        wanted: the element's name.
    """
    position = 0
    while opening := _OPENING.search(page, position):
        is_comment, name = opening.groups()
        position = opening.end()
        if is_comment:
            position = _after_comment(page, position)
        elif name is None:
            position = page.find(b">", position) + 1
        elif rest := _REST_OF_TAG.match(page, position):
            if name == wanted:
                yield _attributes(page, position, rest.end() - 1)
            position = _after_text(page, rest.end(), name)
        else:
            return
        if not position:  # the page ends in the middle
            return


def _attributes(page: bytes, start: int, end: int) -> dict[bytes, bytes]:
    found: dict[bytes, bytes] = {}
    for match in _ATTRIBUTES.finditer(page, start, end):
        name, *values = match.groups()
        found.setdefault(name, next((value for value in values if value is not None), b""))
    return found


def _after_comment(page: bytes, position: int) -> int:
    """Return where a comment has ended, 0 if it never does; `<!-->` and `<!--->` are whole ones."""
    for short in (b">", b"->"):
        if page.startswith(short, position):
            return position + len(short)
    end = _COMMENT_END.search(page, position)
    return end.end() if end else 0


def _after_text(page: bytes, position: int, name: bytes) -> int:
    """Return where the text in an element has ended if no tags can stand in it, else where it begins."""
    if name == b"script":
        return _after_script(page, position)
    if name == b"plaintext":
        return 0
    end = _RAW_END[name].search(page, position) if name in _RAW else None
    return position if name not in _RAW else end.start() if end else 0


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
