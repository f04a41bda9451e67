from types import SimpleNamespace
from typing import Any

import torch

from trainer.training.reports import Reports


def test_a_page_that_cannot_be_written_costs_a_line_and_not_the_run(tmp_path, capsys):
    run: Any = SimpleNamespace(plan=None, device=torch.device("cpu"), output=tmp_path)
    Reports(run, shown=True).page()
    assert capsys.readouterr().out.startswith("warning: run.html could not be written: ")
    Reports(run, shown=False).page()
    assert not capsys.readouterr().out and not list(tmp_path.iterdir())
