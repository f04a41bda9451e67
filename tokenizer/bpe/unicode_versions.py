"""Characters whose kind depends on the version of Unicode that a tokenizer knows.

GPT-2's pattern cuts text by what is a letter and what a number. gigatoken 0.10 knows Unicode 17,
tokenizers 0.22 and tiktoken 0.12 know Unicode 16: a character that is new in 17 is a letter to the one and a
symbol to the others. Texts with such characters are cut by tokenizers, since the ids must be those of the
tools that read them. `tests/integration/tokenizer/test_unicode.py` compares all three over every character,
and fails when another version of them moves this list.
"""

import re
from typing import Final

# Of Unicode 17, first and last code point.
DISPUTED: Final = (
    *((0x088F, 0x088F), (0x0C5C, 0x0C5C), (0x0CDC, 0x0CDC), (0xA7CE, 0xA7CF), (0xA7D2, 0xA7D2)),
    *((0xA7D4, 0xA7D4), (0xA7F1, 0xA7F1), (0x10940, 0x10959), (0x10EC5, 0x10EC7), (0x11DB0, 0x11DDB)),
    *((0x11DE0, 0x11DE9), (0x16EA0, 0x16EB8), (0x16EBB, 0x16ED3), (0x16FF2, 0x16FF6), (0x187F8, 0x187FF)),
    *((0x18D09, 0x18D1E), (0x18D80, 0x18DF2), (0x1E6C0, 0x1E6DE), (0x1E6E0, 0x1E6E2), (0x1E6E4, 0x1E6E5)),
    *((0x1E6E7, 0x1E6ED), (0x1E6F0, 0x1E6F4), (0x1E6FE, 0x1E6FF), (0x2B73A, 0x2B73F), (0x2CEA2, 0x2CEAD)),
    (0x323B0, 0x33479),
)
_LEADS: Final = tuple({chr(code).encode()[:1] for pair in DISPUTED for code in pair})
_DISPUTED: Final = re.compile("[" + "".join(f"{chr(first)}-{chr(last)}" for first, last in DISPUTED) + "]")


def is_disputed(text: bytes) -> bool:
    """Say whether a text in UTF-8 has a character that tokenizers and gigatoken take for different kinds."""
    if not any(lead in text for lead in _LEADS):
        return False
    return _DISPUTED.search(text.decode(errors="replace")) is not None
