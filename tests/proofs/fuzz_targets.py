"""The functions that take strangers' bytes, with valid inputs to mutate and the errors that they promise."""

import base64
import contextlib
import dataclasses
import gzip
import hashlib
import io
import json
import tempfile
import zlib
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import cache
from pathlib import Path
from typing import Any

Call = Callable[[bytes], Any]

PAGE = b"".join(
    (
        b"<!doctype html><html lang=en><head><meta charset=utf-8><title>The ferry</title>",
        b'<meta name="robots" content="noai, noindex"><link rel=canonical href="/ferry"></head>',
        b"<body><nav><a href=/>Home</a></nav><article><h1>The ferry</h1>",
        b"<p>The ferry crossed the bay at dawn, and the captain, a man of few words, looked out to sea. ",
        b"Nobody on board had seen such a calm sea before, and they said so to each other.</p>" * 6,
        b"<table><tr><td>A cell<td>another</table><pre>  code\n    here</pre></article>",
        b"<script>var a='<p>';</script>",
        b"<footer>From Wikipedia, the free encyclopedia; text under CC BY-SA</footer>",
        b"</body></html>",
    )
)


@dataclass(frozen=True, kw_only=True)
class Target:
    """A function, or a few that are called one after the other."""

    name: str
    seeds: tuple[bytes, ...]
    prepare: Callable[[Path], Call]  # with a folder for files
    promised: tuple[type[BaseException], ...] = ()  # what it raises for bad input
    longest: int = 2**17
    share: float = 1.0  # of all inputs


# --- the dump ---


def _dump_line(folder: Path) -> Call:
    from pipeline.links.candidates import LinkOptions, LinkRules, link_of
    from pipeline.links.submissions import read_submissions
    from pipeline.runner.records import Drop

    rules = LinkRules(LinkOptions())

    def call(data: bytes) -> None:
        path = folder / "RS_2012-01"
        path.write_bytes(data)
        for submission in read_submissions(str(path)):
            if not isinstance(submission, Drop):
                link_of(submission, rules)

    return call


SUBMISSION = {
    "id": "abc12",
    "url": "https://example.org/a%20b?utm_source=x&q=1#part",
    "score": 5,
    "ups": "7",
    "created_utc": 1328054400.0,
    "title": "A &amp; B",
    "subreddit": "pics",
    "is_self": False,
    "over_18": "false",
    "promoted": None,
    "crosspost_parent_list": [{"url": "https://example.org/b", "over_18": True}],
}


# --- addresses ---


def _address(_: Path) -> Call:
    from pipeline.web.guard import address_reject_reason
    from pipeline.web.urls import canonical, parse, printable

    def call(data: bytes) -> None:
        text = data.decode("utf-8", "surrogateescape")
        first = canonical(text)
        if isinstance(first, str):
            assert canonical(first) == first, "a canonical address is its own canonical form"
        parse(text)
        printable(text).encode()
        address_reject_reason(text)

    return call


# --- archives ---


def _record(kind: bytes, headers: bytes, body: bytes) -> bytes:
    head = b"WARC/1.0\r\nWARC-Type: " + kind + b"\r\n" + headers
    return head + b"Content-Length: %d\r\n\r\n" % len(body) + body + b"\r\n\r\n"


