"""Ranges of the files of an archive that a web server has, by libcurl.

libcurl asks for a range at a third of aiohttp's cost in CPU time (docs/decisions.md), with the same proxies,
netrc file and certificates.
"""

import os
import ssl
from collections.abc import Mapping
from pathlib import Path
from urllib.parse import quote
from urllib.request import getproxies, proxy_bypass

import pycurl
from yarl import URL

from pipeline.common_crawl.range_errors import STATUS_REASONS, TEMPORARY, UNAVAILABLE, RangeError
from pipeline.common_crawl.transfers import TransferError, Transfers

TIMEOUT_S = 120
PIECE_BYTES = 64 * 1024
MOST_REDIRECTS = 10
HEADERS = ["Accept-Encoding: identity", "User-Agent: Outbound"]


class HttpReader:
    """Reads ranges over HTTP/1.1, one request a connection at a time."""

    def __init__(self, root: str, connections: int) -> None:
        """Take the address that all files' names follow; what is after a question mark follows the names."""
        address, _, query = root.rstrip("/").partition("?")
        self._root, self._query = str(URL(address)).rstrip("/"), f"?{query}" if query else ""
        self._options = _of_environment(URL(address))
        self._connections = connections
        self._transfers: Transfers | None = None
        self._idle: list[_Range] = []
        self._named = "", ""  # the last file, whose neighbours come next, and its address

    async def read(self, file: str, begin: int, end: int) -> bytes:
        """Return the bytes from `begin` to before `end`, fewer at the file's end.

        Raises:
            RangeError: they cannot be had.
        """
        if self._transfers is None:
            self._transfers = Transfers(self._connections)
        found = self._idle.pop() if self._idle else _Range(self._options)
        try:
            found.ask(self._address(file), begin, end)
            await self._transfers.perform(found.transfer)
        except (TransferError, pycurl.error) as error:
            if not found.is_too_long:
                raise RangeError(UNAVAILABLE, str(error), temporary=True) from error
        finally:
            self._idle.append(found)
        return found.body(begin, end)

    def _address(self, file: str) -> str:
        if self._named[0] != file:
            self._named = file, f"{self._root}/{quote(file)}{self._query}"
        return self._named[1]

    async def close(self) -> None:
        """Close all connections."""
        if self._transfers is not None:
            self._transfers.close()
            self._transfers = None
        for found in self._idle:
            found.transfer.close()
        self._idle.clear()


class _Range:
    """A transfer, used again and again, and what came of the last one."""

    def __init__(self, options: Mapping[int, str | int]) -> None:
        self.is_too_long = False
        self._size = self._most = 0
        self._parts: list[bytes] = []
        self._head: list[bytes] = []
        self.transfer = transfer = pycurl.Curl()
        for option, value in {
            pycurl.HTTPHEADER: HEADERS, pycurl.HTTP_VERSION: pycurl.CURL_HTTP_VERSION_1_1,
            pycurl.FOLLOWLOCATION: 1, pycurl.MAXREDIRS: MOST_REDIRECTS,
            pycurl.PROTOCOLS: pycurl.PROTO_HTTP | pycurl.PROTO_HTTPS,
            pycurl.REDIR_PROTOCOLS: pycurl.PROTO_HTTP | pycurl.PROTO_HTTPS,
            pycurl.TIMEOUT: TIMEOUT_S, pycurl.NOSIGNAL: 1, pycurl.BUFFERSIZE: PIECE_BYTES,
            pycurl.WRITEFUNCTION: self._take, pycurl.HEADERFUNCTION: self._head.append,
            **options,
        }.items():  # fmt: skip
            transfer.setopt(option, value)

    def ask(self, url: str, begin: int, end: int) -> None:
        """Prepare the transfer for a range."""
        self._parts.clear()
        self._head.clear()
        self._size, self._most, self.is_too_long = 0, end - begin, False
        self.transfer.setopt(pycurl.URL, url)
        self.transfer.setopt(pycurl.RANGE, f"{begin}-{end - 1}")

    def _take(self, piece: bytes) -> int | None:
        self._size += len(piece)
        if self._size > self._most:
            self.is_too_long = True
            return 0  # which ends the transfer
        self._parts.append(piece)
        return None

    def body(self, begin: int, end: int) -> bytes:
        """Return what came, if that is the range.

        Raises:
            RangeError: it is not.
        """
        status = self.transfer.getinfo(pycurl.RESPONSE_CODE)
        if status == 200 and not begin and not self.is_too_long:
            length = self._header("content-length")
            if length.isdigit() and 0 < int(length) <= end:
                return self._joined()  # the file is no longer than what was asked for
        if status != 206:
            reason = "archive without ranges" if status == 200 else STATUS_REASONS.get(status, UNAVAILABLE)
            after, temporary = self._header("retry-after"), status in TEMPORARY
            raise RangeError(reason, f"status {status}", temporary=temporary, retry_after=after)
        place = self._header("content-range")
        if place and not place.startswith(f"bytes {begin}-"):
            raise RangeError("archive without ranges", place)
        if self.is_too_long:
            raise RangeError("archive without ranges", "more bytes than were asked for")
        return self._joined()

    def _joined(self) -> bytes:
        whole = b"".join(self._parts)
        self._parts.clear()  # else they would stay in memory beside it
        return whole

    def _header(self, name: str) -> str:
        """Return a header of the last answer (redirects come before it); empty where there is none."""
        start = b"\n" + name.encode() + b":"
        head = b"\n".join(self._head)
        _, _, value = head[head.rfind(b"\nHTTP/") + 1 :].lower().partition(start)
        return value.partition(b"\n")[0].decode("latin-1").strip()


def _of_environment(url: URL) -> dict[int, str | int]:
    """Return the proxy, passwords and certificates that the environment names, as Python's clients do."""
    proxy = "" if proxy_bypass(url.host or "") else getproxies().get(url.scheme, "")
    options: dict[int, str | int] = {pycurl.PROXY: proxy}
    try:
        netrc = Path(os.environ.get("NETRC") or Path.home() / ".netrc")
        if os.access(netrc, os.R_OK):
            options |= {pycurl.NETRC: pycurl.NETRC_OPTIONAL, pycurl.NETRC_FILE: str(netrc)}
    except RuntimeError:  # no home
        pass
    places = ssl.get_default_verify_paths()
    if places.cafile:
        options[pycurl.CAINFO] = places.cafile
    if places.capath:
        options[pycurl.CAPATH] = places.capath
    return options
