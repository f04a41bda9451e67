"""Speed of generation beside `transformers.generate`, on the same weights, tokens and cores.

    python tests/benchmarks/bench_generate.py

Models of random weights, in fp32, with 50,257 entries. Each cell is the median over interleaved rounds of
the ratio of their time to ours, for whole calls: the prompts are read, and so many tokens are added to each.
Theirs runs under its defaults (fused attention, a cache that grows) or with its static cache, whichever was
faster in a first round. Greedy output is checked to be the same, token for token.
"""

import argparse
import os
import statistics
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from random import Random
from typing import Any

ROOT = Path(__file__).parents[2]
sys.path.insert(0, str(ROOT))
os.environ["HF_HUB_OFFLINE"] = "1"

import torch  # noqa: E402  # the settings come first
import transformers  # noqa: E402

from tokenizer.bpe.vocabulary import Vocabulary  # noqa: E402
from trainer.config.recipes import SIZES  # noqa: E402
from trainer.config.sampling import Sampling  # noqa: E402
from trainer.generation.decoding import DecodingBatch, TokenSequence  # noqa: E402
from trainer.model.gpt2 import GPT2  # noqa: E402
from trainer.pretrained.loaded_model import ModelOptions, load_model  # noqa: E402

LENGTHS = {"nano": (16, 192), "small": (16, 512)}
CHOICES = {
    "greedy": (Sampling(greedy=True), {"do_sample": False}),
    "top-k 50, top-p 0.95": (
        Sampling(temperature=0.8, top_k=50, top_p=0.95),
        {"do_sample": True, "temperature": 0.8, "top_k": 50, "top_p": 0.95},
    ),
    "top-p 0.95": (
        Sampling(temperature=0.8, top_p=0.95),
        {"do_sample": True, "temperature": 0.8, "top_k": 0, "top_p": 0.95},
    ),
}


def main() -> None:
    """Print a table of ratios."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--sizes", nargs="+", default=["nano", "small"], choices=list(LENGTHS))
    parser.add_argument("--tokens", type=int, default=32)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--batches", type=int, nargs="+", default=[1, 8])
    parser.add_argument("--cpu-time", action="store_true", help="for a busy machine, with OMP_NUM_THREADS=1")
    options = parser.parse_args()
    clock = time.process_time if options.cpu_time else time.perf_counter
    transformers.logging.set_verbosity_error()
    transformers.logging.disable_progress_bar()
    print(f"torch {torch.__version__}, transformers {transformers.__version__}, ", end="")
    print(
        f"{torch.get_num_threads()} threads; {options.tokens} new tokens a sequence, {options.rounds} rounds"
    )
    print(f"{'model':<6}{'batch':>6}{'prompt':>8}  {'choice':<22}{'ours, tokens/s':>15}{'theirs / ours':>15}")
    for size in options.sizes:
        with tempfile.TemporaryDirectory() as folder:
            ours, theirs = models(size, Path(folder))
            for batch in options.batches:
                for length in LENGTHS[size]:
                    for choice in CHOICES:
                        printed = compare(
                            ours, theirs, batch, length, choice, options.tokens, options.rounds, clock
                        )
                        print(f"{size:<6}{batch:>6}{length:>8}  {choice:<22}{printed}", flush=True)


def models(size: str, folder: Path) -> tuple[GPT2, Any]:
    """Return the same random weights as our model and as theirs."""
    shape = SIZES[size]
    config = transformers.GPT2Config(
        n_layer=shape.layers, n_head=shape.heads, n_embd=shape.width, n_positions=shape.context,
        bos_token_id=50_256, eos_token_id=50_256,
    )  # fmt: skip
    torch.manual_seed(0)
    theirs = transformers.GPT2LMHeadModel(config).eval()
    with torch.no_grad():  # untrained weights make all tokens alike: as likely as a trained model's, roughly
        theirs.transformer.ln_f.weight.mul_(6)
    theirs.save_pretrained(folder)
    pairs = [(bytes([left]), bytes([right])) for left in range(256) for right in range(256)]
    (folder / "tokenizer.json").write_text(Vocabulary(pairs[:50_000]).tokenizer_json)
    theirs.generation_config.eos_token_id = None  # both write all tokens
    return load_model(ModelOptions(model=folder, device="cpu")).model, theirs


def compare(
    ours: GPT2,
    theirs: Any,
    batch: int,
    length: int,
    choice: str,
    count: int,
    rounds: int,
    clock: Callable[[], float],
) -> str:
    """Return our speed and the ratio, as text."""
    sampling, options = CHOICES[choice]
    prompts = torch.randint(50_000, (batch, length), generator=torch.Generator().manual_seed(0))
    attention = torch.ones_like(prompts)

    def we() -> list[list[int]]:
        rows = [
            TokenSequence(tokens=prompt, random=Random(number))
            for number, prompt in enumerate(prompts.tolist())
        ]
        together = DecodingBatch(ours, rows, sampling, most_tokens=length + count)
        return [together.step()[0] for _ in range(count)]

    def they(**more: Any) -> list[list[int]]:
        new = theirs.generate(
            prompts, attention_mask=attention, max_new_tokens=count, pad_token_id=0, **options, **more
        )
        tokens: list[list[int]] = new[:, length:].T.tolist()
        return tokens

    def they_statically() -> list[list[int]]:
        return they(cache_implementation="static")

    def seconds(work: Callable[[], object]) -> float:
        started = clock()
        work()
        return clock() - started

    assert not sampling.is_greedy or we() == they(), "greedy output differs"
    they_statically()  # the first call takes longer
    faster = min(they, they_statically, key=seconds)
    measured = [(seconds(we), seconds(faster)) for _ in range(rounds)]
    speed = batch * count / statistics.median(mine for mine, _ in measured)
    ratio = statistics.median(other / mine for mine, other in measured)
    return f"{speed:>15,.1f}{ratio:>14.2f}x" + (" (static cache)" if faster is they_statically else "")


if __name__ == "__main__":
    main()
