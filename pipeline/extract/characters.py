"""The right characters: a page's bytes to text, and text to clean Unicode.

`decode` follows the WHATWG's order (byte-order mark, header, meta element) and its names for encodings,
with two looks at the bytes themselves, since declarations are often wrong:

- What is valid UTF-8 is UTF-8, whatever is declared; so is what would be but for broken bytes that are fewer
  than its characters beyond ASCII: those spoil themselves only.
- In Western text bytes above 127 stand alone between ASCII letters; in Cyrillic, Greek, Arabic or Chinese
  they come in runs. A declaration that does not go with how they stand is not believed.
"""

import codecs
import re
import unicodedata
from html import unescape

from pipeline.extract.code_blocks import shown_lines
from pipeline.extract.shaping import REPEAT_MARKS
from pipeline.web.utf16 import utf16_of

MAX_META_BYTES = 64 * 1024  # the WHATWG looks at 1,024; pages with long scripts first are many
MAX_LOOKED_AT_BYTES = 2**20
MIN_HIGH_BYTES = 16  # fewer do not identify the script
MAX_WESTERN_RUN = 1.7  # mean length of a run of bytes above 127: Western text has 1.0 to 1.4, others over 2
MAX_BROKEN_SHARE = 0.1  # of all characters that are not ASCII
MAX_BROKEN_SHARE_OF_UTF8 = 0.5  # bytes of other encodings are whole UTF-8 characters by chance in one of ten

# Python's decoders of these names are narrower than the WHATWG's.
_WIDER = {
    "shift_jis": "cp932",
    "euc_kr": "cp949",
    "gbk": "gb18030",
    "big5": "big5hkscs",
    "iso8859-11": "cp874",
}
_WESTERN = frozenset(
    f"iso8859-{number}" for number in (1, 2, 3, 4, 9, 10, 13, 14, 15, 16)
) | {"cp1250", "cp1252", "cp1254", "cp1257", "cp1258", "mac-roman"}  # fmt: skip
_BYTE_ORDER_MARKS = (
    (codecs.BOM_UTF8, "utf-8"),
    (codecs.BOM_UTF16_LE, "utf-16-le"),
    (codecs.BOM_UTF16_BE, "utf-16-be"),
)

_COMMENT = re.compile(rb"<!--.*?(?:-->|\Z)", re.DOTALL)
_DECLARATION = re.compile(
    rb"""<(?:meta|\?xml)\b[^<>]{0,1024}?\b(?:charset|encoding)\s*=\s*["']?\s*([\w.:-]{1,40})""", re.I
)
_HIGH_RUN = re.compile(rb"[\x80-\x9f\xa1-\xff]+")  # no-break spaces, which come in rows anywhere, aside


def decode(html: bytes, charset: str) -> str:
    """Decode a page; no bytes whatever raise an error.

    Args:
        html: the page as it was sent.
        charset: what the HTTP header says of it; empty or wrong is fine.
    """
    for mark, encoding in _BYTE_ORDER_MARKS:
        if html.startswith(mark):
            return codecs.getincrementaldecoder(encoding)("replace").decode(html[len(mark) :])
    return (
        _decode_utf16(html) or _decode_iso_2022(html) or _decode_utf8(html) or _decode_declared(html, charset)
    )


def _decode_utf16(html: bytes) -> str:
    name = utf16_of(html)  # of one without a mark: those with one were seen
    return codecs.getincrementaldecoder(name)("replace").decode(html) if name else ""


def _decode_iso_2022(html: bytes) -> str:
    """Decode ISO 2022's Japanese, ASCII but for its escapes; the WHATWG has no other of that family."""
    is_one = b"\x1b" in html and b"\x1b$" in html and html.isascii()  # one byte is found faster than two
    return html.decode("iso2022_jp_ext", "replace") if is_one else ""


def _decode_utf8(html: bytes) -> str:
    try:
        return codecs.utf_8_decode(html, "strict", False)[0]
    except UnicodeDecodeError:
        text = codecs.utf_8_decode(html, "replace", False)[0]
    return text if _broken_share(text) <= MAX_BROKEN_SHARE_OF_UTF8 else ""


def _broken_share(text: str) -> float:
    return text.count("\ufffd") / max(1, len(text) - len(text.encode("ascii", "ignore")))


