"""A small corpus."""

from made_corpus import corpus, run_work, texts, write_corpus

__all__ = ["corpus", "run_work", "texts", "write_corpus"]
