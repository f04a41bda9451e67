"""Published tokens to running text and back, so that a model reads text like its training text.

The paper uses "invertible de-tokenizers" on tokenized sets, which improve perplexity by 2.5 to 5 points
(section 3.1); they were never published. Ours join tokens only if the tokenizer's rules split them into the
same tokens again. What the rules would misread is left as published, or marked by a second space, which says
"this is one token". So `tokenize` undoes `detokenize` for any tokens, and the text's probability is that of
the tokens.
"""

import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from re import Pattern

NOTHING = re.compile(r"(?!)")
CLITIC = r"'(?:s|t|re|ve|ll|d|m)"
# Words that keep their full stop: initials, and what stands before a name or a number.
ABBREVIATION = (
    r"(?:[A-Za-z]\.)+|(?:Mr|Mrs|Ms|Messrs|Dr|Prof|Rev|Hon|St|Mt|Ft|Gov|Sen|Rep|Gen|Col|Maj|Capt|Lt|Sgt|Cpl"
    r"|Jr|Sr|Bros|Inc|Corp|Co|Ltd|vs|Vol|No|Nos|Jan|Feb|Aug|Sept|Oct|Nov|Dec)\."
)


def _whole(chunk: str) -> list[str]:
    return [chunk]


@dataclass(frozen=True, kw_only=True)
class Detokenizer:
    """The rules of one tokenizer, in both directions. Patterns match whole tokens unless stated otherwise."""

    name: str
    leans_left: Pattern[str] = NOTHING
    """Tokens that follow the one before them without a space."""
    leans_right: Pattern[str] = NOTHING
    """Tokens that the next one follows without a space."""
    after_s: frozenset[str] = frozenset()
    """Tokens that lean left on a word in s: the apostrophe of a plural."""
    runs: frozenset[str] = frozenset()
    """Tokens that lean left on another of their kind."""
    quote: str = ""
    """The token that opens and closes in turn."""
    written: Mapping[str, str] = field(default_factory=dict)
    """Tokens that running text writes otherwise."""
    opening: Pattern[str] = NOTHING
    """What is split off the front of a chunk of text."""
    closing: Pattern[str] = NOTHING
    """What is split off its end; the pattern ends in $."""
    kept: Pattern[str] = NOTHING
    """Chunks from which nothing is split off."""
    opened: Mapping[str, str] = field(default_factory=dict)
    """The tokens of what `opening` found, where they are not the same."""
    closed: Mapping[str, str] = field(default_factory=dict)
    """The tokens of what `closing` found, where they are not the same."""
    core: Callable[[str], list[str]] = _whole
    """Splits what is left in the middle."""

    def detokenize(self, tokens: Sequence[str]) -> str:
        """Return a line of running text. Tokens hold no space and are not empty."""
        parts: list[str] = []
        for chunk in self._chunks(tokens):
            text = "".join(self.written.get(token, token) for token in chunk)
            if self._split(text) == chunk:
                parts.append(text)
            else:
                parts += [token if self._split(token) == [token] else " " + token for token in chunk]
        return " ".join(parts)

    def tokenize(self, text: str) -> list[str]:
        """Return the tokens that `detokenize` made the line of."""
        tokens: list[str] = []
        literal = False
        for chunk in text.split(" ") if text else []:
            if literal or not chunk:
                tokens += [chunk] if literal else []
                literal = not literal
            else:
                tokens += self._split(chunk)
        return tokens

    def _chunks(self, tokens: Sequence[str]) -> Iterator[list[str]]:
        """Yield the tokens that are to stand together without a space."""
        chunk: list[str] = []
        opened = False  # whether a quotation is
        joins_next = True
        for token in tokens:
            if not (joins_next or self._joins_last(token, chunk[-1], opened=opened)):
                yield chunk
                chunk = []
            chunk.append(token)
            opened ^= token == self.quote
            joins_next = self.leans_right.fullmatch(token) is not None or (token == self.quote and opened)
        if chunk:
            yield chunk

    def _joins_last(self, token: str, last: str, *, opened: bool) -> bool:
        return (
            self.leans_left.fullmatch(token) is not None
            or (token == self.quote and opened)
            or (token in self.after_s and last.endswith("s"))
            or (token in self.runs and token == last)
        )

    def _split(self, chunk: str) -> list[str]:
        """Return the tokens of a chunk without spaces: from both ends inwards, then its core."""
        front: list[str] = []
        back: list[str] = []
        while chunk and not self.kept.fullmatch(chunk):
            if found := self.opening.match(chunk):
                front.append(self.opened.get(found[0], found[0]))
                chunk = chunk[found.end() :]
            elif found := self.closing.search(chunk):
                back.append(self.closed.get(found[0], found[0]))
                chunk = chunk[: found.start()]
            else:
                break
        return [*front, *(self.core(chunk) if chunk else []), *reversed(back)]


