"""Predict what a run will need before it starts: GPU memory, time and money.

python launch/plan.py --size xl --gpus 8 --gpu-memory 80
"""

import json
import sys
from pathlib import Path

if __package__ in (None, ""):  # run as a plain file, from wherever: the packages lie beside this folder
    sys.path[0] = str(Path(__file__).resolve().parents[1])

from pipeline.runner.command import run_command
from trainer.memory.choice import AvailableMemory
from trainer.memory.estimate import GIB
from trainer.memory.forecast import PlanOptions, as_record, check_options, recommend, resolve_stage
from trainer.memory.forecast_text import cost, heading, nothing_fits, recommendation, table


def main(options: PlanOptions) -> None:
    """Print which layouts fit, which one to use, and what the run will cost."""
    gpu = check_options(options)
    plans = [resolve_stage(options, stage) for stage in (0, 1, 2, 3)]
    available = AvailableMemory(
        device_bytes=int(options.gpu_memory * GIB),
        total_bytes=int(options.gpu_memory * GIB),
        accelerator=True,
    )
    best = recommend(options, plans, available)
    if options.json:
        print(json.dumps(as_record(options, plans, available, best, gpu), indent=2))
        return
    print("\n".join([*heading(options, plans[0]), "", *table(plans, available, best), ""]))
    if best is None:
        print(nothing_fits(options, plans, available))
        return
    print("\n".join([*recommendation(options, best, available), "", *cost(options, best.plan, gpu)]))


if __name__ == "__main__":
    run_command(PlanOptions, main, "Predict memory, time and cost of a training run, and recommend a layout.")
