"""All commands as one, for an installation without the repository.

outbound build --submissions 'RS_2012-*.zst' --output out/webtext --contact you@example.org
outbound pretrain --size nano --data out/shards --output out/run
"""

import difflib
import runpy
import sys
from importlib.metadata import version
from typing import Final, NamedTuple


class Command(NamedTuple):
    """A command: the module that is run, and what it does."""

    module: str
    does: str


COMMANDS: Final = {
    "build": Command("pipeline.build_webtext", "Reddit dumps → corpus"),
    "show-document": Command("pipeline.show_document", "what became of one page"),
    "report-overlap": Command("pipeline.report_overlap", "evaluation sets' 8-grams that occur in a corpus"),
    "compare-corpora": Command("pipeline.compare_corpora", "two corpora side by side"),
    "train-bpe": Command("tokenizer.train_bpe", "corpus → vocabulary"),
    "report-vocabulary": Command("tokenizer.report_vocabulary", "a vocabulary beside others on one corpus"),
    "write-shards": Command("tokenizer.write_shards", "corpus → token shards"),
    "inspect-shards": Command(
        "tokenizer.inspect_shards", "what token shards hold, and whether they are whole"
    ),
    "plan": Command("launch.plan", "memory, time and cost of a training run"),
    "pretrain": Command("launch.pretrain", "token shards → checkpoints"),
    "compare-runs": Command("launch.compare_runs", "training runs side by side, or live"),
    "export": Command("launch.export", "checkpoint → model for other programs"),
    "generate": Command("launch.generate", "text from a model"),
    "evaluate": Command("launch.evaluate", "a model on the GPT-2 paper's data sets"),
    "demo": Command("launch.demo", "all of it, in about five minutes"),
}


def main() -> None:
    """Run the command that the first argument names, with the other arguments."""
    name, *arguments = sys.argv[1:] or ["--help"]
    if name in ("-h", "--help"):
        print(_overview())
        return
    if name == "--version":
        print(version("outbound"))
        return
    command = COMMANDS.get(name)
    if command is None:
        near = difflib.get_close_matches(name, COMMANDS, n=1)
        hint = f"; did you mean {near[0]}?" if near else ""
        sys.exit(f"error: there is no command {name!r}{hint or ';'} `outbound --help` lists them.")
    sys.argv = [f"outbound {name}", *arguments]
    runpy.run_module(command.module, run_name="__main__")


def _overview() -> str:
    width = max(map(len, COMMANDS))
    lines = [f"  {name:<{width}}  {command.does}" for name, command in COMMANDS.items()]
    return "\n".join(
        [
            "usage: outbound COMMAND [OPTIONS]; each command has --help",
            "",
            *lines,
            "",
            "On several GPUs: deepspeed --module launch.pretrain OPTIONS",
        ]
    )


if __name__ == "__main__":
    main()
