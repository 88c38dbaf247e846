"""The ledger of samples: in every epoch, rows that are expected = rows that were used + rows that were skipped.

Rows are counted where batches are made, as plain integers, so that counting never waits for a device. Expected is what
the plan says, which knows nothing of reading. A difference, over all processes, is an error and not a log line.
"""

from pathlib import Path
from typing import Any

import torch
from lightning.pytorch import Callback, LightningModule, Trainer
from lightning.pytorch.trainer.states import TrainerFn

from emonet_lightning.bad_samples import (
    BAD_SAMPLES,
    SkipBudget,
    in_words,
    read_bad_samples,
    reasons,
    write_bad_samples,
)
from emonet_lightning.errors import DataError
from emonet_lightning.messages import is_first_process, say
from emonet_lightning.processes import several


class SampleLedger(Callback):
    """Counts the rows of every pass, compares them with the plan, and says so in a line an epoch.

    Args:
        folder: of the run, where skipped samples are listed; None lists none.
    """

    def __init__(self, folder: Path | None = None) -> None:
        self.folder = folder
        self.skipped: dict[int, str] = {}
        """Training rows that were skipped in this run, in whichever of its starts, with the reason."""
        self._first, self._steps, self._used, self._unused, self._before = -1, 0, 0, 0, 0
        self._plan: list[int] = []
        self._heads: Any = None
        self._now: dict[int, str] = {}
        """Rows that were skipped in this epoch, once each; `_unused` counts how often they were drawn."""
        self._carried: tuple[int, int, int] | None = None
        """Rows planned, used and skipped in this epoch before the run was stopped, by all processes."""
        self._judged_steps, self._judged = 0, 0
        self._said = ""

    # -- training ----------------------------------------------------------------------------------------------------

    def on_train_epoch_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Begin a page."""
        self._first, self._steps, self._used, self._unused, self._now, self._said = -1, 0, 0, 0, {}, ""
        self._plan, self._carried = [], None

    def on_train_batch_start(self, trainer: Trainer, pl_module: LightningModule, batch: Any, batch_idx: int) -> None:
        """Note where in the epoch a run goes on, and what the plan says of it."""
        self._before = trainer.global_step
        if self._first < 0:
            loader: Any = trainer.train_dataloader
            self._first = loader.positions.first_step if loader is not None else 0
            data: Any = getattr(trainer, "datamodule", None)
            batches = data.train_batches()
            self._plan, self._heads = batches.rows_per_step(trainer.current_epoch), _left_out(batches)

    def on_train_batch_end(
        self, trainer: Trainer, pl_module: LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        """Count what was trained on: with `max_steps` the last call takes fewer steps than it was given batches."""
        taken = batch[: trainer.global_step - self._before]
        self._steps += len(taken)
        for part in taken:
            self._used += part.num_rows
            if part.skipped:
                self._unused += len(part.skipped)
                self._skip(trainer, part.skipped)

    def on_train_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Compare with the plan, over all processes.

        Raises:
            DataError: rows are missing or too many, or too many were skipped.
        """
        data: Any = getattr(trainer, "datamodule", None)
        if data is None or (self._first < 0 and self._carried is None):
            return
        (planned, used, num_skipped), skips = self._page(data)
        if planned != used + num_skipped:
            raise DataError(
                f"epoch {trainer.current_epoch}: {planned} rows were planned, {used} used and {num_skipped} skipped; "
                "these must agree, and a run whose samples get lost is stopped"
            )
        self._check(data, {**self.skipped, **skips})
        left = {**data.left_out, **skips}
        words = f" ({in_words(reasons(data.skip(row, reason) for row, reason in left.items()))})" if left else ""
        start = f" from step {self._first} on" if self._first > 0 and self._carried is None else ""
        say(
            f"epoch {trainer.current_epoch}{start}: {planned + len(data.left_out)} samples expected = {used} used + "
            f"{num_skipped + len(data.left_out)} skipped{words}{self._said}"
        )
        if skips.keys() - self.skipped.keys():
            self.skipped |= skips
            self._list(data)

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """List what the encode pass has left out, and what was skipped before the run was stopped."""
        data: Any = getattr(trainer, "datamodule", None)
        if data is not None and (self.skipped or getattr(data, "left_out", None)):
            self._list(data)

    def on_save_checkpoint(self, trainer: Trainer, pl_module: LightningModule, checkpoint: dict[str, Any]) -> None:
        """Add the page of an unfinished epoch, and the rows skipped so far."""
        data: Any = getattr(trainer, "datamodule", None)
        if data is not None:
            counts, skips = self._page(data)
            run = {**self.skipped, **skips}
            checkpoint["ledger"] = {"counts": list(counts), "epoch": sorted(skips.items()), "run": sorted(run.items())}

    def on_load_checkpoint(self, trainer: Trainer, pl_module: LightningModule, checkpoint: dict[str, Any]) -> None:
        """Take them up: rows skipped before count against the budget, and are listed."""
        found = checkpoint.get("ledger")
        if found is not None:
            planned, used, skipped = map(int, found["counts"])
            self._carried = planned, used, skipped
            self._now, self.skipped = dict(found["epoch"]), dict(found["run"])

    def _page(self, data: Any) -> tuple[tuple[int, int, int], dict[int, str]]:
        """Return rows planned, used and skipped in this epoch so far, by all processes, and which were skipped."""
        planned = sum(self._plan[max(self._first, 0) :][: self._steps])
        if planned > self._used + self._unused and _left_out(data.train_batches()) != self._heads:
            planned = self._used + self._unused  # heads that finished within the epoch draw no more pairs
        pages = _of_all((planned, self._used, self._unused, sorted(self._now.items())), data.share[1] > 1)
        every = [*pages, (*self._carried, [])] if self._carried is not None else pages
        planned, used, skipped = (sum(page[place] for page in every) for place in range(3))
        return (planned, used, skipped), {row: reason for *_, page in pages for row, reason in page}

    def _skip(self, trainer: Trainer, rows: tuple[tuple[int, str], ...]) -> None:
        self._now.update(rows)
        data: Any = getattr(trainer, "datamodule", None)
        known = {**self.skipped, **self._now}
        if len(known) >= 10:  # the exact comparison follows at the end of the epoch
            budget = self._budget(data)
            for row, reason in sorted(known.items()):
                budget.add(data.skip(row, reason))

    def _budget(self, data: Any) -> SkipBudget:
        return SkipBudget("train rows", len(data.rows["train"]) + len(data.left_out), data.max_bad_fraction)

    def _check(self, data: Any, skipped: dict[int, str]) -> None:
        budget = self._budget(data)
        for row, reason in sorted(skipped.items()):
            budget.add(data.skip(row, reason))
        budget.check()

    def _list(self, data: Any) -> None:
        if self.folder is None or not is_first_process():
            return
        path = self.folder / BAD_SAMPLES
        known = {data.skip(row, reason) for row, reason in {**data.left_out, **self.skipped}.items()}
        if path.is_file():  # of an earlier start of this run
            listed, damaged = read_bad_samples(path)
            known |= set(listed)
            if damaged:
                say(f"{path}: {damaged} lines of an earlier start cannot be read; the list is written without them")
        write_bad_samples(path, sorted(known))
        say(f"{path}: {len(known)} samples of the training set are skipped ({in_words(reasons(known))})")

    # -- validation and test -----------------------------------------------------------------------------------------

    def on_validation_epoch_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Begin a page."""
        self._judged_steps, self._judged = 0, 0

    on_test_epoch_start = on_validation_epoch_start

    def on_validation_batch_end(
        self, trainer: Trainer, pl_module: LightningModule, outputs: Any, batch: Any, *args: Any, **kwargs: Any
    ) -> None:
        """Count."""
        self._judged_steps += len(batch)
        self._judged += sum(part.num_rows for part in batch)

    on_test_batch_end = on_validation_batch_end

    def on_validation_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Compare: every validation row is judged once, none is skipped."""
        self._close(trainer, "val")

    def on_test_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Compare: every test row is judged once, none is skipped."""
        self._close(trainer, "test")

    def _close(self, trainer: Trainer, split: str) -> None:
        data: Any = getattr(trainer, "datamodule", None)
        if data is None or trainer.sanity_checking:
            return
        expected = len(data.rows[split])
        pages = _of_all((self._judged_steps, self._judged), True)
        steps, judged = sum(page[0] for page in pages), sum(page[1] for page in pages)
        if steps < data.num_judged_steps(split) * len(pages):  # fewer were asked for
            expected = judged
        if judged != expected:
            raise DataError(f"{split}: {expected} rows are to be judged, {judged} were; every row counts once")
        line = f"{split} {expected} samples expected = {judged} used + 0 skipped"
        if trainer.state.fn == TrainerFn.FITTING:
            self._said = f"; {line}"
        else:
            say(line)


def _left_out(batches: Any) -> Any:
    return getattr(batches, "left_out", None)


def _of_all(own: tuple[Any, ...], shared: bool) -> list[tuple[Any, ...]]:
    """Return every process's page; its own where all of them take the same rows."""
    if not shared or not several():
        return [own]
    pages: list[Any] = [None] * int(torch.distributed.get_world_size())
    torch.distributed.all_gather_object(pages, own)
    return pages
