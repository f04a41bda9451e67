"""Every step of the commands as a call in Python, on a few made pages and texts.

python examples/api.py --output out/api [--model out/model] [--run out/run]
"""

import argparse
from collections.abc import Iterator
from pathlib import Path

from pipeline.dedup.texts import find_duplicates
from pipeline.extract.extraction import extract_text
from pipeline.filters.quality import RefineOptions, judge
from pipeline.runner.records import Drop
from tokenizer.bpe.encoder import Encoder
from tokenizer.bpe.learning import learn_from_texts
from tokenizer.bpe.vocabulary import load_vocabulary

SENTENCE = "The keeper of the lighthouse wrote in his book, on the {} day, what the sea had brought him."


def made_text(first: int) -> str:
    """Return an English text of a dozen sentences."""
    return " ".join(SENTENCE.format(f"{number}th") for number in range(first, first + 12))


def texts() -> Iterator[str]:
    """Yield some texts: the fourth is nearly the first."""
    yield from (made_text(100 * number) for number in range(3))
    yield made_text(0) + " The end."


def prepare(output: Path) -> dict[str, object]:
    """Extract, judge, find duplicates, learn a vocabulary, encode; return what was found."""
    page = f"<html><title>Log</title><body><p>{made_text(1)}</p><p>{made_text(50)}</p></body></html>"
    extraction = extract_text(page.encode(), charset="")
    assert not isinstance(extraction, Drop)
    verdict = judge(extraction.text, "https://example.org/log", RefineOptions())
    reason = judge("Page not found.", "https://example.org/nothing", RefineOptions())
    vocabulary = learn_from_texts(texts(), vocab_size=300)
    output.mkdir(parents=True, exist_ok=True)
    for name, content in vocabulary.files().items():
        (output / name).write_text(content, encoding="utf-8")
    ids = Encoder(load_vocabulary(str(output))).encode(b"The keeper")
    return {
        "title": extraction.title,
        "verdict": verdict,
        "dropped as": reason.reason if isinstance(reason, Drop) else "",
        "duplicates": find_duplicates(list(texts())),
        "text again": b"".join(vocabulary.entries[number] for number in ids.tolist()).decode(),
    }


def use_model(model: Path) -> dict[str, object]:
    """Load a model, let it go on with a prompt, and evaluate a text."""
    from trainer.evaluation.one_text import evaluate_text
    from trainer.generation.continuations import complete
    from trainer.pretrained.loaded_model import ModelOptions, load_model

    loaded = load_model(ModelOptions(model=model))
    return {
        "texts": complete(loaded, ["The", "A"], max_new_tokens=20, seed=1),
        "bits per byte": evaluate_text(
            loaded, "The keeper of the lighthouse wrote in his book."
        ).bits_per_byte,
    }


def first_batch(run: Path) -> tuple[int, ...]:
    """Return the shape of a run's first batch."""
    from trainer.training.run_batches import read_batches

    inputs, _ = next(read_batches(run))
    return inputs.shape


def main() -> None:
    """Run every step that there is something for, and print what it gave."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--output", type=Path, default=Path("out/api"))
    parser.add_argument("--model", type=Path)
    parser.add_argument("--run", type=Path)
    options = parser.parse_args()
    found = prepare(options.output)
    if options.model:
        found |= use_model(options.model)
    if options.run:
        found["batch"] = first_batch(options.run)
    for name, value in found.items():
        print(f"{name}: {value}")


if __name__ == "__main__":
    main()
