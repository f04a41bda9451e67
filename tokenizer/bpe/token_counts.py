"""The tokens of a corpus, counted."""

from pipeline.runner.stages import Counts, Task, output_version
from tokenizer.bpe.encoder import load_encoder
from tokenizer.documents import Tally, read_documents


@output_version(2, "gigatoken", "tokenizers")
def measure_file(task: Task) -> Counts:
    """Stage: encode corpus files (inputs) with a `tokenizer.json` (the last), only to count tokens."""
    *files, tokenizer_json = task.inputs
    encoder = load_encoder(tokenizer_json)
    tally, tokens = Tally(), 0
    for batch in read_documents(files, task.options):
        tally.add(batch)
        tokens += sum(len(encoder.encode(text)) for text in batch.texts)
        task.progress(batch.rows)
    task.notes.update(tokens=tokens, bytes=tally.bytes)
    return tally.counts
