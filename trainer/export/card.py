"""The model card: README.md of an exported folder, in the form that the Hugging Face Hub reads.

It tells what the model is, by what options and from which data it came, and how good it was on its own
validation text. Paths and machines' names are left out: they are nobody else's business.
"""

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, Final

from pipeline.runner.markdown import inline
from trainer.pretrained.source import Source

PLACES: Final = frozenset({"data", "output", "init_from"})
"""Options that name places."""


def model_card(source: Source, dtype: str) -> str:
    """Return the card, as Markdown with the YAML head that the Hub reads."""
    from jinja2 import Environment, FileSystemLoader, StrictUndefined

    environment = Environment(
        loader=FileSystemLoader(Path(__file__).parent),
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
        autoescape=False,  # Markdown, where `inline` does it
        finalize=lambda value: inline(value) if isinstance(value, str) else value,
    )
    environment.filters["number"] = "{:,}".format
    return environment.get_template("card.md.jinja").render(
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
    """Yield what the run measured, losses first, each with its unit."""
    for which in ("first", "last"):
        if (loss := figures.get(f"{which}_validation_loss")) is not None:
            yield f"{which.title()} validation loss", f"{loss:.4f} nats a token"
        if (loss := figures.get(f"{which}_validation_bits_per_byte")) is not None:
            yield f"{which.title()} validation loss, whatever the vocabulary", f"{loss:.4f} bits a byte"
    if (seconds := figures.get("training_seconds")) is not None:
        yield "Training time", f"{seconds:,.0f} s"


def _options(plan: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    """Yield the options of the run by name, those in groups too; the model's shape stands above."""
    for name, value in plan.items():
        if isinstance(value, Mapping) and name != "model":
            yield from _options(value)
        elif value is not None and name not in PLACES and name != "model":
            yield name, f"{value}"