def _decode_declared(html: bytes, charset: str) -> str:
    """Decode by what header or meta element say if that can be, else by what the bytes look like."""
    from resiliparse.parse.encoding import detect_encoding

    runs = _HIGH_RUN.findall(html, 0, MAX_LOOKED_AT_BYTES)
    high_bytes = sum(map(len, runs))
    stand_alone = high_bytes <= MAX_WESTERN_RUN * len(runs)
    declared = [codec for codec in (_codec(charset), _codec(_meta_charset(html))) if codec]
    seen = detect_encoding(html, html5_compatible=False) or ""
    for codec in (*declared, _codec("euc-kr" if seen.lower() == "cp949" else seen)):  # no WHATWG label
        if codec is None or (high_bytes >= MIN_HIGH_BYTES and (codec in _WESTERN) != stand_alone):
            continue
        text = _decode_as(html, codec)
        if _broken_share(text) <= MAX_BROKEN_SHARE:
            return text
    return _decode_as(html, declared[0] if declared else "cp1252")


def _decode_as(html: bytes, codec: str) -> str:
    if codec == "cp1252":  # bytes that it does not define are control characters to the WHATWG
        html = html.translate(None, b"\x81\x8d\x8f\x90\x9d")
    return html.decode(codec, "replace").removesuffix("\ufffd")  # the end may be cut off


def _meta_charset(html: bytes) -> str:
    match = _DECLARATION.search(_COMMENT.sub(b"", html[:MAX_META_BYTES]))
    return match[1].decode() if match else ""


def _codec(label: str) -> str | None:
    """Return Python's name for a legacy encoding by its WHATWG label, or None: Unicode was tried."""
    from resiliparse.parse.encoding import map_encoding_to_html5

    name = map_encoding_to_html5(label.strip(), fallback_utf8=False)
    if not name or name.lower().startswith(("utf", "iso2022", "iso-2022")):
        return None
    codec = codecs.lookup(name).name
    return _WIDER.get(codec, codec)


# --- clean Unicode ---

# Control characters 128 to 159, raw or as references, were windows-1252 on their way here: browsers read
# the references so. Parsers would remove them, and with them the apostrophes of old pages. References to
# what XML's data model refuses (other controls, surrogates) would cost the whole page.
_C1 = re.compile(rb"\xc2[\x80-\x9f]")
_BAD_REFERENCE = re.compile(
    rb"&#(?:0{0,9}(?:[0-8]|1[124-9]|2[0-9]|3[01]|12[7-9]|1[345][0-9]|5[5-7][0-9]{3})"
    rb"|[xX]0{0,9}(?:[0-8bBcCeEfF]|1[0-9a-fA-F]|7[fF]|[89][0-9a-fA-F]|[dD][89a-fA-F][0-9a-fA-F]{2}))"
    rb"(?![0-9a-fA-F]);?"
)
_NO_XML = bytes({*range(0x20)} - {*b"\t\n\v\f\r"})
_SPACES = bytes.maketrans(b"\v\f", b"  ")

_BREAKS = re.compile("\r\n?|[\v\f\x85\u2028\u2029]")
_INVISIBLE = re.compile(
    "[\x00-\x08\x0e-\x1f\x7f-\x9f"  # control characters
    "\xad\u200b\u2060-\u2064\ufeff\ufff9-\ufffb"  # soft hyphens, zero-width spaces, invisible operators
    "\u061c\u200e\u200f\u202a-\u202e\u2066-\u206f\U000e0000-\U000e0fff"  # directions, tags: may hide text
    "\ud800-\udfff\ue000-\uf8ff\ufdd0-\ufdef\ufffe\uffff\U000f0000-\U0010ffff]"  # none at all; fonts' icons
)


def utf8_for_parser(html: str) -> bytes:
    """Return a page in UTF-8, without the characters that XML's data model refuses, as lxml's is."""
    page = html.encode("utf-8", "replace")
    if b"\xef" in page:  # one byte is found ten times as fast as three
        page = page.replace(b"\xef\xbf\xbe", b"").replace(b"\xef\xbf\xbf", b"")
    page = _BAD_REFERENCE.sub(lambda match: unescape(match[0].decode()).replace("\ufffd", "").encode(), page)
    page = page.translate(_SPACES, _NO_XML)
    return _C1.sub(lambda match: match[0][1:].decode("cp1252", "ignore").encode(), page)


def tidy(text: str) -> str:
    """Return text in NFC, without what cannot be seen, and with lines that neither begin nor end in space.

    Preformatted lines (`code_blocks.py`) keep the spaces that they begin with, and those within them.
    Joiners (U+200C, U+200D) stay, since scripts of Persia and India and emoji are spelt with them.
    """
    text = _INVISIBLE.sub("", _BREAKS.sub("\n", REPEAT_MARKS.sub("", text)))
    pieces = (piece for line in text.split("\n") for piece in shown_lines(line))
    lines = (piece if is_code else " ".join(piece.split()) for is_code, piece in pieces)
    return unicodedata.normalize("NFC", "\n".join(line for line in lines if line))


def tidy_line(text: str) -> str:
    """Return text as `tidy` does, on one line."""
    return " ".join(tidy(text).split())
