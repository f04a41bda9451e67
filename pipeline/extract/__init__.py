"""From pages to documents: the text of each, in a sandbox.

`pages.py` sends each page through a child process (`sandbox.py`), where all of `reading.py` happens to it.
`characters.py` decodes it, `prefilter.py` drops what is clearly not wanted, `mending.py` repairs what old
pages do, `code_blocks.py` keeps the lines of preformatted text, `extraction.py` extracts the main text.
`patches.py` makes its libraries faster: `searches.py` and `survey.py` find what XPath expressions ask for.
`stages.py` runs all this on Ray.
"""
