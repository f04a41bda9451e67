"""Text to token ids, as fast as it goes: gigatoken, kept on a short leash."""

import json
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from pipeline.stages import Counts, Task, edition
from tokenizer.documents import Tally, read_documents
from tokenizer.vocabulary import Vocabulary, load_vocabulary

CACHE_TEXT_BYTES: Final = 256 * 2**20


class Encoder:
    """Encodes documents as ordinary text: a document that says `<|endoftext|>` does not end there.

    The ids are those of `tokenizers`, tiktoken's `encode_ordinary` and GPT-2's own code. gigatoken
    remembers every word that it meets, so after each 256 MiB of text it is given a fresh memory.
    """

    def __init__(self, vocabulary: Vocabulary) -> None:
        # Special tokens are recognised in text; without any, their names are text like any other.
        self._json = json.dumps({**json.loads(vocabulary.tokenizer_json), "added_tokens": []})
        self._backend = self._fresh()
        self._text_bytes = 0

    def encode(self, text: bytes) -> NDArray[np.uint32]:
        """Return the ids of a text in UTF-8."""
        if self._text_bytes > CACHE_TEXT_BYTES:
            self._backend, self._text_bytes = self._fresh(), 0
        self._text_bytes += len(text)
        ids: NDArray[np.uint32] = self._backend.encode(text)
        return ids

    def _fresh(self) -> Any:
        from gigatoken.gigatoken_rs import load_hf_json

        return load_hf_json(self._json)


@edition(1, "gigatoken")
def measure_file(task: Task) -> Counts:
    """Stage: encode a corpus file (first input) with a vocabulary (second), only to count tokens."""
    encoder = Encoder(load_vocabulary(task.inputs[1]))
    tally, tokens = Tally(), 0
    for batch in read_documents(task.inputs[0]):
        tally.add(batch)
        tokens += sum(len(encoder.encode(text)) for text in batch.texts)
        task.progress(batch.rows)
    task.notes.update(tokens=tokens, bytes=tally.bytes)
    return tally.counts
