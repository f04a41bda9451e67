"""Exports a trained model in common formats, and reads it back.

`huggingface`, `picogpt`, `gguf` and `llmc` each implement one format; `formats` writes them and has
`verification` check each written file, through `numpy_gpt2` if there is no other reader. `card` writes the
model card.
"""

from typing import Literal

FormatName = Literal["huggingface", "picogpt", "gguf", "llm.c"]
DType = Literal["float32", "float16", "bfloat16", "q8_0"]
