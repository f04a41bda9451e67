"""Which documents are copies of others, to the word or nearly.

`letters.py` finds the words of a text, `minhash.py` signs it, `bands.py` cuts signatures so that like ones
meet, `duplicates.py` matches them and joins what is alike; `stages.py` is the shell that does it on Ray.
"""
