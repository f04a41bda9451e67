"""Profiles a few steps: a trace for Chrome's viewer (or Perfetto) and a table."""

from pathlib import Path

import torch
from torch.profiler import ProfilerActivity, profile

ROWS = 40


class Profiler:
    """Profiles a range of steps, and writes the files into the run's folder after the last."""

    def __init__(self, steps: range, run: Path | None) -> None:
        """Profile these steps into a run's folder; without a folder, do nothing."""
        self._steps, self._run = steps if run else range(0), run
        self._profile: profile | None = None

    def before(self, step: int) -> None:
        """Start if this step is to be profiled and profiling has not started."""
        if step in self._steps and self._profile is None:
            activities = [ProfilerActivity.CPU]
            if torch.cuda.is_available():
                activities.append(ProfilerActivity.CUDA)
            self._profile = profile(activities=activities, profile_memory=True)
            self._profile.start()

    def after(self, step: int) -> str | None:
        """Stop if this was the last step to profile; return the path of the trace."""
        if self._run is None or self._profile is None or step + 1 < self._steps.stop:
            return None
        self._profile.stop()
        folder = self._run / "profile"
        folder.mkdir(exist_ok=True)
        name = f"steps_{self._steps.start}_{self._steps.stop}"
        trace = folder / f"{name}.json"
        self._profile.export_chrome_trace(str(trace))
        order = "self_cuda_time_total" if torch.cuda.is_available() else "self_cpu_time_total"
        table = self._profile.key_averages().table(sort_by=order, row_limit=ROWS)
        (folder / f"{name}.txt").write_text(table, encoding="utf-8")
        self._profile = None
        return str(trace)
