"""The model card: README.md of an exported folder, as the Hugging Face Hub reads it.

It describes the model, its options, data and validation loss. Paths and machine names are left out: they are
private.
"""

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, Final

from pipeline.runner.markdown import inline
from pipeline.runner.templates import fill
from trainer.pretrained.source import SourceModel

PLACES: Final = frozenset({"data", "output", "init_from"})
"""Options that are paths."""


def model_card(source: SourceModel, dtype: str) -> str:
    """Return the card, as Markdown with the YAML head that the Hub reads."""
    return fill(
        Path(__file__).parent / "card.md.jinja",
        escape=inline,
        name=source.name,
        config=source.config,
        dtype=dtype,
        vocabulary_fingerprint=source.vocabulary.fingerprint,
        state=source.state,
        data_fingerprint=source.data_fingerprint,
        began_with=Path(source.state.plan.get("init_from") or "").name if source.state else "",
        figures=list(_figures(source.state.figures)) if source.state else [],
        options=list(_options(source.state.plan)) if source.state else [],
    )


def _figures(figures: Mapping[str, float]) -> Iterator[tuple[str, str]]:
    """Yield the run's results with units, losses first."""
    for which in ("first", "last"):
        if (loss := figures.get(f"{which}_validation_loss")) is not None:
            yield f"{which.title()} validation loss", f"{loss:.4f} nats per token"
        if (loss := figures.get(f"{which}_validation_bits_per_byte")) is not None:
            label = f"{which.title()} validation loss, independent of the vocabulary"
            yield label, f"{loss:.4f} bits per byte"
    if (seconds := figures.get("training_seconds")) is not None:
        yield "Training time", f"{seconds:,.0f} s"


def _options(plan: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    """Yield the options of the run by name, including groups; the model's shape is shown above them."""
    for name, value in plan.items():
        if isinstance(value, Mapping) and name != "model":
            yield from _options(value)
        elif value is not None and name not in PLACES and name != "model":
            yield name, f"{value}"
