"""Texts that the model writes while it is trained, to be looked at beside its losses."""

import hashlib
from collections.abc import Sequence

import torch

from tokenizer.bpe.vocabulary import Vocabulary
from trainer.config.plan import TrainingPlan
from trainer.config.sampling import Sampling
from trainer.distributed.deepspeed.engine import Engine
from trainer.generation.next_token import choose
from trainer.report.metrics import Record

SAMPLING = Sampling()  # generate.py's defaults
ROWS = 16  # of which float8 products need a multiple


class Sampler:
    """Continues the plan's prompts. Texts depend only on the weights, the seed and the step."""

    def __init__(self, plan: TrainingPlan, vocabulary: Vocabulary) -> None:
        from tokenizers import Tokenizer

        tokenizer = Tokenizer.from_str(vocabulary.tokenizer_json)
        tokenizer.encode_special_tokens = True  # a prompt is text, whatever it looks like
        most = plan.model.context - 1  # a place for one token at least
        self._plan, self._vocabulary = plan, vocabulary
        self._prompts = [
            [vocabulary.end_of_text, *tokenizer.encode(prompt).ids][:most] for prompt in plan.sample_prompts
        ]

    def write(self, engine: Engine, step: int) -> list[Record]:
        """Return a text for each prompt; on all ranks, since under ZeRO-3 a forward pass is collective.

        Each token takes a forward pass over all that is there so far. A cache of keys and values would save
        little with texts this short, and DeepSpeed's engine passes none.
        """
        texts = [list(prompt) for prompt in self._prompts]
        ended = [False] * len(texts)
        context, longest = self._plan.model.context, max(map(len, texts), default=0)
        length = min(context, -(-(longest + self._plan.sample_tokens) // ROWS) * ROWS)
        for number in range(self._plan.sample_tokens):
            if all(ended):  # on every rank alike
                break
            tokens = torch.full((len(texts), length), self._vocabulary.end_of_text)  # [B, T]
            for row, text in enumerate(texts):
                tokens[row, : len(text)] = torch.tensor(text)
            last = torch.tensor([len(text) - 1 for text in texts])  # [B]
            chosen = choose(engine.logits(tokens, last).cpu(), SAMPLING, self._uniforms(step, number))
            for row, token in enumerate(chosen.tolist()):
                ended[row] |= token == self._vocabulary.end_of_text or len(texts[row]) == length
                if not ended[row]:
                    texts[row].append(token)
        entries = self._vocabulary.entries
        return [
            {"step": step, "prompt": prompt, "text": _decoded(entries, text[len(start) :])}
            for prompt, start, text in zip(self._plan.sample_prompts, self._prompts, texts, strict=True)
        ]

    def _uniforms(self, step: int, number: int) -> list[float]:
        """Return a number in [0, 1) for each text, from a hash: the training's generator is left alone."""
        seed = f"{self._plan.seed} {step} {number}"
        digests = (hashlib.sha256(f"{seed} {row}".encode()).digest() for row in range(len(self._prompts)))
        return [int.from_bytes(digest[:6]) / 2**48 for digest in digests]


def _decoded(entries: Sequence[bytes], tokens: Sequence[int]) -> str:
    return b"".join(entries[token] for token in tokens).decode(errors="replace")
