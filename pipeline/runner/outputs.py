"""The folder that a command writes its results to: a new one, or its own of an earlier run."""

from typing import Final

from pipeline.runner import storage

OTHERS: Final = ("options.json", "funnel.json")
"""What is in the folder of any run, and in a build's corpus."""


def check_output(folder: str, *results: str) -> None:
    """Reject an output address that is a file, or the folder of another command.

    Its options.json would be replaced, without which a build is not resumed and a training run not known.

    Args:
        folder: the address.
        results: what this command writes before its options.json; one of them tells its own folder.

    Raises:
        ValueError: it is one.
    """
    filesystem, path = storage.locate(folder)
    if filesystem.isfile(path):
        raise ValueError(f"--output {folder} is a file: give a folder or an unused name")
    has_others, is_own = (
        any(storage.exists(storage.join(folder, name)) for name in names) for names in (OTHERS, results)
    )
    if has_others and not is_own:
        raise ValueError(f"{folder} holds another command's results: choose another --output")
