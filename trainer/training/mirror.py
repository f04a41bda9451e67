"""A run whose folder is a store's: what the ranks do together to go on from there and to send it there.

Everything is written to a scratch folder first, as a run on a disk is. If all ranks see one scratch folder,
its checkpoints are complete there, too, and the run goes on from the newest. Machines with scratch folders of
their own have only the files that their ranks wrote: these go once they are sent, and the run goes on from
the store.
"""

import sys
import time
import uuid
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Final

from pipeline.runner.lock import locked
from pipeline.runner.names import bare
from pipeline.runner.terminal import say
from pipeline.runner.transfer import patiently
from trainer.checkpoint.folder import MARKER, FileRecord, discard, read_records
from trainer.checkpoint.sender import Parcel, Sender
from trainer.checkpoint.store import RunStore
from trainer.config.plan import TrainingPlan
from trainer.distributed.ranks import (
    Ranks,
    all_gather,
    fail_together,
    on_first_of_each_machine,
    on_first_rank,
)
from trainer.distributed.shared_folder import blind_ranks

LOOK_S: Final = 0.3  # between looks whether all is sent
TELL_S: Final = 5.0  # a wait that is not worth a line
GIVE_WAY_S: Final = 60.0  # a checkpoint that could not be sent for so long is given up for the next one
GIVE_UP_S: Final = 600.0  # at the end of a run


class Mirror:
    """The run's folder on a store; all ranks call each method together."""

    def __init__(self, store: RunStore, run: Path, ranks: Ranks, plan: TrainingPlan, *, apart: bool) -> None:
        """Begin to send.

        Args:
            run: the scratch folder.
            apart: whether machines have scratch folders of their own.
        """
        self._store, self._run, self._ranks = store, run, ranks
        self.apart = apart
        self._sender = Sender(
            store,
            run,
            rank=ranks.rank,
            keep_newest=plan.keep_checkpoints,
            keep_every=plan.keep_every,
        )

    @property
    def share(self) -> tuple[int, int]:
        """Which part of the files on its disk this rank reads for all, and of how many."""
        if self.apart:
            return self._ranks.local_rank, self._ranks.local_size
        return self._ranks.rank, self._ranks.size

    def settle(self) -> None:
        """Bring the newest complete checkpoint into every scratch folder, unless it has a newer one."""
        self.make_way()
        on_first_of_each_machine(self._fetch, self._ranks)

    def _fetch(self) -> None:
        if self.apart:  # what is here only in part, or was never complete
            known = set(self._store.complete())
            for folder in self._run.glob("step_*"):
                if folder.name not in known:
                    discard(folder)
        if self.apart or self._ranks.rank == 0:
            self._store.fetch_newest(self._run, exclusive=False)

    def go_on_from(self, checkpoint: Path | None) -> None:
        """Have the store end with the checkpoint that the run goes on from: newer ones there are damaged."""
        if checkpoint is None:
            return
        on_first_rank(lambda: self._store.set_aside_after(checkpoint.name))
        marker, found = (checkpoint / MARKER).read_text(), list[str | None]()
        on_first_rank(lambda: found.append(self._store.marker(checkpoint.name)))
        if all_gather(found)[0] != [marker]:
            names = sorted(set(read_records(checkpoint)) - {"state.json"})
            texts = {"state.json": (checkpoint / "state.json").read_text(), MARKER: marker}
            owners = {name: number % self._ranks.size for number, name in enumerate(names)}
            self.send(checkpoint.name, owners, read_records(checkpoint), texts)

    def make_way(self) -> None:
        """Wait until the last checkpoint is sent; give it up if that has failed for a minute."""
        began, told = time.monotonic(), False
        while any(all_gather(self._sender.has_checkpoint)):
            _, failing_s, trouble = self._look()
            if failing_s > GIVE_WAY_S:
                self._tell(f"the last checkpoint could not be sent: {trouble}: the next one will be")
                self._sender.give_up()
            elif not told and time.monotonic() - began > TELL_S:
                self._tell(f"waiting until the last checkpoint is on {bare(self._store.address)}")
                told = True
            time.sleep(LOOK_S)

    def send(
        self,
        name: str,
        owners: Mapping[str, int],
        records: Mapping[str, FileRecord],
        texts: Mapping[str, str],
    ) -> None:
        """Begin to send a checkpoint that the ranks have written.

        Args:
            name: of the checkpoint.
            owners: which rank wrote each file of tensors.
            records: of these files.
            texts: state.json and the marker.
        """
        attempt = all_gather(uuid.uuid4().hex)[0]
        files: Sequence[str] = [file for file, owner in owners.items() if owner == self._ranks.rank]
        self._sender.send_checkpoint(
            Parcel(
                name=name,
                attempt=attempt,
                files=files,
                records=records,
                texts=texts,
                senders=sorted(set(owners.values())),
                is_moved=self.apart,
            )
        )

    def send_files(self) -> None:
        """Begin to send the run's other files (any rank may call it alone; the first one sends)."""
        self._sender.send_files()

    def finish(self) -> None:
        """Wait until everything is sent.

        Raises:
            OSError: it could not be, for ten minutes; what was sent before is complete.
        """
        self.send_files()
        told = time.monotonic()
        while True:
            is_busy, failing_s, trouble = self._look()
            if not is_busy and not trouble:
                return
            if not is_busy or failing_s > GIVE_UP_S:
                self._sender.give_up()
                fail_together(
                    OSError(
                        f"the end of the run could not be sent to {bare(self._store.address)}: {trouble}. "
                        f"{self._advice}"
                    )
                )
            if time.monotonic() - told > GIVE_WAY_S:
                self._tell(f"still sending to {bare(self._store.address)}")
                told = time.monotonic()
            time.sleep(LOOK_S)

    @property
    def _advice(self) -> str:
        if self.apart:
            return "The same command goes on from the last checkpoint there"
        return f"It is in {self._run} on this machine: run the same command here to send it"

    def _look(self) -> tuple[bool, float, str]:
        """Return whether any rank is sending; and of the worst, for how long it has failed, and why."""
        sender = self._sender
        found = all_gather((sender.busy, sender.failing_s, sender.trouble or sender.unsent))
        return any(busy for busy, _, _ in found), *max((failing_s, text) for _, failing_s, text in found)

    def close(self) -> None:
        """End the sending, also of what has not been sent (each rank by itself)."""
        self._sender.close()

    def _tell(self, line: str) -> None:
        if self._ranks.rank == 0:
            say(line, file=sys.stderr, flush=True)


@contextmanager
def mirrored(store: RunStore, run: Path, ranks: Ranks, plan: TrainingPlan) -> Iterator[Mirror]:
    """Keep other runs out of the store's folder and of the scratch folders; give the mirror.

    Raises:
        ValueError: another run is using one of them.
    """
    with ExitStack() as stack:
        on_first_rank(lambda: _enter_patiently(stack, store.address))
        on_first_rank(lambda: stack.enter_context(locked(str(run))))
        apart = bool(blind_ranks(run, ranks))
        if apart:
            on_first_of_each_machine(
                lambda: None if ranks.rank == 0 else stack.enter_context(locked(str(run))), ranks
            )
        mirror = Mirror(store, run, ranks, plan, apart=apart)
        stack.callback(mirror.close)
        mirror.settle()
        yield mirror


def _enter_patiently(stack: ExitStack, address: str) -> None:
    patiently(lambda: stack.enter_context(locked(address)), what=address)
