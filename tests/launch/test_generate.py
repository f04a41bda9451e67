import sys

import pytest

from launch import generate
from launch.generate import GenerateOptions
from trainer.loading import ModelOptions
from trainer.sampling import Sampling

# The first test waits for runs that later ones share.
pytestmark = pytest.mark.timeout(300)


def test_the_command_goes_on_from_a_prompt_and_repeats_itself_by_seed(launcher, model, capsys):
    options = f"--model {model} --prompt The --tokens 20 --seed 3 --top-k 40".split()
    code, printed = launcher.run(sys.executable, "launch/generate.py", *options)
    assert code == 0, printed
    assert printed.startswith("The")
    assert len(printed) > len("The\n")
    source = ModelOptions(model=model)
    generate.main(
        GenerateOptions(source=source, prompt="The", tokens=20, seed=3, sampling=Sampling(top_k=40))
    )
    assert capsys.readouterr().out == printed


def test_several_samples_differ(model, capsys):
    generate.main(GenerateOptions(source=ModelOptions(model=model), tokens=20, samples=3))
    samples = capsys.readouterr().out.split("-" * 40)
    assert len(set(samples)) == 3


def test_a_folder_without_a_model_is_a_mistake(tmp_path):
    with pytest.raises(ValueError, match=r"no finished checkpoint, nor the config\.json"):
        generate.main(GenerateOptions(source=ModelOptions(model=tmp_path)))


@pytest.mark.parametrize("script", ["pretrain", "export", "generate"])
def test_help_needs_no_torch(launcher, script):
    code = (
        "import runpy, sys; sys.argv = ['x', '--help']\n"
        f"try: runpy.run_path('launch/{script}.py', run_name='__main__')\n"
        "finally: print('torch' in sys.modules)"
    )
    _, printed = launcher.run(sys.executable, "-c", code)
    assert "--output" in printed or "--model" in printed
    assert printed.splitlines()[-1] == "False"