def _warcs() -> tuple[bytes, ...]:
    target = b"WARC-Target-URI: http://example.org/a\r\nWARC-Date: 2012-02-01T00:00:00Z\r\n"
    kind = b"Content-Type: application/http; msgtype=response\r\n"
    http = b"HTTP/1.1 200 OK\r\nContent-Type: text/html; charset=utf-8\r\n"
    chunked = b"%x\r\n%s\r\n0\r\n\r\n" % (len(PAGE), PAGE)
    bodies = (
        http + b"\r\n" + PAGE,
        http + b"Content-Encoding: gzip\r\n\r\n" + gzip.compress(PAGE, mtime=0),
        http + b"Transfer-Encoding: chunked\r\n\r\n" + chunked,
    )
    records = [_record(b"response", target + kind, body) for body in bodies]
    info = _record(b"warcinfo", b"Content-Type: application/warc-fields\r\n", b"software: x\r\n")
    resource = _record(b"resource", target + b"Content-Type: text/html\r\n", PAGE)
    refers = (
        b"WARC-Refers-To-Target-URI: http://example.org/b\r\nWARC-Refers-To-Date: 2011-02-01T00:00:00Z\r\n"
    )
    revisit = _record(
        b"revisit", target + kind + refers + b"WARC-Payload-Digest: sha1:AB\r\n", http + b"\r\n"
    )
    plain = info + b"".join(records) + resource + revisit
    zipped = b"".join(gzip.compress(record, mtime=0) for record in (info, *records, resource, revisit))
    return plain, zipped


def _warc(folder: Path) -> Call:
    from pipeline.runner.records import Drop
    from pipeline.web.warc import read_page, scan_pages

    def call(data: bytes) -> None:
        path = folder / ("a.warc.gz" if data[:2] == b"\x1f\x8b" else "a.warc")
        path.write_bytes(data)
        for page in scan_pages(str(path)):
            if not isinstance(page, Drop):
                read_page(io.BytesIO(data), page.offset, 2**22)

    return call


def _coding(_: Path) -> Call:
    from pipeline.web.content_coding import CodingError, TooLargeError, decode

    def call(data: bytes) -> None:
        codings, _, body = data.partition(b"\n")
        for cut in (False, True):
            with contextlib.suppress(CodingError, TooLargeError):
                decode(body, codings.decode("latin-1"), 2**22, cut=cut)

    return call


def _head(_: Path) -> Call:
    from pipeline.web.optout import header_opt_out
    from pipeline.web.warc import media_type

    def call(data: bytes) -> None:
        lines = [line.partition(":") for line in data.decode("latin-1").split("\n")]
        header_opt_out([(name, value) for name, _, value in lines])
        for _, _, value in lines:
            media_type(value)

    return call


# --- pages ---


def _characters(_: Path) -> Call:
    from pipeline.extract.characters import decode, tidy

    def call(data: bytes) -> None:
        charset, _, body = data.partition(b"\n")
        tidy(decode(body, charset.decode("latin-1"))).encode()

    return call


def _page(_: Path) -> Call:
    from pipeline.extract.extraction import ExtractOptions
    from pipeline.extract.reading import PageOptions, read_text
    from pipeline.filters.quality import RefineOptions, judge
    from pipeline.runner.records import Drop
    from pipeline.web.warc import Page

    options = PageOptions(
        extract=ExtractOptions(), languages=("en",), respect_opt_outs=False, drop_wikipedia=False
    )
    day = datetime(2012, 2, 1, tzinfo=UTC)

    def call(data: bytes) -> None:
        page = Page(
            url="http://example.org/a",
            status=200,
            content_type="text/html",
            charset="",
            date=day,
            headers=(),
            body=data,
        )
        found = read_text(page, options)
        if not isinstance(found, Drop):
            judge(found.text, page.url, RefineOptions(), found.title)

    return call


def _opt_outs(_: Path) -> Call:
    from pipeline.filters.wikipedia import is_declared_in_html
    from pipeline.web.optout import meta_opt_out

    def call(data: bytes) -> None:
        meta_opt_out(data)
        is_declared_in_html(data)

    return call


def _refresh(_: Path) -> Call:
    from pipeline.web.refresh import refresh_target

    def call(data: bytes) -> None:
        value, _, page = data.partition(b"\n")
        for headers in ([("Refresh", value.decode("latin-1"))], []):
            target = refresh_target("http://example.org/a?b", headers, page)
            assert not target or target.startswith(("http://", "https://"))

    return call


