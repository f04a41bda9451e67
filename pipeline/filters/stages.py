"""The shell of the filters' stage: judge each document of a partition."""

from pipeline.filters.quality import RefineOptions, judge
from pipeline.runner.records import DOCUMENTS, Drop
from pipeline.runner.stages import Counts, Task, output_version
from pipeline.runner.tables import FilterWriter, read_rows


@output_version(5, "pycld2")
def refine_documents(task: Task) -> Counts:
    """Keep the documents that pass `judge`, with their language. Input: documents."""
    options: RefineOptions = task.options
    with FilterWriter(task.folder, "documents.parquet", DOCUMENTS) as writer:
        for document in read_rows(task.inputs[0], DOCUMENTS.names):
            verdict = judge(document["text"], document["url"], options, document["title"])
            if isinstance(verdict, Drop):
                writer.put(verdict)
            else:
                document["language"], document["language_score"] = verdict
                writer.put(document)
            task.progress(1)
    return writer.counts
