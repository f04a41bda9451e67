"""Batched decoding: each sequence is independent of the batch, and may outgrow the context."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from random import Random

import torch
from torch import Tensor

from trainer.config.sampling import Sampling
from trainer.generation.next_token import choose, penalised
from trainer.model.gpt2 import GPT2
from trainer.model.kv_cache import KeyValues


@dataclass(kw_only=True)
class TokenSequence:
    """One sequence: its tokens in the context, and its random stream."""

    tokens: list[int]  # the newest has not been read yet
    random: Random = field(default_factory=Random)


class DecodingBatch:
    """Sequences that grow together, one token at a time; each token is read once.

    When the context is full, its older half is dropped and the rest is read again, since GPT-2's learned
    positions cannot slide. Of a prompt longer than the context, the end is used.
    """

    def __init__(
        self, model: GPT2, rows: Sequence[TokenSequence], sampling: Sampling, *, most_tokens: int
    ) -> None:
        """Read prompts of at least one token each.

        Args:
            most_tokens: maximum length of any sequence; memory is allocated for that, or for the context.
        """
        self._model, self._sampling = model, sampling
        self._context = model.config.context
        self._rows = list(rows)
        weight = model.wte.weight
        self._past = KeyValues(
            model.config, sequences=len(rows), positions=min(most_tokens, self._context), like=weight
        )
        self._seen = torch.zeros(len(rows), model.config.vocabulary, dtype=torch.bool, device=weight.device)
        with torch.inference_mode():
            self._read(range(len(rows)))

    @torch.inference_mode()
    def replace(self, index: int, row: TokenSequence) -> None:
        """Replace a sequence by another."""
        self._rows[index] = row
        self._read([index])

    @torch.inference_mode()
    def keep(self, indices: Sequence[int]) -> None:
        """Keep only these sequences."""
        self._rows = [self._rows[index] for index in indices]
        self._past.keep(indices)
        self._seen = self._seen[indices]

    @torch.inference_mode()
    def step(self) -> tuple[list[int], list[float]]:
        """Add a token to each sequence; return the tokens, and their log-probabilities under the model."""
        self._forget()
        newest = torch.tensor([row.tokens[-1:] for row in self._rows], device=self._seen.device)  # [B, 1]
        logits = self._logits(self._model.features(newest, self._past)[:, 0])  # [B, V]
        uniforms = [row.random.random() for row in self._rows]
        penalty = self._sampling.repetition_penalty
        weighed = logits if penalty == 1 else penalised(logits, self._seen, penalty)
        chosen = choose(weighed, self._sampling, uniforms)  # [B]
        log_probability = logits.gather(-1, chosen[:, None])[:, 0] - logits.logsumexp(-1)  # [B]
        self._seen.scatter_(1, chosen[:, None], True)
        # Together, so that the GPU is synchronized once.
        tokens, log_probabilities = torch.stack((chosen.double(), log_probability.double())).tolist()
        for row, token in zip(self._rows, tokens, strict=True):
            row.tokens.append(int(token))
        return [int(token) for token in tokens], log_probabilities

    def _logits(self, features: Tensor) -> Tensor:
        logits = torch.nn.functional.linear(features, self._model.wte.weight)  # [B, C] -> [B, V padded]
        return logits[:, : self._model.config.vocabulary].float()

    def _forget(self) -> None:
        """Drop the older half of sequences that fill the context."""
        full = [index for index, row in enumerate(self._rows) if len(row.tokens) > self._context]
        if full:
            for index in full:
                self._rows[index].tokens = self._rows[index].tokens[-max(1, self._context // 2) :]
            self._read(full)

    def _read(self, indices: Sequence[int]) -> None:
        """Read sequences again, except their newest tokens; equal ones once."""
        for index in indices:
            self._rows[index].tokens = self._rows[index].tokens[-self._context :]
            assert self._rows[index].tokens, "a sequence has at least one token"
            self._seen[index] = False
            self._seen[index, self._rows[index].tokens] = True
            self._past.lengths[index] = len(self._rows[index].tokens) - 1
        before = [tuple(self._rows[index].tokens[:-1]) for index in indices]
        distinct = list(dict.fromkeys(before))
        longest = max(map(len, distinct))
        if longest:
            padded = [[*tokens, *[0] * (longest - len(tokens))] for tokens in distinct]
            fresh = KeyValues(
                self._model.config, sequences=len(distinct), positions=longest, like=self._model.wte.weight
            )
            self._model.features(torch.tensor(padded, device=self._seen.device), fresh)
            self._past.replace(indices, fresh, [distinct.index(tokens) for tokens in before])
