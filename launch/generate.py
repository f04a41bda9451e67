"""Let a trained model go on from a text.

python launch/generate.py --model out/model --prompt "The"
"""

import sys
from dataclasses import dataclass, field
from pathlib import Path

if __package__ in (None, ""):  # run as a plain file, from wherever: the packages lie beside this folder
    sys.path[0] = str(Path(__file__).resolve().parents[1])

from pipeline.command import run_command
from trainer.loading import ModelOptions, load_model
from trainer.sampling import Sampling


@dataclass(frozen=True, kw_only=True)
class GenerateOptions:
    """The command line."""

    source: ModelOptions
    """Which model."""
    prompt: str = ""
    """Text to go on from; without one, the model begins a document."""
    tokens: int = 100
    """Most tokens to write; fewer where the model ends its document."""
    samples: int = 1
    """How many continuations to write."""
    sampling: Sampling = field(default_factory=Sampling)
    """How the next token is chosen."""
    seed: int = 0
    """Decides what is drawn."""


def main(options: GenerateOptions) -> None:
    """Print the prompt and what the model makes of it, once for each sample."""
    if options.tokens < 1 or options.samples < 1:
        raise ValueError("--tokens and --samples must be at least 1")
    options.sampling.check()
    import torch  # takes seconds

    from trainer.generation import generate

    loaded = load_model(options.source)
    end_of_text = loaded.vocabulary.end_of_text
    prompt = loaded.encode(options.prompt) or [end_of_text]
    generator = torch.Generator().manual_seed(options.seed)
    for sample in range(options.samples):
        if sample:
            print("-" * 40)
        tokens = generate(
            loaded.model,
            prompt,
            count=options.tokens,
            sampling=options.sampling,
            generator=generator,
            end=end_of_text,
        )
        written = b"".join(loaded.token_bytes[token] for token in tokens)
        print(options.prompt + written.decode(errors="replace"))


if __name__ == "__main__":
    run_command(GenerateOptions, main, "Let a trained model go on from a text.")
