"""Why a range of an archive's file cannot be had."""

from pipeline.runner.names import without_secrets

TEMPORARY = frozenset({408, 429, 500, 502, 503, 504})
STATUS_REASONS = {
    401: "archive forbidden", 403: "archive forbidden", 404: "archive file not found",
    410: "archive file not found", 416: "outside the archive file",
}  # fmt: skip
UNAVAILABLE = "archive unavailable"


class RangeError(Exception):
    """A range cannot be had: the reason as the funnel counts it, and what exactly was wrong."""

    def __init__(self, reason: str, detail: str, *, temporary: bool = False, retry_after: str = "") -> None:
        super().__init__(f"{reason}: {detail}")
        self.reason, self.detail = reason, without_secrets(detail)[:300]
        self.temporary, self.retry_after = temporary, retry_after
