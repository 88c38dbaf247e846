"""Heads of random weights on a tiny encoder, for tests of what is done with scores."""

from dataclasses import asdict
from pathlib import Path

import timm
import torch

from emonet_lightning.bundle import HeadsBundle
from emonet_lightning.encoders import EncoderSpec, encoder_fingerprint
from emonet_lightning.heads import EmotionHeads
from emonet_lightning.io import save_tensors
from emonet_lightning.taxonomy import Taxonomy, released_neutral_means

TAXONOMY = Taxonomy.load("emonet40", extra_dimensions=True)


def tiny_encoder(folder: Path) -> EncoderSpec:
    torch.manual_seed(0)
    path = folder / "vit.safetensors"
    save_tensors(path, timm.create_model("test_vit3", num_classes=0).state_dict())
    return EncoderSpec(name="timm/test_vit3", weights=str(path))


def tiny_heads(encoder: EncoderSpec) -> HeadsBundle:
    torch.manual_seed(1)
    heads = EmotionHeads(len(TAXONOMY), 96, (8,))
    recorded = {**asdict(encoder), "fingerprint": encoder_fingerprint(encoder)}
    return HeadsBundle(heads, TAXONOMY, recorded, neutral_means=torch.tensor(released_neutral_means(TAXONOMY)))