def _cookies(_: Path) -> Call:
    from pipeline.crawl.cookies import Cookie, cookie_header, packed, received, unpacked
    from pipeline.web.http_head import Response

    url = "https://www.example.co.uk/a/b"

    def call(data: bytes) -> None:
        cookies: tuple[Cookie, ...] = ()
        for hop, lines in enumerate(data.split(b"\n\n")):
            headers = [(b"Set-Cookie", line) for line in lines.split(b"\n")]
            answer = Response(
                url=url, status=302, phrase="", headers=headers, body=b"", address="192.0.2.1",
                at=datetime(2012, 2, 1, tzinfo=UTC),
            )  # fmt: skip
            cookies = received(answer, hop, cookies)
        assert unpacked(packed(cookies)) == cookies
        assert "\n" not in cookie_header(cookies, url)
        assert not cookie_header(cookies, "https://other.co.uk/a/b")

    return call


def _locations(_: Path) -> Call:
    from pipeline.crawl.visits import Target, locate, redirect_target
    from pipeline.web.http_head import Response

    def call(data: bytes) -> None:
        answer = Response(
            url="http://example.org/a?b#!c", status=302, phrase="", headers=[(b"Location", data)], body=b"",
            address="192.0.2.1", at=datetime(2012, 2, 1, tzinfo=UTC),
        )  # fmt: skip
        target = redirect_target(answer)
        if isinstance(target, Target):
            assert locate(target.url) == target, "what was asked for is asked for again"

    return call


def _robots(_: Path) -> Call:
    from pipeline.crawl.robots import parse

    def call(data: bytes) -> None:
        rules = parse(data)
        rules.drop_for("https://example.org/a/b?c=d")
        rules.crawl_delay_s()

    return call


def _tdmrep(_: Path) -> Call:
    from pipeline.web.optout import parse_tdmrep

    def call(data: bytes) -> None:
        parse_tdmrep(data).opt_out("https://example.org/a/b?c=d")

    return call


# --- vocabularies, shards, checkpoints, models ---

MERGES = [(b"t", b"h"), (b"th", b"e"), (b" ", b"the"), (b"a", b"n"), (b"\xc3", b"\xa9")]


@cache
def _vocabulary_files() -> dict[str, str]:
    from tokenizer.bpe.vocabulary import Vocabulary

    return Vocabulary(MERGES).files()


def _vocabulary(name: str) -> Callable[[Path], Call]:
    def prepare(folder: Path) -> Call:
        from tokenizer.bpe.vocabulary import load_vocabulary

        for other in ("merges.txt", "vocab.json"):
            if name in ("vocab.json", "merges.txt") and other != name:
                (folder / other).write_text(_vocabulary_files()[other])

        def call(data: bytes) -> None:
            (folder / name).write_bytes(data)
            load_vocabulary(str(folder if name in ("vocab.json", "merges.txt") else folder / name))

        return call

    return prepare


def _shards_json() -> bytes:
    shard = {"file": "train_000000.bin", "tokens": 40, "documents": 2, "sha256": "0" * 64}
    split = {"documents": 2, "tokens": 40, "characters": 90, "bytes": 90, "shards": [shard]}
    content = {
        "version": 2,
        "format": "llm.c",
        "token_type": "uint16",
        "vocabulary": {"fingerprint": "0" * 64, "size": 262, "end_of_text": 261},
        "seed": 0,
        "splits": {"train": split, "validation": {**split, "shards": []}},
    }
    return json.dumps(content, indent=1).encode()


def _shards(folder: Path) -> Call:
    from tokenizer.shards.folder import open_shards

    header = b"".join(number.to_bytes(4, "little") for number in (20240520, 1, 40)).ljust(1024, b"\0")
    (folder / "train_000000.bin").write_bytes(header + bytes(range(80)))

    def call(data: bytes) -> None:
        (folder / "shards.json").write_bytes(data)
        shards = open_shards(str(folder))
        for name, split in shards.index.splits.items():
            shards.open(name)
            for shard in split.shards:
                shards.check(shard, whole=True)

    return call


