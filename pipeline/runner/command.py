"""What every command shares: options from the command line, and one plain line for a user's mistake."""

import signal
import sys
from collections.abc import Callable
from typing import TypeVar

import tyro

from pipeline.runner.names import without_secrets
from pipeline.runner.storage import is_unreachable
from pipeline.runner.terminal import shown

Options = TypeVar("Options")


def run_command(options_class: type[Options], main: Callable[[Options], None], description: str) -> None:
    """Parse the command line into `options_class`, call `main` with it, and exit.

    A mistake of the user's (`ValueError`, or an `OSError` such as a missing file) ends as one line
    `error: …` and exit code 1, an interrupt as one and code 130; anything else is our own defect and keeps
    its traceback.
    """
    options = tyro.cli(options_class, description=description, config=(tyro.conf.OmitArgPrefixes,))
    try:
        main(options)
    except KeyboardInterrupt:
        print("interrupted: run the same command again to go on", file=sys.stderr)
        sys.exit(128 + signal.SIGINT)
    except Exception as error:
        if isinstance(error, ValueError | OSError) or is_unreachable(error):
            sys.exit(shown(f"error: {without_secrets(' '.join(str(error).split()))}", sys.stderr))
        raise
