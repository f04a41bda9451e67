"""How the texts of a corpus are read: what a user says, and what a stage gets."""

from dataclasses import dataclass
from typing import Final

from pipeline.corpus.split import Split

VALIDATION_SHARE: Final = 0.01


@dataclass(frozen=True, kw_only=True)
class TextOptions:
    """Where the texts of a corpus are."""

    text_column: str = "text"
    """Column of Parquet and Arrow, or field of JSON Lines, that has the text."""
    document_separator: str | None = None
    """What stands between the documents of a plain text file, such as <|endoftext|>; a backslash and n stand
    for a line end, so twice that cuts at paragraphs. Default: each file is a document."""
    validation_share: float | None = None
    """Share of the documents held out for validation, chosen by the hash of their text; of a small corpus
    ten, or a tenth. Default: the split in folder or file names, else 0.01."""

    def __post_init__(self) -> None:
        if self.validation_share is not None and not 0 <= self.validation_share < 1:
            raise ValueError(f"--validation-share {self.validation_share}: must be at least 0 and below 1")
        if self.document_separator is not None and not self.separator:
            raise ValueError("--document-separator must not be empty")

    @property
    def separator(self) -> str | None:
        r"""The separator, with `\n`, `\t` and `\\` for the characters that are hard to type in a shell."""
        if self.document_separator is None:
            return None
        parts = self.document_separator.split("\\\\")
        return "\\".join(part.replace("\\n", "\n").replace("\\t", "\t") for part in parts)


@dataclass(frozen=True, kw_only=True)
class Reading:
    """How a stage reads the files of a corpus."""

    text_column: str = "text"
    """Column or field that has the text."""
    columns: tuple[str, ...] = ()
    """Further columns or fields to read, where a file has them; `a.b` is the field b in the field a."""
    separator: str | None = None
    """What stands between the documents of a plain text file; None: each file is a document."""
    side: Split | None = None
    """The side of a split by hash to read; None: the whole file."""
    limit: float = 0.0
    """Place below which a document is for validation, 0 to 1, if there is a split by hash."""