def _state() -> bytes:
    model = {"layers": 2, "heads": 2, "width": 64, "context": 128, "vocabulary": 262, "dropout": 0.0}
    content = {
        "step": 4,
        "updates": 4,
        "sequences": 64,
        "tokens": 8192,
        "world_size": 2,
        "zero_stage": 1,
        "vocabulary_fingerprint": "0" * 64,
        "model": {**model, "document_separator": None},
        "plan": {"size": "micro", "data": "out/shards", "steps": 4},
        "figures": {"training_seconds": 1.5, "loss": 3.2},
        "anomalies": {"losses": [1.0], "norms": [1.0], "skipped": 0},
    }
    return json.dumps(content, indent=2).encode()


def _checkpoint(folder: Path) -> Call:
    from trainer.checkpoint.folder import find_checkpoint, is_finished, read_state

    step = folder / "step_00000004"
    step.mkdir()

    def call(data: bytes) -> None:
        first, _, second = data.partition(b"\n\0\n")
        (step / "state.json").write_bytes(first)
        (step / "complete").write_bytes(second)
        is_finished(step)
        read_state(step)
        find_checkpoint(folder)

    return call


def _complete() -> bytes:
    record = {"size_bytes": len(_state()), "xxh3": "0" * 32}
    return json.dumps({"files": {"state.json": record}}, indent=2).encode()


CONFIG = {
    "model_type": "gpt2",
    "n_layer": 1,
    "n_head": 2,
    "n_embd": 16,
    "n_positions": 8,
    "vocab_size": 262,
    "activation_function": "gelu_new",
    "layer_norm_epsilon": 1e-5,
}


@cache
def _tensors() -> bytes:
    import torch
    from safetensors.torch import save

    from trainer.config.model_config import ModelConfig
    from trainer.model.parameters import shapes, turned

    config = ModelConfig(layers=1, heads=2, width=16, context=8, vocabulary=262)
    weights = {f"transformer.{name}": torch.zeros(shape) for name, shape in shapes(config).items()}
    turned_ = {name: turned(name, tensor).contiguous() for name, tensor in weights.items()}
    return save(turned_, metadata={"format": "pt"})


def _model(name: str) -> Callable[[Path], Call]:
    def prepare(folder: Path) -> Call:
        from trainer.pretrained.huggingface import read_model

        files = {
            "config.json": json.dumps(CONFIG).encode(),
            "model.safetensors": _tensors(),
            "tokenizer.json": _vocabulary_files()["tokenizer.json"].encode(),
        }
        if name == "model.safetensors.index.json":
            files["part.safetensors"] = files.pop("model.safetensors")
        for file, content in files.items():
            (folder / file).write_bytes(content)

        def call(data: bytes) -> None:
            (folder / name).write_bytes(data)
            read_model(folder)

        return call

    return prepare


def _index() -> bytes:
    from safetensors import deserialize

    names = [name for name, _ in deserialize(_tensors())]
    return json.dumps({"metadata": {}, "weight_map": dict.fromkeys(names, "part.safetensors")}).encode()


def _options_file(folder: Path) -> Call:
    from pipeline.runner.config_file import load_config
    from trainer.config.options import TrainingOptions

    def call(data: bytes) -> None:
        (folder / "options.json").write_bytes(data)
        load_config(str(folder / "options.json"), TrainingOptions, {})

    return call


def _option_values() -> bytes:
    from trainer.config.options import TrainingOptions

    return json.dumps(dataclasses.asdict(TrainingOptions(data="out/shards")), indent=1).encode()


# --- a build ---


