"""Text to token ids: gigatoken's, and those of `tokenizers` where Unicode versions differ."""

import json
from functools import cached_property, lru_cache
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from pipeline.runner import storage
from pipeline.sources.tokens import TokenIds
from tokenizer.bpe import vocabulary_formats
from tokenizer.bpe.unicode_versions import is_disputed
from tokenizer.bpe.vocabulary import Vocabulary

if TYPE_CHECKING:
    from tokenizers import Tokenizer


class Encoder:
    """Encodes documents as ordinary text: a document that contains `<|endoftext|>` does not end there.

    The ids are those of `tokenizers` and tiktoken's `encode_ordinary` (see `unicode_versions`). Memory is
    bounded (see `TokenIds`).
    """

    def __init__(self, vocabulary: Vocabulary) -> None:
        self.vocabulary = vocabulary
        self._ids = TokenIds(
            json.dumps(vocabulary_formats.tokenizer_of(vocabulary.merges, vocabulary.end_of_text))
        )

    def encode(self, text: bytes) -> NDArray[np.uint32]:
        """Return the ids of a text in UTF-8."""
        if is_disputed(text):
            return np.array(self._exact.encode(text.decode(errors="replace")).ids, np.uint32)
        return self._ids.of(text)

    @cached_property
    def _exact(self) -> "Tokenizer":
        from tokenizers import Tokenizer

        return Tokenizer.from_str(self._ids.json)


def load_encoder(tokenizer_json: str) -> Encoder:
    """Return the encoder of a `tokenizer.json` at an address.

    A worker reuses the one of its last task if the file has not changed, which saves half a second.
    """
    return _encoder(storage.read_text(tokenizer_json))


@lru_cache(maxsize=1)
def _encoder(text: str) -> Encoder:
    return Encoder(Vocabulary(*vocabulary_formats.read_tokenizer_json(text)))
