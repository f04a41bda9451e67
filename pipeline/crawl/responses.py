"""What a server's answer means: a page, a reason why there is none, or a question to ask again later."""

from datetime import UTC, datetime

from pipeline.crawl import robots
from pipeline.crawl.fetch import FetchFailure, Headers, is_redirect
from pipeline.crawl.options import CrawlOptions
from pipeline.runner.records import Drop
from pipeline.web import content_coding
from pipeline.web.http_head import Response, retry_after_s
from pipeline.web.optout import (
    MAX_TDMREP_BYTES,
    NO_TDM_RULES,
    TdmRules,
    header_opt_out,
    meta_opt_out,
    parse_tdmrep,
)
from pipeline.web.refresh import LOOKED_AT_BYTES, refresh_target
from pipeline.web.warc import HTML_TYPES, media_type

RETRIED_STATUSES = frozenset({429, 500, 502, 503, 504})
RETRIED_REASONS = frozenset({"connection lost", "no connection"})

# What fails before a server could answer fails for a page as it does for its robots.txt, and keeps
# its reason; the rest (a robots.txt that hangs, that is cut off) is "robots.txt unreachable".
ANSWER_REASONS = frozenset(
    {"deadline", "connection lost", "bad HTTP", "too slow", "too large", "bad encoding", "server error"}
)


def examine_page(status: int, headers: Headers, *, url: str, respect_opt_outs: bool) -> Drop | None:
    """Say why the body of an answer is not wanted as a page or redirect, or None if it is."""
    if is_redirect(status):
        return None
    if status != 200:
        return Drop(status_reason(status), detail=f"status {status}")
    if refresh_target(url, headers.items()) not in ("", url):
        return None
    drop = _type_drop(headers.get("Content-Type", ""))
    if drop is not None:
        return drop
    opt_out = header_opt_out(headers.items()) if respect_opt_outs else None
    return Drop(opt_out.reason, detail=opt_out.where) if opt_out else None


def _type_drop(content_type: str) -> Drop | None:
    if media_type(content_type) in HTML_TYPES:
        return None
    return Drop("not HTML", detail=content_type[:100] or "no Content-Type")


def refresh_address(page: Response) -> str:
    """Return the address that a page soon gives way to, its own if it loads itself anew; else nothing."""
    return refresh_target(page.url, page.header_texts, file_body(page, LOOKED_AT_BYTES))


def examine_body(outcome: Response | FetchFailure, options: CrawlOptions) -> Response | FetchFailure:
    """Drop a page that is empty, broken, too large once decoded, or that opts out in its head."""
    if isinstance(outcome, FetchFailure):
        return outcome
    drop = _body_drop(outcome, options)
    return outcome if drop is None else FetchFailure(drop, outcome.status)


def _body_drop(page: Response, options: CrawlOptions) -> Drop | None:
    drop = _type_drop(page.header("Content-Type"))  # which is not asked of what may be a redirect
    if drop is not None:
        return drop
    try:
        codings = page.header("Content-Encoding")
        body = content_coding.decode(page.body, codings, options.max_decompressed_bytes)
    except content_coding.TooLargeError as error:
        return Drop("too large", page.url, str(error))
    except content_coding.CodingError as error:
        return Drop("bad encoding", page.url, str(error))
    if not body.strip():
        return Drop("empty page", page.url)
    opt_out = meta_opt_out(body) if options.respect_opt_outs else None
    return Drop(opt_out.reason, page.url, opt_out.where) if opt_out else None


def examine_file(status: int, headers: Headers) -> Drop | None:
    """Say why the body of an answer is not wanted as robots.txt or tdmrep.json, or None if it is."""
    if status == 200 or is_redirect(status):
        return None
    return Drop(status_reason(status), detail=f"status {status}")


def file_body(response: Response, max_bytes: int) -> bytes:
    """Return the decoded beginning of a file that was cut if it was long; nothing if it cannot be decoded."""
    try:
        return content_coding.decode(response.body, response.header("Content-Encoding"), max_bytes, cut=True)
    except content_coding.CodingError:
        return b""


def robots_from(outcome: Response | FetchFailure, *, redirected: bool) -> robots.Robots:
    """Return what the answer to a request for a robots.txt means (RFC 9309, section 2.3.1)."""
    if isinstance(outcome, Response):
        return robots.parse(file_body(outcome, robots.MAX_BYTES))
    drop = outcome.drop
    if drop.reason == "too many redirects":
        return robots.ALLOW_ALL
    if outcome.status and not is_redirect(outcome.status):
        return robots.from_status(outcome.status)
    if not redirected and not outcome.status and drop.reason not in ANSWER_REASONS:
        return robots.Robots(unreachable=drop)
    detail = f"{drop.reason}: {drop.detail}"
    return robots.Robots(unreachable=Drop("robots.txt unreachable", drop.url, detail))


def tdm_from(outcome: Response | FetchFailure) -> TdmRules:
    """Return what the answer to a request for a tdmrep.json means: nothing where there is none."""
    if isinstance(outcome, FetchFailure):
        return NO_TDM_RULES
    return parse_tdmrep(file_body(outcome, MAX_TDMREP_BYTES))


def status_reason(status: int) -> str:
    """Return the reason for which a status gives no page."""
    if status in (404, 410):
        return "not found"
    if status in (401, 402, 403, 407, 451):
        return "forbidden"
    if status == 429:
        return "too many requests"
    if 400 <= status < 500:
        return "client error"
    return "server error" if 500 <= status < 600 else "unexpected status"


def retry_wait_s(outcome: Response | FetchFailure, retries: int, options: CrawlOptions) -> float | None:
    """Return how long to wait before the same request is made again, or None if it is not."""
    if isinstance(outcome, Response) or retries >= options.retries:
        return None
    if outcome.status not in RETRIED_STATUSES and outcome.drop.reason not in RETRIED_REASONS:
        return None
    asked_for_s = retry_after_s(outcome.retry_after, datetime.now(UTC))
    if asked_for_s is None:
        return options.backoff_s * 2.0**retries
    return asked_for_s if asked_for_s <= options.max_retry_after_s else None
