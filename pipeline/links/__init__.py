"""From Reddit dumps to links: which outbound links count, and how much karma each has.

`submissions.py` reads dumps, `candidates.py` turns submissions into candidates or says why not, `merging.py`
makes one link of a link's submissions; `stages.py` is the shell that does both on Ray.
"""
