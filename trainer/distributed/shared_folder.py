"""Whether all ranks see one output folder: asked before the first step, not at the first checkpoint."""

import time
import uuid
from pathlib import Path

from trainer.distributed.ranks import Ranks, all_gather, fail_together, on_first_rank

SEEN_WITHIN_S = 10.0  # a network file system may show a new file late


def check_shared(folder: Path, ranks: Ranks) -> None:
    """Check that what the first rank writes to the folder, which it has made, is there for every rank.

    All ranks must ask.

    Raises:
        ValueError: it is not; on the first rank, the others leave.
    """
    if blind := blind_ranks(folder, ranks):
        fail_together(
            ValueError(
                f"--output {folder} is not shared: rank {blind[0]} does not see what rank 0 writes there. "
                "Every rank writes a part of each checkpoint: give a folder on a disk that all machines "
                "mount, or an address on a store (s3://…)"
            )
        )


def blind_ranks(folder: Path, ranks: Ranks) -> list[int]:
    """Return the ranks that do not see what the first rank writes to the folder; all ranks must ask."""
    if ranks.local_size == ranks.size:
        return []
    name = all_gather(f".shared-{uuid.uuid4().hex}")[0]
    token = folder / name
    on_first_rank(token.touch)
    deadline = time.monotonic() + SEEN_WITHIN_S
    while not (seen := token.exists()) and time.monotonic() < deadline:
        time.sleep(0.2)
    blind = [rank for rank, sees in enumerate(all_gather(seen)) if not sees]
    if ranks.rank == 0:
        token.unlink()
    return blind
