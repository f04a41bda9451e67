"""What the trainer does on one NVIDIA GPU: whether it is right, how fast it is, what helps.

    python tests/benchmarks/bench_gpu.py                 # make gpu: all parts, each under five minutes
    python tests/benchmarks/bench_gpu.py --part speed
    python tests/benchmarks/bench_gpu.py --tables        # the tables of docs/performance.md, from the results
    python tests/benchmarks/bench_gpu.py --rehearsal     # make gpu-rehearsal: all of it at toy size on a CPU

Parts, the most important first: correctness (the tests that want a GPU; the real command, stopped and gone
on with; export and generation), speed (the machine's own rates; every size), layouts (of small), training
(small for two minutes). Each result is a line of results.jsonl in --output as soon as it is known.
"""

import argparse
import os
import shutil
import sys
import time
from pathlib import Path

ROOT = Path(__file__).parents[2]
sys.path[:0] = [str(ROOT), str(ROOT / "tests/benchmarks"), str(ROOT / "tests/proofs")]

from gpu import correctness, tables  # noqa: E402  # the paths come first
from gpu.parts import Scale, Session  # noqa: E402
from made_shards import write_shards  # noqa: E402

HERE = Path(__file__).parent / "gpu"
GPU = Scale(
    small="small",
    sizes=("small", "medium", "large", "xl"),
    merges=50_000,
    train_tokens=12_000_000,
    steps=12,
    options=(),
    resume_options=("--global-batch-tokens", "65536", "--micro-batch", "16"),
    layouts=(
        "",
        "--micro-batch 64",
        "--micro-batch 32",
        "--deterministic",
        "--compile off --micro-batch 32",
        "--activation-checkpointing selective",
        "--activation-checkpointing block",
        "--activation-checkpointing offload",
        "--document-attention",
        "--float8",
        "--optimizer muon",
        "--zero-stage 1",
        "--zero-stage 2",
        "--zero-stage 2 --offload-optimizer",
    ),
    training_steps=110,
)
TOY = Scale(
    small="micro",
    sizes=("micro",),
    merges=0,
    train_tokens=40_000,
    steps=4,
    options=(),
    resume_options=("--global-batch-tokens", "1024", "--micro-batch", "4"),
    layouts=("--micro-batch 2", "--deterministic --micro-batch 2"),
    training_steps=4,
)
PARTS = ("correctness", "speed", "layouts", "training")


def main() -> None:
    """Run the parts."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--part", choices=PARTS, action="append")
    parser.add_argument("--output", type=Path, default=Path("out/gpu"))
    parser.add_argument("--limit", type=float, default=285, help="seconds of each part")
    parser.add_argument("--data", type=Path, help="shards to train small on; left out, made ones")
    parser.add_argument("--rehearsal", action="store_true")
    parser.add_argument("--tables", action="store_true")
    options = parser.parse_args()
    results = options.output / "results.jsonl"
    if options.tables:
        print(tables.read(results))
        return
    options.output.mkdir(parents=True, exist_ok=True)
    scale = TOY if options.rehearsal else GPU
    environment = _environment(options.output, rehearsal=options.rehearsal)
    shards = options.output / f"shards-{scale.merges}"
    if not (shards / "shards.json").is_file():
        shutil.rmtree(shards, ignore_errors=True)
        validation = max(2_000, scale.train_tokens // 100)
        write_shards(shards, train=scale.train_tokens, validation=validation, merges=scale.merges)
    for part in options.part or PARTS:
        session = Session(
            name=part,
            scale=scale,
            output=options.output,
            shards=shards,
            data=options.data or shards,
            environment=environment,
            deadline=time.monotonic() + options.limit,
        )
        session.say(f"{part}")
        _run(session)
    print(tables.read(results))


def _environment(output: Path, *, rehearsal: bool) -> dict[str, str]:
    """Return what every process of the parts is started with."""
    environment = {
        **os.environ,
        "HF_HUB_OFFLINE": "1",
        "TOKENIZERS_PARALLELISM": "false",
        "TORCHINDUCTOR_CACHE_DIR": str((output / "inductor").absolute()),
        "PYTHONUNBUFFERED": "1",
    }
    environment["PYTHONPATH"] = os.pathsep.join([str(ROOT), environment.get("PYTHONPATH", "")])
    if rehearsal:
        environment |= {"CUDA_VISIBLE_DEVICES": "", "DS_ACCELERATOR": "cpu"}
    return environment


def _run(session: Session) -> None:
    """Run one part."""
    scale, results = session.scale, session.results
    measure = [str(HERE / "measure.py"), "--results", str(results)]
    measure += ["--vocabulary", str(scale.merges + 257)]
    match session.name:
        case "correctness":
            correctness.run(session)
        case "speed":
            for size in scale.sizes:
                profile = ["--profile", str(session.output / f"kernels_{size}.txt")]
                session.python([*measure, "--size", size, *profile, "--", ""], most=90)
            session.python([str(HERE / "rates.py"), "--results", str(results)], most=60)
        case "layouts":
            limit = ["--seconds", str(session.left - 60)]
            session.python(
                [*measure, "--size", scale.small, *limit, "--", *scale.layouts], most=session.left - 40
            )
            session.python([*measure, "--size", scale.small, "--", "--zero-stage 3 --micro-batch 8"], most=60)
        case _:
            correctness.train(session)


if __name__ == "__main__":
    main()
