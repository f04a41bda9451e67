"""The configurations in launch/configs are runs that start and fit the machines of their names."""

from pathlib import Path

import pytest

from pipeline.runner.config_file import load_config
from trainer.config.options import TrainingOptions
from trainer.config.plan import resolve
from trainer.memory.choice import AvailableMemory, choose_layout
from trainer.memory.estimate import GIB

CONFIGS = sorted((Path(__file__).parents[3] / "launch" / "configs").glob("*.json"))
MACHINES = {"8xh100": (8, 80), "1x24gb": (1, 24)}  # GPUs, and GiB of each


@pytest.mark.parametrize("path", CONFIGS, ids=lambda path: path.stem)
def test_a_configuration_is_a_run_that_fits_its_machine(path):
    options = load_config(str(path), TrainingOptions, {})
    size, _, machine = path.stem.partition("-")
    assert options.size == size
    gpus, memory = MACHINES.get(machine, (0, 8))
    plan = resolve(options, vocabulary=50257, world_size=max(1, gpus), accelerator=gpus > 0)
    available = AvailableMemory(device_bytes=memory * GIB, total_bytes=memory * GIB, accelerator=gpus > 0)
    fitted = choose_layout(plan, options, available, None)
    assert options.micro_batch in (None, fitted.plan.micro_batch)
    assert fitted.memory.total <= available.device_bytes


def test_there_is_a_configuration_of_each_size():
    assert {path.stem.partition("-")[0] for path in CONFIGS} == {"nano", "small", "medium", "large", "xl"}
