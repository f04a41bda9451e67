"""A page becomes text in a process that has imported no more than that needs."""

import subprocess
import sys


def test_reading_a_page_imports_nothing_of_tables_or_stores() -> None:
    """Each sandbox's template would take the time of their imports."""
    command = (
        "import sys\nfrom pipeline.extract.extraction import extract_text\n"
        "from pipeline.extract import reading\nfrom pipeline.extract.pages import WARM_UP\n"
        "assert extract_text(WARM_UP, '', None, ('en',)).text\n"
        "print(sorted({'fsspec', 'numpy', 'pandas', 'pyarrow', 'ray'} & sys.modules.keys()))"
    )
    found = subprocess.run([sys.executable, "-c", command], capture_output=True, text=True, check=True)
    assert found.stdout == "[]\n"
