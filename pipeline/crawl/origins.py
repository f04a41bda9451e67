"""What each origin lets us do, asked before its first page; the pages that wait for the answer wait here.

No clock and no queue of its own: every method gives the visits that are to go on, and the crawler sends them.
"""

from collections.abc import Callable, Iterator

from pipeline.crawl import robots
from pipeline.crawl.fetch import FetchFailure
from pipeline.crawl.options import CrawlOptions
from pipeline.crawl.policies import Policies, Policy
from pipeline.crawl.visits import Purpose, Target, Visit
from pipeline.runner.records import Drop
from pipeline.web.http_head import Response
from pipeline.web.optout import NO_TDM_RULES, TDMREP_PATH, TdmRules


class Origins:
    """The policies of the origins, and the visits that wait for one."""

    def __init__(self, options: CrawlOptions, clock: Callable[[], float]) -> None:
        self._options = options
        self._clock = clock
        self._policies = Policies(2 * options.max_domains)
        self._robots: dict[str, robots.Robots] = {}  # of origins whose tdmrep.json is still to come
        self._parked: dict[str, list[Visit]] = {}  # by origin, until its policy is known

    def drop_for(self, target: Target) -> Drop | None:
        """Say why a page may not be asked for by what is known of its origin, or None."""
        policy = self._policies.get(target.origin, self._clock())
        return None if policy is None else policy.drop_for(target.url, self._options.give_up_after_opt_outs)

    def crawl_delay_s(self, origin: str) -> float:
        """Return how long to leave an origin alone between two requests."""
        options = self._options
        policy = self._policies.get(origin, self._clock())
        if policy is None:
            policy = Policy(robots=self._robots.get(origin, robots.ALLOW_ALL))
        return policy.crawl_delay_s(options.delay_s, options.max_crawl_delay_s)

    def remember(self, origin: str, outcome: Response | FetchFailure) -> None:
        """Take note of whether a page opted out: too many in a row speak for the whole origin."""
        policy = self._policies.get(origin, self._clock())
        if policy is None:
            return
        if isinstance(outcome, Response):
            policy.opt_outs_in_a_row = 0
        elif outcome.drop.reason.startswith("opt-out") and outcome.status:
            policy.opt_outs_in_a_row += 1

    def must_be_asked(self, visit: Visit) -> bool:
        """Say whether its origin is to be asked first; what waited for the answer once never waits again."""
        asks = self._options.respect_robots or self._options.respect_opt_outs
        known = self._policies.get(visit.target.origin, self._clock()) is not None
        return asks and not known and visit.cleared_by != visit.target.origin

    def park(self, visit: Visit) -> Iterator[Visit]:
        """Keep a page's visit until its origin's policy is known; give the errand that asks for it."""
        origin = visit.target.origin
        parked = self._parked.setdefault(origin, [])
        parked.append(visit)
        if len(parked) > 1:
            return
        if self._options.respect_robots:
            yield _errand(Purpose.ROBOTS, origin, "/robots.txt", visit)
        else:
            yield _errand(Purpose.TDMREP, origin, TDMREP_PATH, visit)

    def robots_known(self, errand: Visit, found: robots.Robots) -> Iterator[Visit | tuple[Visit, Drop]]:
        """Take an origin's robots.txt; give the next errand, or what waited."""
        origin = errand.subject
        reachable = found.unreachable is None and found.drop_for(origin + TDMREP_PATH) is None
        if reachable and self._options.respect_opt_outs:
            self._robots[origin] = found
            yield _errand(Purpose.TDMREP, origin, TDMREP_PATH, self._parked[origin][0])
        else:
            yield from self._policy_known(origin, found, NO_TDM_RULES)

    def tdm_known(self, errand: Visit, tdm: TdmRules) -> Iterator[Visit | tuple[Visit, Drop]]:
        """Take an origin's reservations; give what waited."""
        found = self._robots.pop(errand.subject, robots.ALLOW_ALL)
        yield from self._policy_known(errand.subject, found, tdm)

    def _policy_known(
        self, origin: str, found: robots.Robots, tdm: TdmRules
    ) -> Iterator[Visit | tuple[Visit, Drop]]:
        """Give the pages that waited, the last one first, each with its drop if it has one."""
        policy = Policy(robots=found, tdm=tdm, asked_at=self._clock())
        self._policies.put(origin, policy)
        for visit in reversed(self._parked.pop(origin)):
            drop = policy.drop_for(visit.target.url, self._options.give_up_after_opt_outs)
            if drop is None:
                visit.cleared_by = origin
            yield visit if drop is None else (visit, drop)


def _errand(purpose: Purpose, origin: str, path: str, visit: Visit) -> Visit:
    return Visit(purpose, origin, Target(origin + path, origin, visit.target.domain))
