"""What is not wanted, and why: blocklists as data files, looked up by host, path and subreddit."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from pipeline.web.lists import BUNDLED, read_list

KINDS = ("host", "host-ending", "passage", "ending", "subreddit")


@dataclass(frozen=True, kw_only=True)
class Blocklist:
    """One profile: each mapping leads from what is blocked to the reason; `webtext.tsv` tells them apart."""

    hosts: Mapping[str, str]
    host_endings: Mapping[str, str]
    passages: Mapping[str, str]
    endings: Mapping[str, str]
    subreddits: Mapping[str, str]

    def host_reject_reason(self, host: str) -> str | None:
        """Say why a canonical host is blocked, or None if it is not; the longest entry decides."""
        name = host
        while name:
            if name in self.hosts:
                return self.hosts[name]
            name = name.partition(".")[2]
        return next((reason for ending, reason in self.host_endings.items() if host.endswith(ending)), None)

    def path_reject_reason(self, host: str, path: str) -> str | None:
        """Say why a canonical path is blocked, or None if it is not."""
        dot = path.rfind(".")
        if dot > 0 and (reason := self.endings.get(path[dot:].lower())):
            return reason
        place = host + path
        for passage, reason in self.passages.items():
            if passage in place:
                return reason
        return None

    def subreddit_reject_reason(self, subreddit: str) -> str | None:
        """Say why nothing is taken from a subreddit, or None if it is."""
        return self.subreddits.get(subreddit.lower())


def load_blocklist(profile: str) -> Blocklist:
    """Load a profile that comes with the project, by its name, or one's own file, by its path.

    Raises:
        ValueError: there is none, or the file is no blocklist.
    """
    bundled = BUNDLED / "blocklists" / f"{profile}.tsv"
    file = bundled if bundled.is_file() else Path(profile)
    if not file.is_file():
        raise ValueError(f"no blocklist {profile}: it is neither a file nor one of {', '.join(profiles())}")
    entries: dict[str, dict[str, str]] = {kind: {} for kind in KINDS}
    for kind, value, reason, _why in read_list(file, ("kind", "value", "reason", "why")):
        if kind not in entries or not value or not reason:
            raise ValueError(
                f"{file}: {kind!r} is no kind, or its value or reason is missing; kinds: {', '.join(KINDS)}"
            )
        entries[kind][value.lower()] = reason
    return Blocklist(
        hosts=entries["host"],
        host_endings=entries["host-ending"],
        passages=entries["passage"],
        endings=entries["ending"],
        subreddits=entries["subreddit"],
    )


def profiles() -> list[str]:
    """Return the names of the blocklists that come with the project."""
    names = (file.name for file in (BUNDLED / "blocklists").iterdir())
    return sorted(name.removesuffix(".tsv") for name in names if name.endswith(".tsv"))
