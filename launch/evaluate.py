"""Evaluate a model on the GPT-2 paper's data sets, from files on this machine; nothing is downloaded.

python launch/evaluate.py --model out/model --wikitext2 wikitext-2 --lambada lambada.jsonl --output out/scores
deepspeed launch/evaluate.py --model out/run --text a.txt b.jsonl --output out/scores
"""

import sys
from pathlib import Path

if __package__ in (None, ""):  # run as a plain file, from wherever: the packages lie beside this folder
    sys.path[0] = str(Path(__file__).resolve().parents[1])

from pipeline.runner.command import run_command
from trainer.evaluation.run import EvaluateOptions, evaluate_sets

if __name__ == "__main__":
    run_command(EvaluateOptions, evaluate_sets, "Evaluate a model on the GPT-2 paper's data sets.")
