"""The folder that a command writes its results to: a new one, or its own of an earlier run."""

from typing import Final

from pipeline.runner import storage
from pipeline.runner.json_text import parse_json

OTHERS: Final = ("options.json", "funnel.json")
"""What is in the folder of any run, and in a build's corpus."""


def check_output(folder: str, *results: str, option: str = "") -> None:
    """Reject an output address that is a file, or the folder of another command.

    Its options.json would be replaced, without which a build is not resumed and a training run not known, and
    what it has published might be removed.

    Args:
        folder: the address.
        results: what this command writes before its options.json; one of them tells its own folder.
        option: an option that no other command with such results has; its options.json tells then.

    Raises:
        ValueError: it is one.
    """
    filesystem, path = storage.locate(folder)
    if filesystem.isfile(path):
        raise ValueError(f"--output {folder} is a file: give a folder or an unused name")
    has_others, is_own = (
        any(storage.exists(storage.join(folder, name)) for name in names) for names in (OTHERS, results)
    )
    if has_others and not (is_own and _has_option(folder, option)):
        raise ValueError(f"{folder} holds another command's results: choose another --output")


def _has_option(folder: str, option: str) -> bool:
    """Say whether an options.json may be of the command that has an option; one that is damaged may."""
    try:
        earlier = parse_json(storage.read_text(storage.join(folder, "options.json")))
    except (OSError, ValueError):
        return True
    return not option or (isinstance(earlier, dict) and option in earlier)
