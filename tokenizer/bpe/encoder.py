"""Text to token ids with gigatoken, within bounded memory."""

import json
from functools import cached_property, lru_cache
from typing import TYPE_CHECKING, Any, Final

import numpy as np
import psutil
from numpy.typing import NDArray

from pipeline.runner import storage
from tokenizer.bpe import vocabulary_formats
from tokenizer.bpe.unicode_versions import is_disputed
from tokenizer.bpe.vocabulary import Vocabulary

if TYPE_CHECKING:
    from tokenizers import Tokenizer

# How much the process may grow before the encoder gets a fresh cache. A larger cache would double its tables
# once more, half a gigabyte at once.
GROWTH_BYTES: Final = 160 * 2**20
TEXT_BYTES_BETWEEN_CHECKS: Final = 2**20


class Encoder:
    """Encodes documents as ordinary text: a document that contains `<|endoftext|>` does not end there.

    The ids are those of `tokenizers` and tiktoken's `encode_ordinary` (see `unicode_versions`). gigatoken
    caches every word that it meets, in about six bytes per byte of the word. Web text mostly repeats
    words, but a text of ever new ones would fill the memory. So whenever the process has grown by
    160 MiB, the encoder starts with an empty cache. That changes no id.
    """

    def __init__(self, vocabulary: Vocabulary) -> None:
        self.vocabulary = vocabulary
        # Special tokens would be recognised in text; without any, their names are ordinary text.
        self._json = json.dumps(
            {**vocabulary_formats.tokenizer_of(vocabulary.merges, vocabulary.end_of_text), "added_tokens": []}
        )
        self._process = psutil.Process()
        self._unchecked = 0  # bytes of text since the memory was checked
        self._renew()

    def encode(self, text: bytes) -> NDArray[np.uint32]:
        """Return the ids of a text in UTF-8."""
        self._unchecked += len(text)
        if self._unchecked > TEXT_BYTES_BETWEEN_CHECKS:
            self._unchecked = 0
            if self._memory() > self._fresh_memory + GROWTH_BYTES:
                self._renew()
        if is_disputed(text):
            return np.array(self._exact.encode(text.decode(errors="replace")).ids, np.uint32)
        ids: NDArray[np.uint32] = self._backend.encode(text)
        return ids

    @cached_property
    def _exact(self) -> "Tokenizer":
        from tokenizers import Tokenizer

        return Tokenizer.from_str(self._json)

    def _renew(self) -> None:
        from gigatoken.gigatoken_rs import load_hf_json

        self._backend: Any = None  # free the old one before making the new one
        self._backend = load_hf_json(self._json)
        self._fresh_memory = self._memory()

    def _memory(self) -> int:
        return int(self._process.memory_info().rss)


def load_encoder(tokenizer_json: str) -> Encoder:
    """Return the encoder of a `tokenizer.json` at an address.

    A worker reuses the one of its last task if the file has not changed, which saves half a second.
    """
    return _encoder(storage.read_text(tokenizer_json))


@lru_cache(maxsize=1)
def _encoder(text: str) -> Encoder:
    return Encoder(Vocabulary(*vocabulary_formats.read_tokenizer_json(text)))
