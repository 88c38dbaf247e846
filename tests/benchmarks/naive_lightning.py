"""The other side of row 14: training of the forty heads as it is usually written with Lightning and webdataset.

Streams the tar shards, decodes with PIL, resizes and normalises with torchvision, collates rows, runs the frozen
encoder in every training and validation step, keeps the heads in a `ModuleList`, and logs 41 losses in every step.
Nothing is slowed down on purpose: workers decode beside the training, the encoder runs without gradients, AdamW is
fused, and questions not asked are masked.
"""

import json
from pathlib import Path
from typing import Any

import lightning
import numpy as np
import torch
import torch.nn as nn
import torch.nn.functional as F
import webdataset
from head_loop import HeadLoop
from PIL import Image
from scipy.stats import spearmanr
from sklearn.metrics import average_precision_score
from torchvision import transforms

EMOTIONS = 40


class NaiveInsightFace(lightning.LightningModule):
    """Forty MLPs on a frozen encoder."""

    def __init__(
        self, encoder: nn.Module, names: list[str], binary: bool, lr: float = 1e-3, dropout: float = 0.1
    ) -> None:
        super().__init__()
        self.encoder = encoder.eval().requires_grad_(False)
        self.norm = nn.BatchNorm1d(encoder.num_features, affine=False)
        self.heads = HeadLoop(len(names), encoder.num_features, [128, 32], dropout=0.1)
        self.names = names
        self.binary = binary
        self.seen: list[tuple[torch.Tensor, torch.Tensor, torch.Tensor]] = []
        self.last: list[np.ndarray] = []

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        self.encoder.eval()
        with torch.no_grad():
            features = F.normalize(self.encoder(images))
        return self.heads(self.norm(features))

    def training_step(self, batch: Any, batch_idx: int) -> torch.Tensor:
        images, target, mask = batch
        error = (self(images) - target).square() * mask
        losses = error.sum(0) / mask.sum(0).clamp(min=1)
        self.log("train/loss", losses.mean(), prog_bar=True)
        for name, loss in zip(self.names, losses, strict=True):
            self.log(f"train/loss/{name}", loss)
        return losses.sum()

    def validation_step(self, batch: Any, batch_idx: int) -> None:
        images, target, mask = batch
        self.seen.append((self(images), target, mask))

    def on_validation_epoch_end(self) -> None:
        scores, target, mask = (torch.cat(part).numpy() for part in zip(*self.seen, strict=True))
        self.seen.clear()
        self.last = [scores, target, mask]
        for k, name in enumerate(self.names):
            asked = mask[:, k]
            if self.binary:
                value = (
                    average_precision_score(target[asked, k] > 0, scores[asked, k]) if target[asked, k].any() else 0.0
                )
            else:
                value = spearmanr(target[asked, k], scores[asked, k]).statistic if np.ptp(target[asked, k]) else 0.0
            self.log(f"val/{name}", float(value))

    def configure_optimizers(self) -> Any:
        optimizer = torch.optim.AdamW(self.heads.parameters(), lr=1e-3, weight_decay=0.01, fused=True)
        schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, self.trainer.max_epochs)
        return [optimizer], [schedule]


class Sample:
    """Turns a webdataset sample into (pixels [3, S, S], target [K], mask [K]); picklable for workers."""

    def __init__(self, names: list[str], size: int, binary: bool) -> None:
        self.names = names
        self.binary = binary
        self.transform = transforms.Compose(
            [
                transforms.Resize((size, size), transforms.InterpolationMode.BICUBIC),
                transforms.ToTensor(),
                transforms.Normalize([0.5] * 3, [0.5] * 3),
            ]
        )

    def __call__(self, sample: dict[str, Any]) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
        image: Image.Image = sample["jpg"]
        answers = next(iter(sample["json"]["ratings"].values()))  # three experts who agree
        target, mask = torch.zeros(len(self.names)), torch.full((len(self.names),), not self.binary)
        for name, value in answers.items():
            target[self.names.index(name)] = 7 * value if self.binary else value
            mask[self.names.index(name)] = True
        return self.transform(image), target, mask


def loader(folder: Path, split: str, sample: Sample, batch_size: int, num_workers: int) -> torch.utils.data.DataLoader:
    """Return a loader over the rows of one split."""
    manifest = json.loads((folder / "manifest.json").read_text())
    index = manifest["index"]
    keys = {key for key, own in zip(index["key"], index["split"], strict=True) if own == split}
    shards = [str(folder / shard["file"]) for shard in manifest["shards"]]
    data = webdataset.WebDataset(shards, shardshuffle=100 if split == "train" else False)
    data = data.select(lambda found: found["__key__"] in keys)
    if split == "train":
        data = data.shuffle(1000)
    data = data.decode("pil").map(sample)
    return torch.utils.data.DataLoader(data, batch_size=batch_size, num_workers=num_workers)


def train(
    folder: Path, encoder: nn.Module, size: int, names: list[str], binary: bool, epochs: int, out: Path
) -> list[Any]:
    """Train and validate; returns scores, targets and mask of the last validation."""
    lightning.seed_everything(0)
    sample = Sample(names, size, binary)
    model = NaiveInsightFace(encoder, names, binary)
    trainer = lightning.Trainer(max_epochs=epochs, default_root_dir=out, accelerator="cpu", num_sanity_val_steps=0)
    loaders = [loader(folder, split, sample, 256, num_workers=2) for split in ("train", "val")]
    trainer.fit(model, *loaders)
    return model.last
