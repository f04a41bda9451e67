"""From pages to documents: the text of each, in a sandbox.

`pages.py` sends each page through a child process (`sandbox.py`), where all of `reading.py` happens to it:
`characters.py` decodes it, `look.py` drops what is surely not wanted, `lighten.py` spares the parser what is
no text, `mending.py` repairs what old pages do, and `extraction.py` takes the main text out; `stages.py` is
the shell that does it on Ray.
"""
