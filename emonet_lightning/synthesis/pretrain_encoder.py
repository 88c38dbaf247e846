"""Pre-training of the embedded encoder: a small network learns to measure faces, then its measuring head is dropped.

It regresses facial actions, landmarks, movements and light of rendered faces (`pretraining_faces.TARGETS`) and never
sees an emotion. One thread by default: at this size threads wait for each other longer than they compute.
"""

import json
import platform
import time
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import timm
import torch
from torch import nn

from emonet_lightning.encoder_files import save_encoder_file
from emonet_lightning.io import make_folder, write_json
from emonet_lightning.synthesis.actions import ACTION_NAMES
from emonet_lightning.synthesis.pretraining_faces import GROUPS, TARGETS, Faces, mirror_targets, render_faces
from emonet_lightning.transforms import PreprocessSpec

ARCHITECTURE = "resnet10t"
OPTIONS: dict[str, Any] = {"channels": [32, 64, 96, 224], "stem_width": 16}
PREPROCESS = PreprocessSpec(size=96, interpolation="bicubic", resize="squash")

_WEIGHTS = {"actions": 1.0, "landmarks": 0.1, "movements": 0.5, "light": 0.3}
_MAX_SHIFT = 3
_NUM_VALIDATION = 1000


class Standard(NamedTuple):
    """Mean, spread and loss weight of the targets, each [len(TARGETS)]."""

    mean: np.ndarray
    spread: np.ndarray
    weight: np.ndarray


def pretrain_encoder_command(
    out: Path,
    num_faces: int = 40_000,
    steps: int = 12_000,
    batch_size: int = 32,
    learning_rate: float = 6e-3,
    seed: int = 0,
    num_processes: int = 2,
    num_threads: int = 1,
) -> dict[str, Any]:
    """Pre-train the embedded encoder and write it with its card.

    Args:
        out: target file; the card goes beside it, as `<out>.json` without the weights' suffix.
        num_faces: rendered training faces.
        steps: optimiser steps.
        batch_size: faces per step.
        learning_rate: peak of the one-cycle schedule.
        seed: seed of faces, weights and order.
        num_processes: processes that render.
        num_threads: threads that train; another number changes the last bits of the weights.

    Returns:
        The card.
    """
    began = time.monotonic()
    out = Path(out)
    make_folder(out.parent)
    torch.set_num_threads(num_threads)
    print(f"rendering {num_faces + _NUM_VALIDATION} faces in {num_processes} processes", flush=True)
    faces = render_faces(num_faces + _NUM_VALIDATION, PREPROCESS, seed, num_processes)
    rendered = time.monotonic()
    encoder, figures = train_encoder(faces, steps, batch_size, learning_rate, seed)
    command = (
        f"python -m emonet_lightning.synthesis.pretrain_encoder --out {out.name} --num_faces {num_faces} "
        f"--steps {steps} --batch_size {batch_size} --learning_rate {learning_rate} --seed {seed} "
        f"--num_threads {num_threads}"
    )
    card = {
        "description": "Measures rendered faces: facial actions, landmarks, movements and light; never saw an emotion",
        "licence": "MIT",
        "command": command,
        "num_parameters": sum(p.numel() for p in encoder.parameters()),
        "features": encoder.num_features,
        "validation_r2": figures,
        "seconds": {"render": round(rendered - began), "train": round(time.monotonic() - rendered)},
        "made_with": {"torch": torch.__version__, "timm": timm.__version__, "machine": platform.machine()},
    }
    return save_encoder(out, encoder, card)


def save_encoder(out: Path, encoder: nn.Module, card: dict[str, Any]) -> dict[str, Any]:
    """Write the weights in half precision, and the card with their digest beside them; returns the card."""
    options = {**OPTIONS, "channels": list(OPTIONS["channels"])}
    digest = save_encoder_file(
        out,
        encoder.state_dict(),
        architecture=ARCHITECTURE,
        options=options,
        preprocess=PREPROCESS.to_dict(),
        card={key: card[key] for key in ("description", "licence", "command")},
    )
    card = {"file": out.name, "sha256": digest, "bytes": out.stat().st_size, "architecture": ARCHITECTURE, **card}
    card["options"], card["preprocess"] = options, PREPROCESS.to_dict()
    write_json(out.with_suffix(".json"), card)
    return card


