"""The other side: heads trained as one usually writes it with Lightning and webdataset, and resumed by `last.ckpt`.

Nothing is left out that its user would think of: seeds are set, shuffling is deterministic, the last checkpoint is kept
after every epoch and found again. Nothing is in it that neither library offers.
"""

import json
import logging
import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import lightning
import timm
import torch
import torch.nn as nn
import torch.nn.functional as F
import webdataset
from lightning.pytorch.callbacks import ModelCheckpoint
from lightning.pytorch.loggers import CSVLogger
from safetensors.torch import load_file
from torchvision import transforms

BATCH, SIDE = 24, 64


class NaiveHeads(lightning.LightningModule):
    """An MLP with dropout for all emotions on a frozen encoder."""

    def __init__(self, weights: str, num_heads: int) -> None:
        super().__init__()
        self.encoder = timm.create_model("test_efficientnet", num_classes=0)
        self.encoder.load_state_dict(load_file(weights))
        self.encoder.eval().requires_grad_(False)
        width = self.encoder.num_features
        self.heads = nn.Sequential(nn.Linear(width, 64), nn.ReLU(), nn.Dropout(0.3), nn.Linear(64, num_heads))

    def training_step(self, batch: Any, batch_idx: int) -> torch.Tensor:
        images, target = batch
        self.encoder.eval()
        with torch.no_grad():
            features = F.normalize(self.encoder(images))
        loss = F.mse_loss(self.heads(features), target)
        self.log("train/loss", loss, on_step=False, on_epoch=True)
        return loss

    def configure_optimizers(self) -> Any:
        return torch.optim.AdamW(self.heads.parameters(), lr=0.01)


class ToTensors:
    """Pixels, with augmentation, and ratings."""

    def __init__(self, names: list[str]) -> None:
        self.names = names
        self.transform = transforms.Compose(
            [
                transforms.Resize((SIDE, SIDE)),
                transforms.RandomHorizontalFlip(),
                transforms.ToTensor(),
                transforms.Normalize([0.5] * 3, [0.5] * 3),
            ]
        )

    def __call__(self, sample: dict[str, Any]) -> tuple[torch.Tensor, torch.Tensor]:
        answers = next(iter(sample["json"]["ratings"].values()))
        return self.transform(sample["jpg"]), torch.tensor([float(answers.get(name, 0)) for name in self.names])


def samples(folder: Path) -> Any:
    """Return decoded samples of all shards in a folder, in their order."""
    shards = sorted(str(path) for path in folder.glob("*.tar"))
    return webdataset.WebDataset(shards, shardshuffle=False, empty_check=False).decode("pil")


def loader(folder: Path, names: list[str]) -> torch.utils.data.DataLoader:
    """Return shuffled batches of all shards in a folder."""
    shards = sorted(str(path) for path in folder.glob("*.tar"))
    data = webdataset.WebDataset(shards, shardshuffle=100, detshuffle=True, seed=0)
    data = data.compose(webdataset.detshuffle(1000, seed=0)).decode("pil").map(ToTensors(names))
    return torch.utils.data.DataLoader(data, batch_size=BATCH, num_workers=2)


def main(argv: Sequence[str]) -> int:
    """Train: `SHARDS ENCODER OUT EPOCHS`; goes on where there is a last checkpoint."""
    warnings.filterwarnings("ignore")
    logging.getLogger("lightning.pytorch").setLevel(logging.ERROR)
    folder, weights, out, epochs = Path(argv[0]), argv[1], Path(argv[2]), int(argv[3])
    names = sorted(json.loads((folder / "manifest.json").read_text())["ratings"]["slugs"])
    lightning.seed_everything(0, workers=True, verbose=False)
    checkpoint = ModelCheckpoint(out, save_last=True, save_on_train_epoch_end=True)
    trainer = lightning.Trainer(
        max_epochs=epochs,
        accelerator="cpu",
        devices=1,
        callbacks=[checkpoint],
        logger=CSVLogger(out),
        default_root_dir=out,
        enable_progress_bar=False,
        enable_model_summary=False,
    )
    last = out / "last.ckpt"
    model = NaiveHeads(weights, len(names))
    trainer.fit(model, loader(folder, names), ckpt_path=str(last) if last.is_file() else None)
    torch.save(model.heads.state_dict(), out / "heads.pt")
    return 0
