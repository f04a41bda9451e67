"""The results of bench_gpu.py as the tables of docs/performance.md."""

import json
from pathlib import Path
from typing import Any

Record = dict[str, Any]


def read(results: Path) -> str:
    """Return the tables; of what was measured twice the last."""
    records = [json.loads(line) for line in results.read_text().splitlines()] if results.is_file() else []
    parts = [_environment(records), _sizes(records), _layouts(records), _rates(records), _checks(records)]
    return "\n\n".join(part for part in parts if part)


def _last(records: list[Record], what: str, *names: str) -> list[Record]:
    """Return the last record of each kind and name."""
    found = {tuple(str(r.get(name)) for name in names): r for r in records if r["what"] == what}
    return list(found.values())


def _environment(records: list[Record]) -> str:
    lines = []
    for r in _last(records, "environment"):
        versions = ", ".join(
            f"{n} {r[n]}" for n in ("torch", "triton", "deepspeed", "transformers") if n in r
        )
        place = f"{r.get('gpu', 'CPU')}, driver {r.get('driver')}, CUDA {r['cuda']}, cuDNN {r.get('cudnn')}"
        lines.append(f"{place}, Python {r['python']}, {versions}")
    return "\n".join(lines)


def _sizes(records: list[Record]) -> str:
    rows = [r for r in _last(records, "layout", "size", "layout") if not r["layout"]]
    return _table(
        "| size | micro-batch × accumulated | tokens/s | MFU | peak memory, GiB | predicted | reserved |",
        [f"| {r['size']} | {r['micro_batch']} × {r['accumulated']} | {_speed(r)} |" if _ran(r)
         else f"| {r['size']} | {_why(r)} | | | | | |" for r in rows],
    )  # fmt: skip


def _layouts(records: list[Record]) -> str:
    rows = [r for r in _last(records, "layout", "size", "layout") if r["layout"]]
    return _table(
        "| size | options | tokens/s | MFU | peak memory, GiB | predicted | reserved |",
        [f"| {r['size']} | `{r['layout']}` (micro-batch {r['micro_batch']}) | {_speed(r)} |" if _ran(r)
         else f"| {r['size']} | `{r['layout']}` | {_why(r)} | | | | |" for r in rows],
    )  # fmt: skip


def _rates(records: list[Record]) -> str:
    rows = []
    for r in _last(records, "rate", "name", "deterministic"):
        mode = " (deterministic)" if r.get("deterministic") else ""
        if "tflops" in r:
            figure = f"{r['tflops']:.0f} TFLOP/s"
        elif "tb_s" in r:
            figure = f"{r['tb_s']:.2f} TB/s"
        elif "both_ms" in r:
            repeats = "repeats" if r["gradients_repeat"] else "does not repeat"
            figure = (
                f"{r['forward_ms']:.2f} ms, with its gradients {r['both_ms']:.2f} ms; {repeats} to the bit"
            )
        else:
            figure = r.get("failed", "")
        rows.append(f"| {r['name']}{mode} | {figure} |")
    return _table("| rate of the machine | |", rows)


def _checks(records: list[Record]) -> str:
    lines = []
    for r in records:
        match r["what"]:
            case "resumed":
                lines.append(
                    f"- stopped and resumed, {r['mode']}: {r['steps_that_differ']} of {r['steps']} steps "
                    f"differ, by {r['largest_difference_of_loss']:.1e} at most; the checkpoints are "
                    + ("the same" if r["same_checkpoint"] else "not the same")
                )
            case "command":
                lines.append(f"- the command, {r['size']}: {r['tokens_per_s']:,.0f} tokens/s (median step)")
            case "generated":
                lines.append(f"- transformers writes {'the same' if r['same_text'] else 'another'} text")
            case "trained":
                losses = ", ".join(f"{loss:.3f} (step {n})" for n, loss in r["validation_loss"].items())
                lines.append(f"- validation loss of {r['size']}: {losses}")
            case "failed":
                lines.append(f"- failed: {r['command']}: {r['reason']}")
    return "\n".join(lines)


def _ran(r: Record) -> bool:
    return "tokens_per_s" in r


def _why(r: Record) -> str:
    return str(r.get("failed") or r.get("skipped"))


def _speed(r: Record) -> str:
    share = f"{r['mfu']:.1%}" if r["mfu"] is not None else "unknown"
    if "measured_gib" not in r:
        return f"{r['tokens_per_s']:,} | {share} | | | "
    error = f"{r['predicted_gib']} ({r['error_of_prediction']:+.1%})"
    return f"{r['tokens_per_s']:,} | {share} | {r['measured_gib']} | {error} | {r['reserved_gib']}"


def _table(head: str, rows: list[str]) -> str:
    if not rows:
        return ""
    return "\n".join([head, "|" + "---|" * (head.count("|") - 1), *rows])
