"""Nothing that is written or printed holds a key, a password or a place on somebody's machine."""

import functools
import http.server
import re
import shutil
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

import pyarrow.parquet as pq
import pytest

from pipeline.build_webtext import Options, main
from pipeline.links.candidates import LinkOptions
from pipeline.show_document import ShowOptions
from pipeline.show_document import main as show
from pipeline.web.lists import BUNDLED

ROOT = Path(__file__).parents[3]

SIGNED = "X-Amz-Credential=AKIASECRET&X-Amz-Signature=5ec4e7"
SECRETS = re.compile(rb"AKIASECRET|X-Amz|5ec4e7|newsig|hunter2|alice")


class _Store(http.server.SimpleHTTPRequestHandler):
    """Serves a folder by ranges, as stores do, to those who bring a signature."""

    protocol_version = "HTTP/1.1"

    def do_GET(self) -> None:
        self._answer(with_body=True)

    def do_HEAD(self) -> None:
        self._answer(with_body=False)

    def _answer(self, *, with_body: bool) -> None:
        path = Path(self.translate_path(self.path))
        if "sig" not in self.path.lower() or not path.is_file():
            self.send_error(403)
            return
        body = path.read_bytes()
        asked = re.fullmatch(r"bytes=(\d+)-(\d*)", self.headers.get("Range", ""))
        self.send_response(206 if asked else 200)
        self.send_header("Accept-Ranges", "bytes")
        if asked:
            first, last = int(asked[1]), min(int(asked[2] or len(body)), len(body) - 1)
            self.send_header("Content-Range", f"bytes {first}-{last}/{len(body)}")
            body = body[first : last + 1]
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        if with_body:
            self.wfile.write(body)

    def log_message(self, format: str, *args: object) -> None:
        pass


@pytest.fixture(scope="module")
def store(web_files: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """Where signed addresses lead: the made-up web's files, and a broken dump."""
    folder = tmp_path_factory.mktemp("store")
    for path in web_files.iterdir():
        if path.is_file():
            (folder / path.name).write_bytes(path.read_bytes())
    (folder / "RS_broken.jsonl").write_text('{"id": \nnull\n')
    (folder / "cut.warc.gz").write_bytes(next(web_files.glob("pages-*.warc.gz")).read_bytes()[:-300])
    handler = functools.partial(_Store, directory=str(folder))
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://alice:hunter2@127.0.0.1:{server.server_port}"
        server.shutdown()


def everything(folder: Path) -> Iterator[tuple[str, bytes]]:
    """Yield the name and the content of all that lies in a folder, tables as text."""
    for path in sorted(folder.rglob("*")):
        name = str(path.relative_to(folder))
        yield name, name.encode()
        if path.is_file():
            yield name, path.read_bytes()
        if path.suffix == ".parquet":
            yield name, repr(pq.read_table(path).to_pylist()).encode()


def options(store: str, web_files: Path, output: Path, signature: str) -> Options:
    blocklist = output.parent / "my|list.tsv"
    shutil.copyfile(str(BUNDLED / "blocklists" / "webtext.tsv"), blocklist)
    names = [path.name for path in web_files.iterdir() if path.is_file()]
    return Options(
        submissions=tuple(
            f"{store}/{name}?{signature}" for name in [*names, "RS_broken.jsonl"] if name.startswith("RS")
        ),
        warcs=tuple(f"{store}/{name}?{signature}" for name in [*names, "cut.warc.gz"] if ".warc" in name),
        output=str(output),
        partitions=2,
        links=LinkOptions(blocklist=str(blocklist)),
    )


def test_signed_addresses_leave_no_trace_and_new_signatures_redo_nothing(
    ray: None, store: str, web_files: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    output = tmp_path / "out"
    main(options(store, web_files, output, SIGNED))
    found = dict(everything(output))
    assert b"my\\|list.tsv" in found["corpus/README.md"]
    for name, content in everything(output):
        assert not SECRETS.search(content), (name, SECRETS.search(content))
        # Where it was made and read from is nobody's business either.
        assert str(tmp_path).encode() not in content, name
        assert b"127.0.0.1" not in content, name
    (document,) = pq.read_table(next(output.glob("corpus/train/*.parquet")))["url"].to_pylist()[:1]
    show(ShowOptions(page=document, output=str(output)))
    before = capfd.readouterr()
    assert "damaged archive: cut.warc.gz" in before.err
    assert not SECRETS.search((before.out + before.err).encode())
    main(options(store, web_files, output, "X-Amz-Signature=newsig"))
    assert "Nothing to do" in capfd.readouterr().out


def test_error_of_the_command_tells_no_secret(store: str, tmp_path: Path) -> None:
    command = [sys.executable, str(ROOT / "pipeline" / "build_webtext.py"), "--output", str(tmp_path / "out")]
    address = f"{store}/RS_none.zst?{SIGNED}"
    result = subprocess.run(
        [*command, "--submissions", address, "--only", "links"], capture_output=True, text=True, check=False
    )
    assert result.returncode == 1
    assert result.stderr.startswith("error: ") and "RS_none.zst" in result.stderr
    assert not SECRETS.search((result.stdout + result.stderr).encode())