_WIKITEXT_SIGNS = {"-": "@-@", ",": "@,@", ".": "@.@"}
_WIKITEXT_SIGN = re.compile(r"(?<=.)(-)(?=.)|(?<=[0-9])([,.])(?=[0-9])")


def _wikitext_core(chunk: str) -> list[str]:
    """Take hyphens in words, and commas and points in numbers, for the marks that WikiText has there."""
    if set(chunk) == {"="}:
        return list(chunk)
    pieces = [piece for piece in _WIKITEXT_SIGN.split(chunk) if piece]
    return [_WIKITEXT_SIGNS.get(piece, piece) for piece in pieces]


PLAIN = Detokenizer(name="none")

# Merity et al. 2016: Moses' tokenizer with its aggressive hyphens, headings as "= =".
WIKITEXT = Detokenizer(
    name="WikiText",
    leans_left=re.compile(rf"[.,;:?!%)\]}}]|\.\.\.|{CLITIC}|@[-,.]@"),
    leans_right=re.compile(r"[(\[{$£€]|@[-,.]@"),
    after_s=frozenset("'"),
    runs=frozenset("="),
    quote='"',
    written={mark: sign for sign, mark in _WIKITEXT_SIGNS.items()},
    opening=re.compile(r'["(\[{$£€]'),
    closing=re.compile(rf'(?:["),;:?!%\]}}]|\.\.\.|\.|{CLITIC}|(?<=s)\')$'),
    kept=re.compile(ABBREVIATION),
    core=_wikitext_core,
)

# Mikolov's preparation of the Penn Treebank: lower case, no punctuation, numbers as N.
PENN_TREEBANK = Detokenizer(
    name="PTB",
    leans_left=re.compile(rf"n't|{CLITIC}|%"),
    leans_right=re.compile(r"[a-z]{0,2}\$"),
    after_s=frozenset("'"),
    opening=re.compile(r"[a-z]{0,2}\$"),
    closing=re.compile(rf"(?:n't|{CLITIC}|%|(?<=s)')$"),
)

# Chelba et al. 2013: Moses' tokenizer without escapes; quotation marks all alike.
ONE_BILLION_WORDS = Detokenizer(
    name="1BW",
    leans_left=re.compile(rf"[.,;:?!%)\]}}]|\.\.\.|{CLITIC}"),
    leans_right=re.compile(r"[(\[{$£€]"),
    after_s=frozenset("'"),
    quote='"',
    opening=re.compile(r'["(\[{$£€]'),
    closing=re.compile(rf'(?:["),;:?!%\]}}]|\.\.\.|\.|{CLITIC}|(?<=s)\')$'),
    kept=re.compile(ABBREVIATION),
)

# The Stanford tokenizer, as in the Children's Book Test (Hill et al. 2015) and LAMBADA's plain text (Paperno
# et al. 2016): the Penn Treebank's quotation marks and brackets, and "n't" a token of its own.
_BRACKETS = {"-LRB-": "(", "-LSB-": "[", "-LCB-": "{"}, {"-RRB-": ")", "-RSB-": "]", "-RCB-": "}"}
STANFORD = Detokenizer(
    name="Stanford",
    leans_left=re.compile(rf"[.,;:?!%]|\.\.\.|''?|-R[RSC]B-|(?i:n't|{CLITIC})"),
    leans_right=re.compile(r"``|`|-L[RSC]B-|[$£#]"),
    written={"``": '"', "''": '"', "`": "'", **_BRACKETS[0], **_BRACKETS[1]},
    opening=re.compile(r"``|`|-L[RSC]B-|[\"(\[{$£#]|'(?=[^'])"),
    closing=re.compile(rf"(?:[\")\]}},;:?!%]|''|-R[RSC]B-|\.\.\.|\.|(?i:n't|{CLITIC})|')$"),
    kept=re.compile(rf"(?i:{CLITIC}|n't|{ABBREVIATION.replace('|No|Nos|', '|')})"),
    opened={'"': "``", "'": "`", **{text: token for token, text in _BRACKETS[0].items()}},
    closed={'"': "''", **{text: token for token, text in _BRACKETS[1].items()}},
)