def _build(folder: Path) -> Call:
    """Read what describes a build, and put it beside another one."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    from pipeline.compare.changes import changed_options, order_of
    from pipeline.compare.sides import open_side

    (folder / "corpus" / "train").mkdir(parents=True)
    pq.write_table(pa.table({"text": ["x"]}), folder / "corpus" / "train" / "part-00000.parquet")

    def call(data: bytes) -> None:
        options, _, funnel = data.partition(b"\n\0\n")
        (folder / "options.json").write_bytes(options)
        (folder / "corpus" / "funnel.json").write_bytes(funnel)
        build = open_side(str(folder), "text", "").build
        assert build is not None
        json.dumps(changed_options(build.options, {"karma": {"min_karma": 3}}), ensure_ascii=False).encode()
        order_of(["links", "pages_2"], build.steps)

    return call


def _descriptions() -> bytes:
    from pipeline.corpus.funnel import Step, funnel_json
    from pipeline.options import Options
    from pipeline.runner.stages import Counts

    steps = [Step("links", "links", Counts(9, 4, {"low karma": 5})), Step("pages", "pages", Counts(4, 4))]
    options = json.dumps(dataclasses.asdict(Options(output="out")), indent=1)
    funnel = json.dumps({"fingerprint": "0" * 64, "steps": funnel_json(steps)}, indent=1)
    return f"{options}\n\0\n{funnel}".encode()


# --- indexes of archives, and the records that they name ---

SURTS = [f"org,example)/{number}" for number in range(40)]


def _look_up(folder: Path, *names: str) -> Callable[[], None]:
    """Return a call that looks links up in some files, as a task does."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    from pipeline.common_crawl.captures import Wanted
    from pipeline.common_crawl.sought import SOUGHT_FILE, sought_table
    from pipeline.common_crawl.stages import look_up
    from pipeline.runner.records import ROUTED
    from pipeline.runner.stages import Task

    links = [{"url": f"http://example.org/{number}", "hops": []} for number in range(0, 40, 2)]
    pq.write_table(sought_table(pa.Table.from_pylist(links, ROUTED)), folder / SOUGHT_FILE)
    inputs = [str(folder / name) for name in (SOUGHT_FILE, *names)]

    def call() -> None:
        look_up(Task("0", inputs, folder, Wanted(languages=("eng",)), lambda *given: None, {}, ""))

    return call


def _archive_index(name: str) -> Callable[[Path], Call]:
    def prepare(folder: Path) -> Call:
        look_up = _look_up(folder, name)
        (folder / "cdx-00000.gz").write_bytes(b"".join(_blocks()))  # for cluster.idx

        def call(data: bytes) -> None:
            (folder / name).write_bytes(data)
            look_up()

        return call

    return prepare


def _index_tables() -> tuple[bytes, bytes]:
    import pyarrow as pa

    table = pa.table(
        {
            "url_surtkey": SURTS,
            "url": [f"http://example.org/{number}" for number in range(40)],
            "fetch_time": pa.array([datetime(2014, 1, 1, tzinfo=UTC)] * 40, pa.timestamp("ms", "UTC")),
            "fetch_status": pa.array([200] * 40, pa.int16()),
            "fetch_redirect": [None, "/a"] * 20,
            "content_digest": ["A" * 32] * 40,
            "content_languages": ["eng", "deu,eng"] * 20,
            "warc_filename": ["a.warc.gz"] * 40,
            "warc_record_offset": range(40),
            "warc_record_length": range(1, 41),
        }
    )
    return _parquet(table, "gzip"), _parquet(table, "uncompressed")


def _parquet(table: Any, compression: str) -> bytes:
    """Write a table by DuckDB: Arrow's own footers, damaged in their statistics of sizes, end its process."""
    import duckdb

    with tempfile.NamedTemporaryFile(suffix=".parquet") as file:
        form = f"(format parquet, compression {compression}, row_group_size 2048)"
        duckdb.from_arrow(table).query("t", f"COPY t TO '{file.name}' {form}")
        return Path(file.name).read_bytes()


