"""The whole pipeline on one machine in a few minutes, on a small web of its own.

Starts an HTTP server on loopback. Its pages are made from documentation on this machine (descriptions of
installed packages, docstrings), with everything that a real web has: navigation and footers, copies, other
languages, redirects, errors, pages that robots.txt or a header closes. Writes a Reddit-style dump that links
to them, then runs the commands that a user would run and prints each.
"""

import json
import shlex
import shutil
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path

if __package__ in (None, ""):  # run as a plain file, from wherever: the packages lie beside this folder
    sys.path[0] = str(Path(__file__).resolve().parents[1])

from launch.demo_site.web import EmbeddedWeb, build_pages, write_dump
from pipeline.runner.command import run_command

ROOT = Path(__file__).parents[1]


@dataclass(frozen=True, kw_only=True)
class DemoOptions:
    """Size of the demo, and where it writes."""

    output: str = "out/demo"
    """Folder for everything; an earlier demo there is removed."""
    pages: int = 900
    """Number of pages of the embedded web."""
    vocab_size: int = 4096
    """Entries of the vocabulary."""
    steps: int = 300
    """Number of training steps."""
    ranks: int = 2
    """Number of training processes."""


def main(options: DemoOptions) -> None:
    """Build the web and the dump, run the commands, and print the results."""
    started = time.monotonic()
    output = Path(options.output)
    if output.exists():
        if any(output.iterdir()) and not (output / "RS_demo.zst").exists():
            raise ValueError(f"{output} is not a demo output: give another folder")
        shutil.rmtree(output)
    output.mkdir(parents=True)
    print(f"Building an embedded web of {options.pages} pages from the documentation on this machine …")
    with EmbeddedWeb() as web:
        pages = build_pages(options.pages, web.addresses)
        web.serve(pages)
        dump = output / "RS_demo.zst"
        submissions = write_dump(dump, pages, web.addresses)
        print(f"{len(pages)} pages at {', '.join(web.addresses)}; {submissions} submissions in {dump}")
        _run(*_build_command(dump, output))
    corpus, vocabulary, shards = output / "webtext" / "corpus", output / "vocabulary", output / "shards"
    run, model = output / "run", output / "model"
    _run("python", "pipeline/show_document.py", _copied_page(corpus), "--output", output / "webtext")
    _run(
        "python", "tokenizer/train_bpe.py",
        "--corpus", corpus, "--vocab-size", options.vocab_size, "--output", vocabulary,
    )  # fmt: skip
    _run(
        "python", "tokenizer/write_shards.py",
        "--corpus", corpus, "--vocabulary", vocabulary, "--output", shards,
    )  # fmt: skip
    _run(
        "deepspeed", "--quiet", "--num_accelerators", options.ranks, "launch/pretrain.py",
        "--size", "nano", "--data", shards, "--output", run, "--steps", options.steps,
    )  # fmt: skip
    _run(
        "python", "launch/export.py",
        "--checkpoint", run, "--output", model, "--format", "huggingface", "gguf",
    )  # fmt: skip
    sample = _run("python", "launch/generate.py", "--model", model, "--prompt", "The", "--max-new-tokens", 60)
    _run(
        "python", "launch/evaluate.py",
        "--model", model, "--text", corpus / "validation" / "part-00000.parquet",
        "--output", output / "evaluation",
    )  # fmt: skip
    _report(output, sample, time.monotonic() - started)


def _build_command(dump: Path, output: Path) -> list[object]:
    """Return the crawl of loopback: its network must be allowed, and our own server needs no delays."""
    return [
        "python", "pipeline/build_webtext.py",
        "--submissions", dump, "--output", output / "webtext",
        "--contact", "https://example.org/outbound-demo",
        "--allow-networks", "127.0.0.0/8", "--delay-s", 0.01, "--backoff-s", 0.5,
        "--partitions", 4, "--validation-share", 0.05,
    ]  # fmt: skip


def _copied_page(corpus: Path) -> str:
    """Return the address of a page that was dropped as a near-duplicate."""
    import pyarrow.dataset as ds

    drops = ds.dataset(corpus / "drops" / "stage=split").to_table(
        filter=ds.field("reason") == "near duplicate"
    )
    return str(min(drops["url"].to_pylist()))


def _run(*command: object) -> str:
    """Run a command as a user would, showing it and its output; return what it printed."""
    words = [str(word) for word in command]
    print(f"\n$ {shlex.join(words)}", flush=True)
    programs = Path(sys.executable).parent
    words = [str(ROOT / word) if word.endswith(".py") else word for word in words]
    words[0] = str(programs / words[0])
    process = subprocess.Popen(words, stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    lines = []
    for line in process.stdout:
        lines.append(line)
        print(line, end="", flush=True)
    if process.wait() != 0:
        raise ValueError(f"the command above ended with exit code {process.returncode}")
    return "".join(lines)


def _report(output: Path, sample: str, seconds: float) -> None:
    """Print the funnel, the losses, the sample, and the output files."""
    from pipeline.corpus.funnel import funnel_text, read_funnel, steps_of

    losses = [
        json.loads(line)
        for line in (output / "run" / "metrics.jsonl").read_text().splitlines()
        if "validation_loss" in line
    ]
    first, last = losses[0], losses[-1]
    print(f"""
{"=" * 78}
The funnel
{funnel_text(steps_of(read_funnel(str(output / "webtext" / "corpus"))["steps"]))}

Validation loss
{first["validation_loss"]:>13.3f}  at step {first["step"]}
{last["validation_loss"]:>13.3f}  at step {last["step"]}

Generated text
{sample.strip()}

Output files
  dump          {output}/RS_demo.zst
  pages         {output}/webtext/pages/            WARC files and the fetch log
  corpus        {output}/webtext/corpus/           Parquet, dataset card, report.html
  the build     {output}/webtext/build.html        its stages, and what they dropped
  vocabulary    {output}/vocabulary/
  shards        {output}/shards/
  checkpoints   {output}/run/                      run.html, metrics.jsonl
  model         {output}/model/                    Hugging Face GPT-2, and model.gguf for llama.cpp
  evaluation    {output}/evaluation/               evaluation.md

Open these three
  {output}/webtext/corpus/report.html   what the corpus is, and what was dropped and why
  {output}/run/run.html                 the training curves, and what the model wrote on the way
  {output}/evaluation/evaluation.md     its results beside the paper's

Done in {seconds / 60:.1f} minutes.""")


if __name__ == "__main__":
    run_command(DemoOptions, main, __doc__)
