"""Pages to documents to survivors: extract the text, keep English, drop Wikipedia, remove duplicates.

Each module is a plain function over one page or document, or over one array of signatures; `steps.py`
is the thin shell that reads partitions, calls them, and writes partitions.
"""
