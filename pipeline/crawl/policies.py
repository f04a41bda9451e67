"""What each origin lets us do: its robots.txt and its TDM reservations, asked once and kept a day at most."""

from collections import OrderedDict
from dataclasses import dataclass

from pipeline.crawl.robots import ALLOW_ALL, MAX_AGE_S, Robots
from pipeline.runner.records import Drop
from pipeline.web.optout import NO_TDM_RULES, TdmRules

MAX_KEPT_BYTES = 200 * 1024 * 1024
ENTRY_BYTES = 1_000  # of a policy without any rules
TDM_RULE_BYTES = 300


@dataclass(slots=True)
class Policy:
    """What one origin (scheme, host and port) lets us do, and how its pages have answered."""

    robots: Robots = ALLOW_ALL
    tdm: TdmRules = NO_TDM_RULES
    asked_at: float = 0.0
    opt_outs_in_a_row: int = 0

    def drop_for(self, url: str, give_up_after: int) -> Drop | None:
        """Say why a page may not be asked for, or None if it may.

        Args:
            url: of the page.
            give_up_after: opt-outs in a row after which the rest of the origin is not asked; 0: never.
        """
        drop = self.robots.drop_for(url)
        if drop is not None:
            return drop
        opt_out = self.tdm.opt_out(url)
        if opt_out is not None:
            return Drop(opt_out.reason, url, opt_out.where)
        if give_up_after and self.opt_outs_in_a_row >= give_up_after:
            return Drop("opt-out of the whole site", url, f"{give_up_after} pages in a row opted out")
        return None

    def crawl_delay_s(self, default_s: float, max_s: float) -> float:
        """Return how long to leave the origin alone between two requests."""
        asked_for = self.robots.crawl_delay_s()
        return default_s if asked_for is None else min(asked_for, max_s)


class Policies:
    """The policies of the origins asked lately; those not needed for longest go when room runs out."""

    def __init__(self, max_origins: int) -> None:
        self._max_origins = max_origins
        self._kept: OrderedDict[str, Policy] = OrderedDict()
        self._bytes = 0

    def get(self, origin: str, now: float) -> Policy | None:
        """Return an origin's policy, or None where it is not known or older than a day."""
        policy = self._kept.get(origin)
        if policy is None or now - policy.asked_at >= MAX_AGE_S:
            return None
        self._kept.move_to_end(origin)
        return policy

    def put(self, origin: str, policy: Policy) -> None:
        """Keep an origin's policy."""
        self._forget(origin)
        self._kept[origin] = policy
        self._bytes += _size_bytes(policy)
        while len(self._kept) > 1 and self._is_full():
            self._forget(next(iter(self._kept)))

    def _is_full(self) -> bool:
        return self._bytes > MAX_KEPT_BYTES or len(self._kept) > self._max_origins

    def _forget(self, origin: str) -> None:
        policy = self._kept.pop(origin, None)
        if policy is not None:
            self._bytes -= _size_bytes(policy)


def _size_bytes(policy: Policy) -> int:
    patterns = sum(TDM_RULE_BYTES + 4 * len(pattern) for pattern, _ in policy.tdm.rules)
    return ENTRY_BYTES + policy.robots.size_bytes + patterns
