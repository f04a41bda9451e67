"""What in an address says who came or from where, and not which page it is: `tracking.tsv`, applied."""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from fnmatch import translate
from functools import cache

from pipeline.web.lists import BUNDLED, read_list

_TOKEN = r"(?=.*[0-9])(?=.*[A-Za-z])[0-9A-Za-z]{20,}\Z"


@dataclass(frozen=True)
class Rule:
    """When something of a known form counts as tracking."""

    host: str  # with all under it, or *
    pattern: re.Pattern[str]  # of a path's passage, or of a parameter's value

    def applies_to(self, host: str) -> bool:
        """Say whether the rule is meant for this host."""
        return self.host in ("*", host) or host.endswith("." + self.host)


@dataclass(frozen=True)
class Rules:
    """The list, laid out for look-up."""

    passages: tuple[Rule, ...]
    parameters: Mapping[str, tuple[Rule, ...]]  # by name in lower case
    families: Mapping[str, Rule]  # by the beginning of a name with an open end
    beginnings: tuple[str, ...]


@cache
def tracking_rules() -> Rules:
    """Read `tracking.tsv`; its head says what the columns mean."""
    passages: list[Rule] = []
    parameters: dict[str, tuple[Rule, ...]] = {}
    families: dict[str, Rule] = {}
    for place, name, host, value, _why in read_list(
        BUNDLED / "tracking.tsv", ("place", "name", "host", "value", "why")
    ):
        if place == "path":
            passages.append(Rule(host, re.compile(name, re.IGNORECASE)))
            continue
        rule = Rule(host, re.compile(_TOKEN if value == "token" else translate(value)))
        if name.endswith("*"):
            families[name.removesuffix("*")] = rule
        else:
            parameters[name] = (*parameters.get(name, ()), rule)
    return Rules(tuple(passages), parameters, families, tuple(families))


def is_tracking(parameter: str, host: str) -> bool:
    """Say whether a query parameter, `name=value` or a bare name, tells nothing of the page."""
    name, _, value = parameter.partition("=")
    name = name.lower()
    rules = tracking_rules()
    named = rules.parameters.get(name)
    if named and any(rule.applies_to(host) and rule.pattern.match(value) for rule in named):
        return True
    return name.startswith(rules.beginnings) and any(
        name.startswith(beginning) and rule.applies_to(host) and rule.pattern.match(value) is not None
        for beginning, rule in rules.families.items()
    )


def without_passages(path: str, host: str) -> str:
    """Cut session ids and the like out of a path."""
    if ";" not in path and "(" not in path:  # every passage of the list has one of them
        return path
    for rule in tracking_rules().passages:
        if rule.applies_to(host):
            path = rule.pattern.sub("", path)
    return path
