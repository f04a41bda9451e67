"""The report on vocabularies: how each encodes the same text."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

import numpy as np

from pipeline.runner.markdown import table
from tokenizer.bpe.vocabulary import Vocabulary
from tokenizer.report.usage import KINDS, Usage

LONGEST: Final = 20  # tokens that are listed
SELDOM: Final = 10
UNUSED_ON_THE_PAGE: Final = 100  # report.json has them all
QUANTILES: Final = {"least": 0.0, "5 %": 0.05, "median": 0.5, "95 %": 0.95, "most": 1.0}


@dataclass(frozen=True, kw_only=True)
class Text:
    """The size of a split of the corpus."""

    documents: int
    characters: int
    bytes: int
    bytes_by_kind: Sequence[int]  # [KINDS]


@dataclass(frozen=True, kw_only=True)
class Measured:
    """A vocabulary, and its usage on each split."""

    address: str
    vocabulary: Vocabulary
    usage: Mapping[str, Usage]  # by split


def describe(texts: Mapping[str, Text], measured: Sequence[Measured]) -> dict[str, Any]:
    """Return the content of report.json; the first vocabulary is its subject."""
    kinds = dict(
        zip(KINDS, np.sum([text.bytes_by_kind for text in texts.values()], axis=0).tolist(), strict=True)
    )
    corpus = {
        split: {"documents": text.documents, "characters": text.characters, "bytes": text.bytes}
        for split, text in texts.items()
    }
    entries = set(measured[0].vocabulary.tokens)
    return {
        "corpus": corpus,
        "bytes_by_kind": kinds,
        "vocabularies": [_describe(one, texts, kinds, entries) for one in measured],
    }


def _describe(
    one: Measured, texts: Mapping[str, Text], kinds: Mapping[str, int], entries: set[bytes]
) -> dict[str, Any]:
    """Describe one vocabulary; `entries` are the first one's tokens."""
    tokens, end_of_text = one.vocabulary.entries, one.vocabulary.end_of_text
    whole = sum(one.usage.values(), Usage.none(one.vocabulary.size))
    seldom = np.flatnonzero(whole.uses < SELDOM)
    seldom = seldom[seldom != end_of_text]
    texts_of = (number for number in range(len(tokens)) if number != end_of_text)
    longest = sorted(texts_of, key=lambda number: (-len(tokens[number]), number))[:LONGEST]
    return {
        "address": one.address,
        "fingerprint": one.vocabulary.fingerprint,
        "size": one.vocabulary.size,
        "tokens_of_the_first": len(entries.intersection(one.vocabulary.tokens)),
        "splits": {
            split: {"tokens": usage.tokens, "bytes_per_token": _ratio(texts[split].bytes, usage.tokens)}
            for split, usage in one.usage.items()
        },
        "kinds": {
            kind: {"tokens": found, "bytes_per_token": _ratio(kinds[kind], found)}
            for kind, found in zip(KINDS, whole.by_kind.tolist(), strict=True)
        },
        "tokens_per_document": _quantiles(whole),
        "longest_tokens": [_shown(tokens, number) for number in longest],
        "used_less_than_10_times": len(seldom),
        "never_used": [_shown(tokens, number) for number in seldom.tolist() if not whole.uses[number]],
    }


def to_markdown(report: Mapping[str, Any]) -> str:
    """Return the report as Markdown, with a column per vocabulary."""
    corpus, sides = report["corpus"], report["vocabularies"]
    documents = sum(split["documents"] for split in corpus.values())
    sizes = ", ".join(f"{split['bytes']:,} bytes in {name}" for name, split in corpus.items())
    lines = ["# Vocabularies on the same text", "", f"{documents:,} documents: {sizes}.", ""]
    lines += [f"{n}. `{side['address']}` ({side['fingerprint'][:16]})" for n, side in enumerate(sides, 1)]
    lines += ["", *_table("", _totals(sides)), "", "## Bytes per token", ""]
    lines += _table("text (share of bytes)", _compression(report))
    lines += ["", "A line has the first of these kinds that applies; a token counts where it begins.", ""]
    lines += [f"- {kind}: {rule}" for kind, rule in KINDS.items()]
    lengths = [side["tokens_per_document"] for side in sides]
    lines += ["", "## Tokens per document", ""]
    lines += _table("", [[name, *(f"{side[name]:,}" for side in lengths)] for name in lengths[0]])
    for number, side in enumerate(sides, 1):
        lines += _token_lists(number, side)
    return "\n".join(lines) + "\n"


