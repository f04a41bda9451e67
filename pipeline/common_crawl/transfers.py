"""libcurl's transfers on an event loop: many at once, each of them awaited."""

import asyncio
import selectors

import pycurl

# What libcurl waits for, and what it is told has come.
AWAITED = {
    pycurl.POLL_IN: selectors.EVENT_READ,
    pycurl.POLL_OUT: selectors.EVENT_WRITE,
    pycurl.POLL_INOUT: selectors.EVENT_READ | selectors.EVENT_WRITE,
}


class TransferError(Exception):
    """A transfer failed; the message is libcurl's."""


class Transfers:
    """Performs transfers on the loop that was running when it was made.

    libcurl says which sockets it waits for, and when it wants to be called again. The sockets have a selector
    of their own (epoll or kqueue), and that is what the loop watches: to add a socket to the loop and to take
    it out again for each transfer would cost more than all that libcurl does.
    """

    def __init__(self, connections: int) -> None:
        """Keep so many connections at most."""
        self._loop = asyncio.get_running_loop()
        self._under_way: dict[pycurl.Curl, asyncio.Future[None]] = {}
        self._is_due = False  # to be called as soon as may be
        self._due_at: float | None = None
        self._timer: asyncio.TimerHandle | None = None
        self._sockets = selectors.DefaultSelector()
        self._watched: set[int] = set()
        self._loop.add_reader(self._sockets, self._on_sockets)
        self._multi = pycurl.CurlMulti()
        self._multi.setopt(pycurl.M_MAX_TOTAL_CONNECTIONS, connections)
        self._multi.setopt(pycurl.M_MAXCONNECTS, connections)
        self._multi.setopt(pycurl.M_SOCKETFUNCTION, self._watch)
        self._multi.setopt(pycurl.M_TIMERFUNCTION, self._remind)

    async def perform(self, transfer: pycurl.Curl) -> None:
        """Perform a transfer that has its options already.

        Raises:
            TransferError: it failed.
        """
        done = self._under_way[transfer] = self._loop.create_future()
        self._multi.add_handle(transfer)
        try:
            await done
        finally:
            if self._under_way.pop(transfer, None):  # cancelled
                self._multi.remove_handle(transfer)

    def close(self) -> None:
        """Close all connections; no transfer may be under way."""
        self._loop.remove_reader(self._sockets)
        if self._timer is not None:
            self._timer.cancel()
        self._multi.close()
        self._sockets.close()

    def _watch(self, event: int, socket: int, *given: object) -> None:
        """Wait for what libcurl asks for at a socket, or no more."""
        if event == pycurl.POLL_REMOVE:
            self._watched.discard(socket)
            self._sockets.unregister(socket)
        elif socket in self._watched:
            self._sockets.modify(socket, AWAITED[event])
        else:
            self._watched.add(socket)
            self._sockets.register(socket, AWAITED[event])

    def _remind(self, after_ms: int) -> None:
        """Call libcurl after so long, instead of when it asked before; -1: no more."""
        self._due_at = self._loop.time() + after_ms / 1000 if after_ms > 0 else None
        if after_ms == 0 and not self._is_due:
            self._is_due = True
            self._loop.call_soon(self._act)
        elif self._due_at is not None and (self._timer is None or self._timer.when() > self._due_at):
            self._set_timer(self._due_at)

    def _set_timer(self, at: float) -> None:
        if self._timer is not None:
            self._timer.cancel()
        self._timer = self._loop.call_at(at, self._on_timer)

    def _on_timer(self) -> None:
        self._timer = None
        if self._due_at is not None and self._due_at > self._loop.time():
            self._set_timer(self._due_at)  # it was put off
        elif self._due_at is not None:
            self._act()

    def _act(self) -> None:
        self._is_due = False
        self._multi.socket_action(pycurl.SOCKET_TIMEOUT, 0)
        self._end_transfers()

    def _on_sockets(self) -> None:
        for key, events in self._sockets.select(0):  # of a socket in error, both
            come = pycurl.CSELECT_IN if events & selectors.EVENT_READ else 0
            come |= pycurl.CSELECT_OUT if events & selectors.EVENT_WRITE else 0
            self._multi.socket_action(key.fd, come)
        self._end_transfers()

    def _end_transfers(self) -> None:
        waiting = 1
        while waiting:
            waiting, succeeded, failed = self._multi.info_read()
            for transfer in succeeded:
                self._end(transfer, None)
            for transfer, number, detail in failed:
                self._end(transfer, TransferError(detail or f"error {number} of libcurl"))

    def _end(self, transfer: pycurl.Curl, error: TransferError | None) -> None:
        self._multi.remove_handle(transfer)
        done = self._under_way.pop(transfer)
        if done.done():  # cancelled
            return
        if error is None:
            done.set_result(None)
        else:
            done.set_exception(error)
