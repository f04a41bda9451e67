"""What a run leaves to look at.

`metrics.py` writes its figures, `history.py` reads them, `page.py` shows them, `charts.py` draws lines. The
page is one file of HTML without scripts: it can be opened from a disk or sent by mail, and it reloads itself
while the run goes on.
"""