def _totals(sides: Sequence[Mapping[str, Any]]) -> list[list[str]]:
    return [
        ["entries", *(f"{side['size']:,}" for side in sides)],
        ["tokens also in vocabulary 1", *(f"{side['tokens_of_the_first']:,}" for side in sides)],
        [
            f"tokens used fewer than {SELDOM} times",
            *(f"{side['used_less_than_10_times']:,}" for side in sides),
        ],
        ["tokens never used", *(f"{len(side['never_used']):,}" for side in sides)],
    ]


def _compression(report: Mapping[str, Any]) -> list[list[str]]:
    """Return the bytes per token of each split and of each kind of line."""
    sides, kinds = report["vocabularies"], report["bytes_by_kind"]
    whole = sum(kinds.values())
    rows = [
        [split, *(_bytes_per_token(side["splits"][split]) for side in sides)] for split in report["corpus"]
    ]
    for kind, size in kinds.items():
        cells = (_bytes_per_token(side["kinds"][kind]) for side in sides)
        rows.append([f"{kind} ({size / whole:.1%})", *cells])
    return rows


def _token_lists(number: int, side: Mapping[str, Any]) -> list[str]:
    """Return the lines on a vocabulary's longest tokens, and on those that are never used."""
    unused = side["never_used"]
    merged = [token for token in unused if token["id"] >= 256]
    more = len(merged) - UNUSED_ON_THE_PAGE
    return [
        *("", f"## Vocabulary {number}: the longest tokens", "", _listed(side["longest_tokens"])),
        *("", f"## Vocabulary {number}: tokens never used", ""),
        f"{len(unused):,}, {len(unused) - len(merged):,} of them single bytes. A model trained on this text "
        "never sees them, so their embeddings stay untrained.",
        *(["", _listed(merged[:UNUSED_ON_THE_PAGE])] if merged else []),
        *(["", f"{more:,} more are listed in report.json."] if more > 0 else []),
    ]


def _table(first: str, rows: Sequence[Sequence[str]]) -> list[str]:
    head = [first, *(f"vocabulary {number}" for number in range(1, len(rows[0])))] if rows else [first]
    return table(head, rows, right=[False, *[True] * (len(head) - 1)])


def _quantiles(usage: Usage) -> dict[str, float]:
    """Return the mean and some quantiles (nearest rank) of tokens per document; empty without documents."""
    total = int(usage.documents.sum())
    if not total:
        return {}
    reached = np.cumsum(usage.documents)
    ranks = {name: max(1, int(np.ceil(share * total))) for name, share in QUANTILES.items()}
    found = {name: int(usage.lengths[np.searchsorted(reached, rank)]) for name, rank in ranks.items()}
    return {"mean": round(usage.tokens / total, 1), **found}


def _shown(tokens: Sequence[bytes], number: int) -> dict[str, Any]:
    """Show a token as Python writes it: as text, or as bytes if they are not valid text."""
    token = tokens[number]
    try:
        return {"id": number, "token": repr(token.decode())}
    except UnicodeDecodeError:
        return {"id": number, "token": repr(token)}


def _listed(tokens: Sequence[Mapping[str, Any]]) -> str:
    """List tokens in quotes, as code, with their ids."""
    return ", ".join(f"`` {token['token']} `` {token['id']}" for token in tokens)


def _ratio(size_bytes: int, tokens: int) -> float | None:
    return round(size_bytes / tokens, 4) if tokens else None


def _bytes_per_token(measured: Mapping[str, Any]) -> str:
    return "" if measured["bytes_per_token"] is None else f"{measured['bytes_per_token']:.3f}"