def _index_lines(first: int, end: int) -> bytes:
    fields = {
        "mime": "text/html",
        "status": "200",
        "digest": "A" * 32,
        "length": "9",
        "offset": "9",
        "filename": "f",
    }
    rows = [
        f"{SURTS[number]} 20140101000000 {json.dumps({'url': f'http://example.org/{number}', **fields})}\n"
        for number in range(first, end)
    ]
    return "".join(sorted(rows)).encode()


def _blocks() -> list[bytes]:
    return [gzip.compress(_index_lines(first, first + 4), mtime=0) for first in range(0, 12, 4)]


def _cluster_lines() -> bytes:
    offset, lines = 0, []
    for number, block in enumerate(_blocks()):
        first = _index_lines(4 * number, 4 * number + 4).split(b" ")[0].decode()
        lines.append(f"{first} 20140101000000\tcdx-00000.gz\t{offset}\t{len(block)}\t{number + 1}\n")
        offset += len(block)
    return "".join(lines).encode()


def _fetched_record(_: Path) -> Call:
    from pipeline.common_crawl.record import Expected, as_gzip, examine, read_in_full

    digest_of_page = base64.b32encode(hashlib.sha1(PAGE).digest()).decode()

    def call(data: bytes) -> None:
        for digest in ("", "A" * 32, "sha256:" + "0" * 64, digest_of_page):
            expected = Expected("http://example.org/a", digest)
            assert examine(data, expected, 2**22) == read_in_full(data, expected, 2**22)
        as_gzip(data)

    return call


# --- other people's corpora ---


def _corpus(ending: str) -> Callable[[Path], Call]:
    def prepare(folder: Path) -> Call:
        from pipeline.sources.files import check_fields, read_file
        from pipeline.sources.options import Reading

        path = folder / f"corpus{ending}"

        def call(data: bytes) -> None:
            path.write_bytes(data)
            check_fields(str(path), "text")
            for batch in read_file(str(path), Reading()):
                assert batch is not None

        return call

    return prepare


