"""UTF-16 without a byte-order mark: in it every other byte of the markup is zero, whatever the language."""

import codecs

MIN_ZERO_SHARE = 0.05  # of every other byte

_MARKS = ((codecs.BOM_UTF16_LE, "utf-16-le"), (codecs.BOM_UTF16_BE, "utf-16-be"))


def utf16_of(html: bytes) -> str | None:
    """Return the name of the UTF-16 that a page is in, by its mark or by its zero bytes, or None."""
    marked = next((name for mark, name in _MARKS if html.startswith(mark)), None)
    head = html[:512]
    if marked or b"\0" not in head:
        return marked
    first, second = head[0::2].count(0) / len(head[0::2]), head[1::2].count(0) / len(head[0::2])
    if max(first, second) < MIN_ZERO_SHARE or min(first, second) > max(first, second) / 8:
        return None
    return "utf-16-be" if first > second else "utf-16-le"
