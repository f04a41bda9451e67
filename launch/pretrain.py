"""Train a GPT-2 on token shards: one rank by itself, or many ranks under DeepSpeed's launcher.

python launch/pretrain.py --data out/shards --output out/run
deepspeed --num_accelerators 2 launch/pretrain.py --size nano --data out/shards --output out/run --steps 100
"""

import os
import sys
from pathlib import Path

if __package__ in (None, ""):  # run as a plain file, from wherever: the packages lie beside this folder
    sys.path[0] = str(Path(__file__).resolve().parents[1])

from pipeline.runner.command import run_command
from trainer.config.options import TrainingOptions


def main(options: TrainingOptions) -> None:
    """Check the options, then train. An error in them is printed once per machine."""
    if "PYTORCH_CUDA_ALLOC_CONF" not in os.environ:  # PyTorch reads it on import
        os.environ.setdefault("PYTORCH_ALLOC_CONF", "expandable_segments:True")  # else memory fragments
    # torch takes seconds to import, and --help does not need it.
    from trainer.distributed.ranks import Ranks, leave, one_error_a_machine
    from trainer.training.loop import train
    from trainer.training.setup import prepare

    ranks = Ranks.from_environment()
    with one_error_a_machine(ranks):
        run = prepare(options, ranks)
    leave(ranks, train(run))


if __name__ == "__main__":
    run_command(
        TrainingOptions,
        main,
        "Train a GPT-2 on token shards, on one rank or on all ranks of a launcher.",
        renamed={"--ignore-memory": "--skip-memory-check"},
    )