def _tables() -> tuple[bytes, bytes]:
    """A corpus in Parquet and one in Arrow."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    table = pa.table(
        {"id": ["a", "b", "c"], "text": ["One text.", "Another.", "And ünother."], "n": [1, 2, 3]}
    )
    parquet, arrow = io.BytesIO(), io.BytesIO()
    pq.write_table(table, parquet, compression="none")
    with pa.ipc.new_stream(arrow, table.schema) as writer:
        writer.write_table(table)
    return parquet.getvalue(), arrow.getvalue()


BODY = gzip.compress(PAGE, mtime=0)
ROBOTS = (
    b"User-agent: *\nDisallow: /a*b$\nCrawl-delay: 2\n\nUser-agent: Outbound/0.1\nAllow: /\nSitemap: /s.xml\n"
)
TDMREP = json.dumps(
    [{"location": "/k%C3%A4se*", "tdm-reservation": 1}, {"location": "/a b$", "tdm-reservation": 0}]
).encode()
HEAD = (
    b'Content-Type: text/html; charset="utf-8"\n'
    b"X-Robots-Tag: outbound: noai, unavailable_after: 25 Jun 2010\n"
)

TARGETS = [
    Target(name="dump", seeds=(json.dumps(SUBMISSION).encode() + b"\n",) * 2, prepare=_dump_line, share=2),
    Target(
        name="address",
        seeds=(
            b"https://user:pw@example.org:8080/a/../b%20c?x=1&utm_source=y#z",
            "http://bücher.example/ä?ö".encode(),
            b"//[::1]/a;b",
            b"http://127.0.0.1/%2e%2e/",
        ),
        prepare=_address,
        share=3,
    ),
    Target(name="warc", seeds=_warcs(), prepare=_warc),
    Target(
        name="coding",
        seeds=(
            b"gzip\n" + BODY,
            b"deflate, gzip\n" + gzip.compress(zlib.compress(PAGE), mtime=0),
            b"deflate\n" + zlib.compress(PAGE)[2:-4],
            b"identity\n" + PAGE,
        ),
        prepare=_coding,
        share=2,
    ),
    Target(name="http head", seeds=(HEAD,), prepare=_head, share=3),
    Target(
        name="characters",
        seeds=(
            b"utf-8\n" + PAGE,
            b"windows-1252\ncaf\xe9 \x93quoted\x94",
            b"\n" + "日本語".encode("shift_jis"),
        ),
        prepare=_characters,
        share=2,
    ),
    Target(name="page", seeds=(PAGE,), prepare=_page),
    Target(name="opt-outs", seeds=(PAGE,), prepare=_opt_outs, share=2),
    Target(
        name="refresh",
        seeds=(
            b"0; url='/next'\n<head><base href=/b/><meta http-equiv=refresh content='5;url=/c'>",
            b"600\n"
            + PAGE.replace(b"<meta ", b"<noscript><meta http-equiv=refresh content=0></noscript><meta "),
        ),
        prepare=_refresh,
        share=2,
    ),
    Target(
        name="cookies",
        seeds=(
            b'a=1; Domain=.example.co.uk; Path=/; Secure\nb="x, y"; Expires=Thu, 01-Jan-1970 00:00:00 GMT',
            b"__Host-a=1; Secure; Path=/\n\na=; Max-Age=0\nc=2; Domain=co.uk; SameSite=Lax",
        ),
        prepare=_cookies,
        share=2,
    ),
    Target(
        name="location",
        seeds=(
            b"//user@example.org:81/a b/../c?d#!e",
            "http://bücher.example/ü#x".encode(),
            b"?q=%zz",
            b"/%2e%2e//",
        ),
        prepare=_locations,
        share=2,
    ),
    Target(name="robots", seeds=(ROBOTS,), prepare=_robots, share=2),
    Target(name="tdmrep", seeds=(TDMREP,), prepare=_tdmrep, share=2),
    *(
        Target(
            name=name,
            seeds=(_vocabulary_files()[name].encode(),),
            prepare=_vocabulary(name),
            promised=(ValueError, OSError),
            share=0.5,
        )
        for name in ("tokenizer.json", "vocab.json", "merges.txt", "vocabulary.tiktoken")
    ),
    Target(name="shards", seeds=(_shards_json(),), prepare=_shards, promised=(ValueError, OSError)),
    Target(
        name="checkpoint",
        seeds=(_state() + b"\n\0\n" + _complete(),),
        prepare=_checkpoint,
        promised=(ValueError, OSError),
    ),
    *(
        Target(
            name=name,
            seeds=(seed,),
            prepare=_model(name),
            promised=(ValueError, OSError),
            share=0.5,
        )
        for name, seed in (
            ("config.json", json.dumps(CONFIG, indent=1).encode()),
            ("model.safetensors", _tensors()),
            ("model.safetensors.index.json", _index()),
        )
    ),
    Target(
        name="options.json",
        seeds=(_option_values(),),
        prepare=_options_file,
        promised=(ValueError, OSError),
        share=0.5,
    ),
    Target(name="build", seeds=(_descriptions(),), prepare=_build, promised=(ValueError, OSError), share=0.5),
    Target(name="index table", seeds=_index_tables(), prepare=_archive_index("part-0.parquet")),
    Target(name="index lines", seeds=(_index_lines(0, 8), _blocks()[0]), prepare=_archive_index("a.cdxj")),
    Target(name="cluster.idx", seeds=(_cluster_lines(),), prepare=_archive_index("cluster.idx")),
    Target(name="fetched record", seeds=_warcs(), prepare=_fetched_record),
    *(
        Target(name=f"corpus{ending}", seeds=(seed,), prepare=_corpus(ending), promised=(ValueError, OSError))
        for ending, seed in (
            (".parquet", _tables()[0]),
            (".arrow", _tables()[1]),
            (".jsonl", b'{"id": "a", "text": "One text."}\n{"text": "Another."}\n'),
        )
    ),
]
