"""Writes a rank's files of a checkpoint while the ranks gather the next ones."""

from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from types import TracebackType
from typing import Self

from torch import Tensor

from trainer.checkpoint.folder import FileRecord, serialised, write_file


class TensorWriter:
    """A thread that writes one file at a time, so that at most two are in memory: that one and the next."""

    def __init__(self) -> None:
        self.records: dict[str, FileRecord] = {}
        self.error = ""  # the first one; nothing is written after it
        self._thread = ThreadPoolExecutor(max_workers=1, thread_name_prefix="tensor writer")
        self._pending: tuple[str, Future[FileRecord]] | None = None

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.finish()
        self._thread.shutdown()

    def write(self, path: Path, tensors: dict[str, Tensor]) -> None:
        """Write tensors on the CPU to a new file, after the previous one is done; the dictionary is
        emptied."""
        self.finish()
        if self.error:
            return
        content = serialised(tensors)
        tensors.clear()
        self._pending = path.name, self._thread.submit(write_file, path, content)

    def finish(self) -> None:
        """Wait until everything is on disk or has failed."""
        if self._pending is None:
            return
        name, future = self._pending
        self._pending = None
        try:
            self.records[name] = future.result()
        except OSError as error:
            self.error = str(error)
