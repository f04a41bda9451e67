"""A trained model in the formats that others read, and back.

`source` opens what is exported; `huggingface`, `picogpt`, `gguf` and `llmc` each know one format; `formats`
writes them and has `verification` check each by what was written, through `numpy_gpt2` where there is no
other reader. `layout` has the names that all of them translate, `card` the model card. `pretrained` reads
anybody's Hugging Face directory, from which `huggingface.load` makes a model to train on.
"""

from typing import Literal

FormatName = Literal["huggingface", "picogpt", "gguf", "llm.c"]
DType = Literal["float32", "float16", "bfloat16", "q8_0"]
