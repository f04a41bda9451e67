"""Compares vocabularies on a corpus: `usage.py` measures on Ray, `vocabulary_report.py` writes the report."""
