"""Token shards as an evaluation set: each token of a split is predicted from those before it."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

from tokenizer.bpe.vocabulary import Vocabulary
from tokenizer.shards.folder import TokenStream, open_shards

AT_ONCE: Final = 2**20


@dataclass(frozen=True, kw_only=True)
class TokenSet:
    """The first tokens of a split of shards, ours or another tool's."""

    address: str
    split: str
    stream: TokenStream
    tokens: int  # predicted: all but the first
    fingerprint: str  # of the shards
    vocabulary_fingerprint: str  # empty where it is not known

    def check(self, vocabulary: Vocabulary) -> None:
        """Check that the tokens are of this vocabulary, as far as that can be known.

        Raises:
            ValueError: they are not.
        """
        if self.vocabulary_fingerprint not in ("", vocabulary.fingerprint):
            raise ValueError(
                f"the shards in {self.address} have another vocabulary than the model: fingerprint "
                f"{self.vocabulary_fingerprint[:16]}, not {vocabulary.fingerprint[:16]}"
            )
        for part in self.pieces():
            if part.max() >= vocabulary.size:
                raise ValueError(
                    f"the shards in {self.address} hold token {part.max()}, but the model's vocabulary has "
                    f"{vocabulary.size:,} entries"
                )

    def pieces(self) -> Iterator[NDArray[np.uint32]]:
        """Yield the tokens in order, a piece at a time."""
        for start in range(0, self.tokens + 1, AT_ONCE):
            yield self.stream.read(start, min(AT_ONCE, self.tokens + 1 - start)).astype(np.uint32)

    def bytes_of(self, lengths: NDArray[np.int64]) -> int:
        """Return of how many bytes of text the predicted tokens are, given those of each entry."""
        first = int(lengths[self.stream.read(0, 1)[0]])
        return sum(int(lengths[part].sum()) for part in self.pieces()) - first


def open_token_set(address: str, most_tokens: int | None) -> TokenSet:
    """Open the validation split of a folder of shards; its training split if it has no other.

    Raises:
        ValueError: there are no shards, one is damaged, or there is nothing to predict.
    """
    shards = open_shards(address, any_vocabulary=True)
    splits = {name: shards.open(name) for name in ("validation", "train")}
    split = "validation" if len(splits["validation"]) > 1 else "train"
    tokens = min(len(splits[split]) - 1, len(splits[split]) if most_tokens is None else most_tokens)
    if tokens < 1:
        raise ValueError(f"{address} has no two tokens to evaluate (or --shards-tokens is less than 1)")
    return TokenSet(
        address=address,
        split=split,
        stream=splits[split],
        tokens=tokens,
        fingerprint=shards.fingerprint,
        vocabulary_fingerprint=shards.index.vocabulary.fingerprint,
    )
