"""Put training runs side by side on one page, or show them while they run.

python launch/compare_runs.py out/a out/b
python launch/compare_runs.py out/run --serve 8000
"""

import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

if __package__ in (None, ""):  # run as a plain file, from wherever: the packages lie beside this folder
    sys.path[0] = str(Path(__file__).resolve().parents[1])

from annotated_types import Ge, Le
from tyro.conf import Positional

from pipeline.runner.command import run_command
from trainer.report.page import write_comparison
from trainer.report.server import serve


@dataclass(frozen=True, kw_only=True)
class CompareOptions:
    """The command line of `launch/compare_runs.py`."""

    runs: Positional[tuple[str, ...]]
    """Folders of training runs, up to six."""
    output: str = "comparison.html"
    """The page."""
    serve: Annotated[int | None, Ge(0), Le(65_535)] = None
    """Instead, show the page on this port of this machine, from the runs' files as they are then; 0: any."""


def main(options: CompareOptions) -> None:
    """Write the page, or serve it until interrupted."""
    folders = [Path(run) for run in options.runs]
    if options.serve is not None:
        serve(folders, port=options.serve)
    else:
        write_comparison(folders, Path(options.output))
        print(options.output)


if __name__ == "__main__":
    run_command(CompareOptions, main, "Put training runs side by side on one page.")
