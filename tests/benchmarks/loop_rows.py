"""Rows 12 and 13: batches of cached features, and what Lightning and our module add to a bare PyTorch loop."""

from collections.abc import Iterator

import numpy as np
import torch
from fits import build, fit, quiet
from inputs import cached_set, so400m
from measuring import Line, Settings, Timing, clock, interleave, paired, ratio_line

from emonet_lightning.data.datamodules import ExpertBinary, SyntheticFaces
from emonet_lightning.data.face_data import FaceDataModule
from emonet_lightning.encoders import EncoderSpec
from emonet_lightning.heads import EmotionHeads, resolve_widths
from emonet_lightning.optimizer import HeadwiseAdamW, clip_per_head
from emonet_lightning.schedule import warmup_cosine

BATCH = 1024


def cached_data(settings: Settings, num_rows: int, batch_size: int, kind: str = "dense") -> FaceDataModule:
    """Return a data module of made-up cached features, 1152-d; all rows are to train on."""
    spec = so400m(settings.work)
    made = cached_set(settings.work, "binary" if kind == "binary" else "dense", num_rows, spec)
    if kind == "binary":
        return ExpertBinary(**made, batch_size=batch_size, encoder=spec, consensus="majority")
    return SyntheticFaces(**made, batch_size=batch_size, encoder=spec)


def batch_feed(settings: Settings) -> Iterator[Line]:
    """Row 12: one pass over 100,000 x 1152 float16 features and their labels in batches of 1024."""
    data = cached_data(settings, settings.pick(100_000, 4096), BATCH)
    with quiet():
        data.setup("fit")
    features, labels = data.features[0], data.train_labels()
    table = torch.utils.data.TensorDataset(features, torch.from_numpy(labels.target), torch.from_numpy(labels.mask))
    usual = torch.utils.data.DataLoader(table, batch_size=BATCH, shuffle=True)
    with quiet():
        own = data.train_dataloader()

    def consume(loader: object) -> None:
        for _ in loader:  # type: ignore[attr-defined]
            pass

    sides = {"DataLoader, row by row": lambda: consume(usual), "ours": lambda: consume(own)}
    timings = interleave(sides, settings.num_rounds(7), say="one epoch")
    steps = -(-len(labels.target) // BATCH)
    per_batch = {name: 1e3 * float(np.median(timing.cpu)) / steps for name, timing in timings.items()}
    note = ", ".join(f"{name} {value:.2f} ms a batch" for name, value in per_batch.items())
    yield ratio_line("features and labels, batch 1024", timings, *sides, ">= 5", note)


def lightning_overhead(settings: Settings) -> Iterator[Line]:
    """Row 13."""
    data = cached_data(settings, settings.pick(16, 2) * BATCH, BATCH)
    timings, _ = _against_bare(settings, data, settings.num_rounds(5), settings.pick(2, 1), widths="small")
    line = "Small, batch 1024, one step a call: our fit / bare loop"
    yield ratio_line(line, timings, "bare", "ours", "<= 1.05", inverse=True)
    trivial = _trivial_data(settings)
    for calls, target in ((1, ""), (4, "<= 100"), (16, "<= 100"), (64, "<= 100")):
        timings, steps = _against_bare(settings, trivial, settings.num_rounds(3), 1, widths=[], steps_per_call=calls)
        pairs = zip(timings["ours"].cpu, timings["bare"].cpu, strict=True)
        extra = [1e6 * (ours - bare) / steps for ours, bare in pairs]
        bare = 1e6 * float(np.median(timings["bare"].cpu)) / steps
        yield Line(
            f"trivial model (linear heads, 64 features, batch 8), steps_per_call {calls}: extra time an optimiser step",
            float(np.median(extra)),
            "us",
            target,
            f"a bare step takes {bare:.0f} us; {steps} steps an epoch, the epoch's end included",
            {"extra_us": extra, "ratio": paired(timings["ours"].cpu, timings["bare"].cpu)},
        )


def _trivial_data(settings: Settings) -> FaceDataModule:
    spec = EncoderSpec("timm/test_vit", weights=so400m(settings.work).weights)  # 64 features
    made = cached_set(settings.work, "dense", settings.pick(16_384, 1024), spec)
    return SyntheticFaces(**made, batch_size=8, encoder=spec)


def _against_bare(
    settings: Settings, data: FaceDataModule, rounds: int, epochs: int, **options: object
) -> tuple[dict[str, Timing], int]:
    """Train with our fit and with a bare loop in turns; seconds are those of the training epochs."""
    with quiet():
        data.setup("fit")
    timings = {"ours": Timing([], []), "bare": Timing([], [])}
    for number in range(rounds + 1):
        for side in ("ours", "bare") if number % 2 else ("bare", "ours"):
            module = build(data, **options)
            if side == "ours":
                found = fit(module, data, epochs)
                seconds = sum(found.cpu), sum(found.wall)
            else:
                loop = BareLoop(data, resolve_widths(module.hparams["widths"]), epochs)
                seconds = clock(loop.run)
            if number:  # the first turn warms up
                timings[side].cpu.append(seconds[0])
                timings[side].wall.append(seconds[1])
    return timings, epochs * -(-len(data.rows["train"]) // data.batch_size)


class BareLoop:
    """The same training without Lightning: same heads, optimiser, clipping, schedule and normalisation."""

    def __init__(self, data: FaceDataModule, widths: tuple[int, ...], epochs: int) -> None:
        labels = data.train_labels()
        self.features, self.target = data.features[0], torch.from_numpy(labels.target)
        self.mask = torch.from_numpy(labels.mask)
        self.batch_size, self.epochs = data.batch_size, epochs
        mean, std = data.feature_statistics(True)
        self.mean, self.std = mean.float(), std.float()
        torch.manual_seed(0)
        self.heads = EmotionHeads(self.target.shape[1], self.features.shape[1], widths, 0.1 if widths else 0.0)
        self.parameters = list(self.heads.parameters())
        self.optimizer = HeadwiseAdamW(self.parameters, 1e-3)
        num_steps = epochs * -(-len(self.target) // self.batch_size)
        self.schedule = warmup_cosine(self.optimizer, num_steps, 0.05, 0.0)

    def run(self) -> None:
        """Train all epochs."""
        for _ in range(self.epochs):
            total = torch.zeros(self.target.shape[1])
            for rows in torch.randperm(len(self.target)).split(self.batch_size):
                x = torch.nn.functional.normalize(self.features.index_select(0, rows).float())
                target, mask = self.target.index_select(0, rows), self.mask.index_select(0, rows)
                self.optimizer.zero_grad()
                output = self.heads((x - self.mean) / self.std)
                error = torch.where(mask, (output - target).square(), 0.0).sum(0) / mask.sum(0).clamp(min=1)
                error.sum().backward()
                clip_per_head(self.parameters, 1.0)
                self.optimizer.step()
                self.schedule.step()
                total += error.detach()
