"""Let an exported model go on from a text.

python launch/generate.py --model out/model --prompt "The"
"""

import sys
from dataclasses import dataclass, field
from pathlib import Path

if __package__ in (None, ""):  # run as a plain file, from wherever: the packages lie beside this folder
    sys.path[0] = str(Path(__file__).resolve().parents[1])

from pipeline.command import run_command
from trainer.config import Sampling


@dataclass(frozen=True, kw_only=True)
class GenerateOptions:
    """The command line."""

    model: Path
    """Folder that launch/export.py wrote in Hugging Face's format."""
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
    from tokenizers import Tokenizer

    from trainer.export.huggingface import load
    from trainer.generation import generate

    model = load(options.model)
    tokenizer = Tokenizer.from_file(str(options.model / "tokenizer.json"))
    end_of_text = tokenizer.token_to_id("<|endoftext|>")
    if end_of_text is None:
        raise ValueError(f"{options.model}/tokenizer.json has no <|endoftext|>")
    prompt = tokenizer.encode(options.prompt).ids or [end_of_text]
    generator = torch.Generator().manual_seed(options.seed)
    for sample in range(options.samples):
        if sample:
            print("-" * 40)
        tokens = generate(
            model,
            prompt,
            count=options.tokens,
            sampling=options.sampling,
            generator=generator,
            end=end_of_text,
        )
        print(options.prompt + tokenizer.decode(list(tokens)))


if __name__ == "__main__":
    run_command(GenerateOptions, main, "Let an exported model go on from a text.")
