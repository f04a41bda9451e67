"""Token ids of texts by a `tokenizer.json`, with gigatoken, in bounded memory."""

import json
from functools import lru_cache
from typing import Any, Final

import numpy as np
import psutil
from numpy.typing import NDArray

from pipeline.runner import storage

# How much the process may grow before gigatoken gets a fresh cache. A larger cache would double its tables
# once more, half a gigabyte at once.
GROWTH_BYTES: Final = 160 * 2**20
TEXT_BYTES_BETWEEN_CHECKS: Final = 2**20


class TokenIds:
    """Encodes texts; the names of special tokens are ordinary text.

    gigatoken caches every word that it meets, in about six bytes per byte of the word. Web text mostly
    repeats words, but a text of ever new ones would fill the memory. So whenever the process has grown by
    160 MiB, it starts with an empty cache. That changes no id.

    Args:
        tokenizer_json: what a `tokenizer.json` says.
    """

    def __init__(self, tokenizer_json: str) -> None:
        # Special tokens would be recognised in text; without any, their names are ordinary text.
        self.json = json.dumps({**json.loads(tokenizer_json), "added_tokens": []})
        self._process = psutil.Process()
        self._unchecked = 0  # bytes of text since the memory was checked
        self._renew()

    def of(self, text: bytes) -> NDArray[np.uint32]:
        """Return the ids of a text in UTF-8."""
        self._unchecked += len(text)
        if self._unchecked > TEXT_BYTES_BETWEEN_CHECKS:
            self._unchecked = 0
            if self._memory() > self._fresh_memory + GROWTH_BYTES:
                self._renew()
        ids: NDArray[np.uint32] = self._backend.encode(text)
        return ids

    def _renew(self) -> None:
        from gigatoken.gigatoken_rs import load_hf_json

        self._backend: Any = None  # free the old one before making the new one
        self._backend = load_hf_json(self.json)
        self._fresh_memory = self._memory()

    def _memory(self) -> int:
        return int(self._process.memory_info().rss)


def load_token_ids(tokenizer_json: str) -> TokenIds:
    """Return the encoder of a `tokenizer.json` at an address.

    A worker reuses the one of its last task if the file has not changed.

    Raises:
        ValueError: gigatoken cannot use it.
    """
    try:
        return _token_ids(storage.read_text(tokenizer_json))
    except (ValueError, RuntimeError, TypeError) as error:
        raise ValueError(f"cannot use {tokenizer_json}: {error}") from error


@lru_cache(maxsize=1)
def _token_ids(text: str) -> TokenIds:
    return TokenIds(text)
