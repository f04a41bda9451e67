"""Whose turn it is: queues by registrable domain, one request at a time to each, spaced by its delay.

No locks and no clock of its own: `take` gives the next visit whose domain has rested long enough, and
`release` says when that domain may be asked again. A visit that a redirect sends to another domain is
pushed there, and waits in that domain's queue as any other, so nothing ever holds one domain while it
waits for another.
"""

import heapq
from collections import deque
from dataclasses import dataclass, field
from itertools import count
from typing import Generic, TypeVar

Visit = TypeVar("Visit")


@dataclass(slots=True)
class Domain(Generic[Visit]):
    """One registrable domain: what is to be asked of it, and from when on."""

    name: str
    queue: deque[Visit] = field(default_factory=deque)
    ready_at: float = 0.0
    in_rotation: bool = False  # also while its visit is under way


class Frontier(Generic[Visit]):
    """Visits waiting for their turn, of which at most `max_domains` domains are worked on at once.

    Domains beyond that wait whole: going through a few thousand to their ends keeps connections and
    robots.txt files in use, where a turn for each of a million would lose both between two visits.
    """

    def __init__(self, max_domains: int) -> None:
        self._max_domains = max_domains
        self._domains: dict[str, Domain[Visit]] = {}
        self._rotation: list[tuple[float, int, Domain[Visit]]] = []  # heap: waiting for their turn
        self._in_rotation = 0
        self._waiting: deque[Domain[Visit]] = deque()
        self._resting: list[tuple[float, int, Domain[Visit]]] = []  # heap: done for now
        self._order = count()  # ties in the heap go by age
        self._queued = 0

    def __len__(self) -> int:
        """Return how many visits are queued; those taken and not released do not count."""
        return self._queued

    def push(self, name: str, visit: Visit, *, first: bool = False) -> None:
        """Queue a visit for a domain, at the front if `first`."""
        domain = self._domains.get(name)
        if domain is None:
            domain = self._domains[name] = Domain(name)
        if first:
            domain.queue.appendleft(visit)
        else:
            domain.queue.append(visit)
        self._queued += 1
        if not domain.in_rotation and len(domain.queue) == 1:
            self._waiting.append(domain)
            self._fill_rotation()

    def has_more(self, domain: Domain[Visit]) -> bool:
        """Say whether visits are queued for a domain."""
        return bool(domain.queue)

    def take(self, now: float) -> tuple[Domain[Visit], Visit] | None:
        """Return a visit whose turn has come, with its domain, which has no other turn until released."""
        if not self._rotation or self._rotation[0][0] > now:
            return None
        _, _, domain = heapq.heappop(self._rotation)
        self._queued -= 1
        return domain, domain.queue.popleft()

    def release(self, domain: Domain[Visit], ready_at: float) -> None:
        """Free a domain for its next visit, no sooner than `ready_at`."""
        domain.ready_at = ready_at
        if domain.queue:
            self._schedule(domain)
            return
        domain.in_rotation = False
        self._in_rotation -= 1
        heapq.heappush(self._resting, (ready_at, next(self._order), domain))
        self._fill_rotation()

    def forget_rested(self, now: float) -> None:
        """Drop domains that have nothing queued and whose rest is over."""
        while self._resting and self._resting[0][0] <= now:
            _, _, domain = heapq.heappop(self._resting)
            if not domain.in_rotation and not domain.queue and domain.ready_at <= now:
                self._domains.pop(domain.name, None)

    def next_ready_at(self) -> float | None:
        """Return when the next turn comes, or None where no domain waits for one."""
        return self._rotation[0][0] if self._rotation else None

    def _schedule(self, domain: Domain[Visit]) -> None:
        heapq.heappush(self._rotation, (domain.ready_at, next(self._order), domain))

    def _fill_rotation(self) -> None:
        while self._waiting and self._in_rotation < self._max_domains:
            domain = self._waiting.popleft()
            domain.in_rotation = True
            self._in_rotation += 1
            self._schedule(domain)
