"""Whether the trainer is right on a GPU: its tests, a real run, one gone on with, its model elsewhere."""

import json
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

from gpu.parts import ROOT, Session

ENVIRONMENT = """
import json, os, platform
from importlib.metadata import version
import torch
record = {"what": "environment", "python": platform.python_version(), "cores": os.cpu_count()}
for name in ("torch", "triton", "deepspeed", "transformers", "numpy"):
    try: record[name] = version(name)
    except Exception: record[name] = "missing"
record["cuda"] = torch.version.cuda
if torch.cuda.is_available():
    free, total = torch.cuda.mem_get_info()
    record |= {"gpu": torch.cuda.get_device_name(0), "capability": torch.cuda.get_device_capability(0),
               "free_gib": round(free / 2**30, 1), "total_gib": round(total / 2**30, 1),
               "cudnn": torch.backends.cudnn.version(), "nccl": torch.cuda.nccl.version(),
               "bf16": torch.cuda.is_bf16_supported(including_emulation=False)}
print(json.dumps(record))
"""
ELSEWHERE = """
import sys, torch
from transformers import AutoModelForCausalLM, AutoTokenizer
folder, prompt, count = sys.argv[1], sys.argv[2], int(sys.argv[3])
device = "cuda" if torch.cuda.is_available() else "cpu"
model = AutoModelForCausalLM.from_pretrained(folder).to(device)
tokenizer = AutoTokenizer.from_pretrained(folder)
tokens = tokenizer(prompt, return_tensors="pt").to(device)
text = model.generate(**tokens, max_new_tokens=count, min_new_tokens=count, do_sample=False)
print(tokenizer.decode(text[0]))
"""
TOKENS = 24


def run(session: Session) -> None:
    """Run the part, the most important first."""
    environment(session)
    if shutil.which("nvidia-smi"):
        session.command([sys.executable, "-m", "pytest", "-p", "no:cacheprovider", "tests/gpu"], most=120)
    scale, output = session.scale, session.output
    half = scale.steps // 2
    line = [
        "--steps", str(scale.steps), "--checkpoint-every", str(half), "--evaluate-every", str(half),
        "--log-every", "1", "--profile-steps", f"{scale.steps - 2}:{scale.steps - 1}", *scale.options,
    ]  # fmt: skip
    shutil.rmtree(output / "run", ignore_errors=True)
    if pretrain(session, output / "run", line, data=session.shards):
        metrics = read_metrics(output / "run")
        rates = sorted(record["tokens_per_second"] for record in metrics if "loss" in record)
        session.record({"what": "command", "size": scale.small, "tokens_per_s": rates[len(rates) // 2]})
        hand_over(session, output / "run")
    for name, extra in (("as it is", ()), ("deterministic", ("--deterministic",))):
        go_on(session, name, [*scale.resume_options, *extra])


def environment(session: Session) -> None:
    """Record the card, the driver and the versions."""
    found = subprocess.run(
        [sys.executable, "-c", ENVIRONMENT],
        env=session.environment,
        cwd=ROOT,
        capture_output=True,
        check=True,
    )
    record = json.loads(found.stdout)
    if shutil.which("nvidia-smi"):
        query = ["nvidia-smi", "--query-gpu=driver_version,power.limit", "--format=csv,noheader"]
        shown = subprocess.run(query, capture_output=True, text=True, check=False)
        record["driver"] = shown.stdout.strip()
    session.record(record)


def pretrain(session: Session, run: Path, line: list[str], *, data: Path, most: float = 100) -> bool:
    """Run the real command under DeepSpeed's launcher; say whether it ended well. A run there goes on."""
    log = run.with_suffix(".log")
    command = [
        sys.executable, "-m", "deepspeed.launcher.runner", "--quiet", "--num_accelerators", "1",
        "launch/pretrain.py", "--data", str(data.absolute()), "--size", session.scale.small,
        "--output", str(run.absolute()), *line,
    ]  # fmt: skip
    done = session.command(command, most=most, log=log)
    print("\n".join(log.read_text().splitlines()[-12:]), flush=True)
    return done


def go_on(session: Session, name: str, extra: list[str]) -> None:
    """Train 6 steps; then take the same run back to step 3 and let it go on; compare to the bit."""
    straight, again = session.output / "straight", session.output / "again"
    line = ["--steps", "6", "--checkpoint-every", "3", "--evaluate-every", "0", *extra]
    shutil.rmtree(straight, ignore_errors=True)
    if not pretrain(session, straight, line, data=session.shards, most=60):
        return
    shutil.rmtree(again, ignore_errors=True)
    shutil.copytree(straight, again)
    shutil.rmtree(again / "step_00000006")
    if not pretrain(session, again, line, data=session.shards, most=60):
        return
    one, other = ({m["step"]: (m["loss"], m["gradient_norm"]) for m in read_metrics(r) if "loss" in m}
                  for r in (straight, again))  # fmt: skip
    files = [json.loads((r / "step_00000006" / "complete").read_text())["files"] for r in (straight, again)]
    tensors = [{n: f for n, f in found.items() if n.endswith(".safetensors")} for found in files]
    differ = [step for step in one if one[step] != other.get(step)]
    largest = max(abs(one[step][0] - other[step][0]) for step in one if step in other)
    session.record(
        {"what": "resumed", "mode": name, "steps": len(one), "steps_that_differ": len(differ),
         "largest_difference_of_loss": largest, "same_checkpoint": tensors[0] == tensors[1]}
    )  # fmt: skip


def hand_over(session: Session, run: Path) -> None:
    """Export the run's model: `launch/generate.py` and transformers must write the same text, greedily."""
    folder, texts = session.output / "model", []
    shutil.rmtree(folder, ignore_errors=True)
    log = session.output / "export.log"
    log.unlink(missing_ok=True)
    export = ["launch/export.py", "--checkpoint", str(run), "--output", str(folder)]
    if not session.python(export, most=60, log=log):
        return
    asked = ["--prompt", "The", "--max-new-tokens", str(TOKENS), "--temperature", "0"]
    for name, arguments in (
        ("ours", ["launch/generate.py", "--model", str(run), *asked]),
        ("theirs", ["-c", ELSEWHERE, str(folder), "The", str(TOKENS)]),
    ):
        log = session.output / f"text_{name}.log"
        log.unlink(missing_ok=True)
        if not session.python(arguments, most=60, log=log):
            return
        texts.append(log.read_text().strip())
    same = texts[0][-60:] in texts[1]
    session.record(
        {"what": "generated", "same_text": same, "ours": texts[0][-200:], "theirs": texts[1][-200:]}
    )


def train(session: Session) -> None:
    """Train small for as long as there is time, and show the loss, a sample and the model elsewhere."""
    run = session.output / "trained"
    steps = session.scale.training_steps
    line = ["--steps", str(steps), "--evaluate-every", str(max(1, steps // 5)), "--log-every", "5"]
    shutil.rmtree(run, ignore_errors=True)
    if pretrain(session, run, line, data=session.data, most=session.left - 40):
        losses = {m["step"]: m["validation_loss"] for m in read_metrics(run) if "validation_loss" in m}
        session.record({"what": "trained", "size": session.scale.small, "validation_loss": losses})
        hand_over(session, run)


def read_metrics(run: Path) -> list[dict[str, Any]]:
    """Return the lines of a run's metrics."""
    return [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]
