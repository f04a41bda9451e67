"""What every command shares: options from the command line, and one plain line for a user's mistake."""

import signal
import sys
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import TypeVar

import tyro

from pipeline.runner.config_file import load_config
from pipeline.runner.names import without_secrets
from pipeline.runner.storage import is_unreachable
from pipeline.runner.terminal import protect_output, shown

Options = TypeVar("Options")
CONFIG_HELP = (
    "--config FILE takes options from a JSON file, such as the options.json that a run wrote; "
    "options on the command line win."
)


def run_command(
    options_class: type[Options],
    main: Callable[[Options], None],
    description: str,
    *,
    renamed: Mapping[str, str] | None = None,
) -> None:
    """Parse the command line into `options_class`, call `main` with it, and exit.

    A mistake of the user's (`ValueError`, or an `OSError` such as a missing file) ends as one line
    `error: …` and exit code 1, an interrupt as one and code 130; anything else is our own defect and keeps
    its traceback.

    Args:
        renamed: options by their old names, which are taken with a warning for one version.
    """
    # DeepSpeed's launcher adds --local_rank=N to every command, which the environment says as well.
    arguments = [argument for argument in sys.argv[1:] if not argument.startswith("--local_rank=")]
    arguments = [_current(argument, renamed or {}) for argument in arguments]
    with _one_line_errors():
        default, arguments = _from_config(options_class, arguments, renamed or {})
    options = tyro.cli(
        options_class,
        args=arguments,
        default=tyro.MISSING_NONPROP if default is None else default,
        description=f"{description}\n\n{CONFIG_HELP}",
        config=(tyro.conf.OmitArgPrefixes,),
    )
    protect_output()
    with _one_line_errors():
        main(options)


@contextmanager
def _one_line_errors() -> Iterator[None]:
    try:
        yield
    except KeyboardInterrupt:
        print("interrupted: run the same command again to resume", file=sys.stderr)
        sys.exit(128 + signal.SIGINT)
    except Exception as error:
        if isinstance(error, ValueError | OSError) or is_unreachable(error):
            sys.exit(shown(f"error: {without_secrets(' '.join(str(error).split()))}", sys.stderr))
        raise


def _from_config(
    options_class: type[Options], arguments: list[str], renamed: Mapping[str, str]
) -> tuple[Options | None, list[str]]:
    """Return the options of `--config FILE`, if it is given, and the other arguments."""
    for place, argument in enumerate(arguments):
        name, separator, value = argument.partition("=")
        if name != "--config":
            continue
        rest = arguments[place + 1 :]
        if not separator:
            if not rest:
                raise ValueError("--config needs a file")
            value, rest = rest[0], rest[1:]
        fields = {_field(old): _field(new) for old, new in renamed.items()}
        return load_config(value, options_class, fields), [*arguments[:place], *rest]
    return None, arguments


def _field(option: str) -> str:
    return option.removeprefix("--").replace("-", "_")


def _current(argument: str, renamed: Mapping[str, str]) -> str:
    """Return an argument under its option's present name."""
    name, separator, value = argument.partition("=")
    # Python's own spelling of an option, with underscores, is one that tyro takes.
    new = renamed.get(name.replace("_", "-") if name.startswith("--") else name)
    if new is None:
        return argument
    print(f"warning: {name} is now {new}; the old name goes with the next version", file=sys.stderr)
    return new + separator + value
