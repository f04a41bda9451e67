"""What becomes of a record that goes no further. Apart from the schemas, which cost Arrow's import."""

from dataclasses import dataclass


@dataclass(slots=True)  # not frozen, which would triple the cost of making one: dumps bring forth a billion
class Drop:
    """A record that goes no further: why, which address it had, and what exactly was wrong.

    `reason` is one of a few short phrases per step ("low karma", "robots.txt"): it becomes a row of
    the funnel, so nothing that varies from record to record belongs in it. That goes in `detail`.
    """

    reason: str
    url: str = ""
    detail: str = ""
