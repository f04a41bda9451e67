from trainer.report.metrics import metrics_file


def test_resuming_drops_what_came_after_the_checkpoint_and_a_line_cut_in_the_middle(tmp_path):
    metrics = metrics_file(tmp_path)
    for step in (1, 2, 3):
        metrics.append({"step": step, "loss": 1.0 / step})
    with (tmp_path / "metrics.jsonl").open("a") as file:
        file.write('{"step": 2, "lo')
    assert [record["step"] for record in metrics.read()] == [1, 2, 3]
    metrics.resume_after(2)
    metrics.append({"step": 3, "loss": 0.5})
    assert metrics.read() == [
        {"step": 1, "loss": 1.0},
        {"step": 2, "loss": 0.5},
        {"step": 3, "loss": 0.5},
    ]


def test_a_run_that_begins_anew_keeps_nothing_of_an_attempt_that_saved_no_checkpoint(tmp_path):
    metrics = metrics_file(tmp_path)
    metrics.append({"step": 0, "validation_loss": 6.0})
    metrics.resume_after(0)
    assert metrics.read() == []
