"""Texts that the model writes while it is trained, to be looked at beside its losses."""

import hashlib
from collections.abc import Sequence

import torch

from tokenizer.bpe.vocabulary import Vocabulary
from trainer.config.plan import TrainingPlan
from trainer.config.sampling import Sampling
from trainer.distributed.deepspeed.engine import Engine
from trainer.generation.next_token import choose
from trainer.model.kv_cache import KeyValues
from trainer.report.metrics import Record

SAMPLING = Sampling()  # generate.py's defaults


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
        """Return a text for each prompt; on all ranks, since under ZeRO-3 a forward pass is collective."""
        plan, end = self._plan, self._vocabulary.end_of_text
        rows, longest = len(self._prompts), max(map(len, self._prompts))
        texts: list[list[int]] = [[] for _ in range(rows)]
        ended = [False] * rows
        kind = torch.bfloat16 if plan.precision == "bf16" else torch.float32
        past = KeyValues(
            plan.model,
            sequences=rows,
            positions=min(plan.model.context, longest + plan.sample_tokens),
            like=torch.empty(0, dtype=kind, device=engine.device),
        )
        tokens = torch.tensor([prompt + [end] * (longest - len(prompt)) for prompt in self._prompts])
        last = torch.tensor([len(prompt) - 1 for prompt in self._prompts])  # [B]: what is beyond is not read
        for number in range(min(plan.sample_tokens, plan.model.context - longest)):
            logits = engine.logits(tokens, last, past)  # [B, V]
            if number == 0:
                past.lengths = [len(prompt) for prompt in self._prompts]
            chosen = choose(logits.cpu(), SAMPLING, self._uniforms(step, number))  # [B]
            for row, token in enumerate(chosen.tolist()):
                ended[row] |= token == end
                if not ended[row]:
                    texts[row].append(token)
            if all(ended):  # on every rank alike
                break
            tokens, last = chosen[:, None], torch.zeros(rows, dtype=torch.int64)
        entries = self._vocabulary.entries
        return [
            {"step": step, "prompt": prompt, "text": _decoded(entries, text)}
            for prompt, text in zip(plan.sample_prompts, texts, strict=True)
        ]

    def _uniforms(self, step: int, number: int) -> list[float]:
        """Return a number in [0, 1) for each text, from a hash: the training's generator is left alone."""
        seed = f"{self._plan.seed} {step} {number}"
        digests = (hashlib.sha256(f"{seed} {row}".encode()).digest() for row in range(len(self._prompts)))
        return [int.from_bytes(digest[:6]) / 2**48 for digest in digests]


def _decoded(entries: Sequence[bytes], tokens: Sequence[int]) -> str:
    return b"".join(entries[token] for token in tokens).decode(errors="replace")
