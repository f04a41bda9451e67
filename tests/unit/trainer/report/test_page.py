"""The page of a run, from files as a run writes them."""

import re

import pytest
from pages import browser, faults

from trainer.report.history import RunHistory
from trainer.report.metrics import samples_file
from trainer.report.page import page, read_runs, write_comparison, write_run_page


def text_of(html: str) -> str:
    body = html.partition("<body>")[2]
    return re.sub(r"\s+", " ", re.sub(r"<[^>]+>", " ", body))


def test_a_running_run_says_where_it_is_and_the_page_reloads_itself(tmp_path, write_run):
    write_run(tmp_path / "run", steps=100)
    write_run_page(tmp_path / "run")
    html = (tmp_path / "run" / "run.html").read_text()
    assert '<meta http-equiv="refresh" content="30">' in html
    text = text_of(html)
    assert "step 40 of 100" in text
    assert "30 s left" in text  # 60 steps of half a second
    assert "164 k tokens" in text
    assert "6.0000 validation loss, nats per token" in text
    assert "2.2000 validation bits per byte" in text
    assert "8,192 tokens/s" in text
    assert "3.0 GiB peak memory" in text
    assert "1 / 1 spikes / updates skipped" in text
    assert html.count('<u class="skipped"') == 1 and html.count('<u class="spike"') == 1
    assert "step 7: update skipped" in html and "step 30: spike" in html


def test_an_ended_run_says_how_and_reloads_no_more(tmp_path, write_run):
    write_run(tmp_path / "run")
    write_run_page(tmp_path / "run", state="finished")
    html = (tmp_path / "run" / "run.html").read_text()
    assert "refresh" not in html
    assert "finished" in text_of(html) and " left " not in text_of(html)


def test_a_page_loads_and_runs_nothing_and_shows_no_markup_of_what_the_model_wrote(tmp_path, write_run):
    run = write_run(tmp_path / "<b>run")
    samples_file(run).append({"step": 0, "prompt": "", "text": "noise"})
    samples_file(run).append({"step": 20, "prompt": "The ", "text": "<script>alert(1)</script>\n\u202eend"})
    html = page(read_runs([run]))
    assert "<script" not in html and "<b>run" not in html
    assert "&lt;script&gt;alert(1)&lt;/script&gt;" in html
    assert not re.search(r"(src|href)=|url\(", html)
    text = text_of(html)
    assert text.index("step 20") < text.index("step 0 noise")  # the newest first


def test_several_runs_share_their_charts_and_the_table_begins_with_what_differs(tmp_path, write_run):
    folders = [
        write_run(tmp_path / "first" / "run"),
        write_run(tmp_path / "second" / "run", learning_rate=4e-3, taken=20),
    ]
    write_comparison([*folders, folders[0]], tmp_path / "both.html")
    html = (tmp_path / "both.html").read_text()
    assert html.count("first/run, validation") == html.count("second/run, validation") == 1
    text = text_of(html)
    assert "steps 40 of 40 20 of 40" in text
    assert "lowest validation loss 6.0000 at step 40 7.0000 at step 20" in text
    settings = text.partition("differences first")[2]
    assert settings.split()[:4] == ["first/run", "second/run", "learning", "rate"]
    assert "0.002 0.004" in settings


@pytest.mark.parametrize(
    "content", ["", "[]", "{", '{"plan": 7}', '{"plan": {"steps": 0}}', '{"plan": {}}', "[" * 100_000]
)
def test_what_is_no_run_is_a_line(tmp_path, content):
    with pytest.raises(ValueError, match="is not a training run"):
        RunHistory.read(tmp_path)
    (tmp_path / "options.json").write_text(content)
    with pytest.raises(ValueError, match="damaged file of a run"):
        RunHistory.read(tmp_path)


def test_more_runs_than_colours_are_refused(tmp_path, write_run):
    folders = [write_run(tmp_path / f"run-{number}", taken=1) for number in range(7)]
    with pytest.raises(ValueError, match="at most 6"):
        page(read_runs(folders))
    with pytest.raises(ValueError, match="give the folder"):
        read_runs([])


def test_a_run_that_has_not_begun_has_a_page(tmp_path, write_run):
    run = write_run(tmp_path / "run", taken=0)
    (run / "metrics.jsonl").write_text("")
    assert "No step has been taken yet." in text_of(page(read_runs([run])))


@pytest.mark.slow
@pytest.mark.skipif(browser() is None, reason="no browser is installed")
def test_a_browser_shows_the_page_whole_on_a_phone_and_reports_nothing(tmp_path, write_run):
    run = write_run(tmp_path / ("a_name_without_any_place_to_break_it_" * 3))
    samples_file(run).append({"step": 20, "prompt": "", "text": "x" * 500})
    write_run_page(run, state="finished")
    assert faults(run / "run.html") == []


@pytest.mark.parametrize(
    ("file", "line"),
    [
        ("metrics.jsonl", '{"step": 1, "tokens_per_second": 5.0}'),
        ("metrics.jsonl", '{"step": "x", "validation_loss": 5.0}'),
        ("metrics.jsonl", "7"),
        ("metrics.jsonl", "[" * 100_000),
        ("samples.jsonl", '{"step": 1, "prompt": 7, "text": ""}'),
    ],
)
def test_a_damaged_line_is_one_line_of_error(tmp_path, write_run, file, line):
    run = write_run(tmp_path / "run")
    with (run / file).open("a") as damaged:
        damaged.write(line + "\n")
    with pytest.raises(ValueError, match="damaged file of a run"):
        RunHistory.read(run)


def test_a_line_cut_in_the_middle_is_not_yet_written(tmp_path, write_run):
    run = write_run(tmp_path / "run")
    with (run / "metrics.jsonl").open("a") as file:
        file.write('{"step": 41, "tok')
    assert RunHistory.read(run).step == 40


def test_a_value_that_is_no_number_leaves_a_gap(tmp_path, write_run):
    run = write_run(tmp_path / "run", taken=0)
    with (run / "metrics.jsonl").open("a") as file:
        file.write('{"step": 20, "validation_loss": null, "validation_tokens": 1}\n')
    assert "NaN validation loss" in text_of(page(read_runs([run])))
