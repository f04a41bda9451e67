"""The shell of the filters' stage: judge each document of a partition."""

from pipeline.filters.quality import RefineOptions, judge
from pipeline.runner.records import DOCUMENTS, Drop
from pipeline.runner.stages import Counts, Task, edition
from pipeline.runner.tables import Sieve, read_rows


@edition(4, "pycld2")
def refine_documents(task: Task) -> Counts:
    """Keep the documents that pass `judge`, with their language. Input: documents."""
    options: RefineOptions = task.options
    with Sieve(task.folder, "documents.parquet", DOCUMENTS) as sieve:
        for document in read_rows(task.inputs[0], DOCUMENTS.names):
            verdict = judge(document["text"], document["url"], options, document["title"])
            if isinstance(verdict, Drop):
                sieve.put(verdict)
            else:
                document["language"], document["language_score"] = verdict
                sieve.put(document)
            task.progress(1)
    return sieve.counts
