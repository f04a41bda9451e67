"""Two corpora side by side: what each holds, how alike they are, and what changed between two builds.

`sides.py` finds the files of either corpus, `survey.py` counts and signs its documents, `words.py` and
`domains.py` compare what was counted, `matching.py` finds the near-duplicates across. `changes.py` says which
documents came and went between two builds, by which rule, and which options differ. `stages.py` and
`change_stages.py` are the shell; `comparison.py` runs the stages and puts their results together, `page.py`
shows them.
"""
