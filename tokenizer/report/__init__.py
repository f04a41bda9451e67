"""What a vocabulary makes of a corpus: `usage.py` measures it on Ray, `vocabulary_report.py` tells of it."""