def train_encoder(
    faces: Faces, steps: int, batch_size: int, learning_rate: float, seed: int
) -> tuple[nn.Module, dict[str, float]]:
    """Train on all but the last 1,000 faces.

    Args:
        faces: rendered faces; the last 1,000 validate.
        steps: optimiser steps.
        batch_size: faces per step.
        learning_rate: peak of the one-cycle schedule.
        seed: seed of weights, order and augmentation.

    Returns:
        The encoder without its measuring head, and the share of variance explained (R2) on the validating faces.
    """
    torch.manual_seed(seed)
    rng = np.random.default_rng([seed, 1])
    count = len(faces.pixels) - _NUM_VALIDATION
    standard = _standard(faces.targets[:count])
    weight = torch.from_numpy(standard.weight)
    encoder = timm.create_model(ARCHITECTURE, num_classes=0, **OPTIONS)
    head = nn.Linear(encoder.num_features, len(TARGETS))  # type: ignore[arg-type]
    network = nn.Sequential(encoder, head)
    network = network.to(memory_format=torch.channels_last)
    optimizer = torch.optim.AdamW(network.parameters(), lr=learning_rate, weight_decay=0.05, fused=True)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, learning_rate, total_steps=steps, pct_start=0.1)
    order = np.concatenate([rng.permutation(count) for _ in range(steps * batch_size // count + 1)])
    began = time.monotonic()
    for step in range(steps):
        rows = np.sort(order[step * batch_size : (step + 1) * batch_size])
        pixels, targets = _augment(faces.pixels[rows], faces.targets[rows], rng)
        wanted = torch.from_numpy((targets - standard.mean) / standard.spread)
        with torch.autocast("cpu", torch.bfloat16):
            measured = network(pixels)
        loss = (nn.functional.smooth_l1_loss(measured.float(), wanted, reduction="none") * weight).sum(dim=1).mean()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        schedule.step()
        if (step + 1) % max(1, steps // 12) == 0:
            figures = _validate(network, faces, standard)
            shown = " ".join(f"{name} {figures[name]:.3f}" for name in GROUPS)
            print(f"step {step + 1} {time.monotonic() - began:.0f} s loss {loss.item():.4f} R2 {shown}", flush=True)
    return encoder, _validate(network, faces, standard)


def _standard(targets: np.ndarray) -> Standard:
    mean, spread = targets.mean(axis=0), targets.std(axis=0)
    weight = np.zeros(len(TARGETS), dtype=np.float32)
    for name, columns in GROUPS.items():
        weight[columns] = _WEIGHTS[name]
    weight[spread < 1e-4] = 0.0  # a point that no action moves
    return Standard(mean, np.where(spread < 1e-4, 1.0, spread).astype(np.float32), weight / weight.sum())


def _augment(pixels: np.ndarray, targets: np.ndarray, rng: np.random.Generator) -> tuple[torch.Tensor, np.ndarray]:
    """Mirror half of the pictures, shift the batch by some pixels, vary brightness and contrast."""
    mirrored = rng.random(len(pixels)) < 0.5
    pixels[mirrored] = pixels[mirrored][..., ::-1]
    targets[mirrored] = mirror_targets(targets[mirrored])
    size = pixels.shape[-1]
    down, right = rng.integers(-_MAX_SHIFT, _MAX_SHIFT + 1, size=2)
    rows, columns = (np.clip(np.arange(size) - move, 0, size - 1) for move in (down, right))
    pixels = pixels[:, :, rows][..., columns]
    points = targets[:, GROUPS["landmarks"]]
    points[:, 0::2] += right / size
    points[:, 1::2] += down / size
    gain = torch.from_numpy(rng.uniform(0.85, 1.15, size=(len(pixels), 1, 1, 1)).astype(np.float32))
    bias = torch.from_numpy(rng.uniform(-0.1, 0.1, size=(len(pixels), 1, 1, 1)).astype(np.float32))
    return _normalise(pixels) * gain + bias, targets


def _normalise(pixels: np.ndarray) -> torch.Tensor:
    return torch.from_numpy(pixels).to(memory_format=torch.channels_last).float() / 127.5 - 1


@torch.no_grad()
def _validate(network: nn.Module, faces: Faces, standard: Standard) -> dict[str, float]:
    network.eval()
    start = len(faces.pixels) - _NUM_VALIDATION
    chunks = range(start, len(faces.pixels), 100)
    measured = torch.cat([network(_normalise(faces.pixels[first : first + 100])) for first in chunks]).numpy()
    network.train()
    wanted = (faces.targets[start:] - standard.mean) / standard.spread
    left = np.square(measured - wanted).mean(axis=0) / np.maximum(wanted.var(axis=0), 1e-9)
    left[standard.weight == 0] = np.nan
    figures = {name: round(float(1 - np.nanmean(left[columns])), 3) for name, columns in GROUPS.items()}
    return figures | {name: round(float(1 - left[index]), 3) for index, name in enumerate(ACTION_NAMES)}


def main(arguments: list[str] | None = None) -> None:
    """Run `pretrain_encoder_command` without the rest of the command line."""
    import argparse

    parser = argparse.ArgumentParser(description="pre-train the embedded encoder and write it with its card")
    parser.add_argument("--out", type=Path, required=True)
    for name, default in (("num_faces", 40_000), ("steps", 12_000), ("batch_size", 32), ("seed", 0)):
        parser.add_argument(f"--{name}", type=int, default=default)
    parser.add_argument("--learning_rate", type=float, default=6e-3)
    parser.add_argument("--num_processes", type=int, default=2)
    parser.add_argument("--num_threads", type=int, default=1)
    print(json.dumps(pretrain_encoder_command(**vars(parser.parse_args(arguments))), indent=1))


if __name__ == "__main__":
    main()
