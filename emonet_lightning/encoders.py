"""The frozen encoder: a name in, un-normalised pooled features out.

`preprocess_spec`, `feature_dim` and `encoder_fingerprint` answer by name, without weights in memory, so that data and
model agree before either is built. The one trade-off: features are computed in static batches, the last one padded,
because the last bit of a network's output depends on the batch size.
"""

import json
from collections.abc import Callable
from dataclasses import asdict
from functools import cache
from typing import Any

import torch
from torch import nn

from emonet_lightning.encoder_files import weights_digest
from emonet_lightning.encoder_sources import DTYPES, EncoderSource, EncoderSpec, build_module, resolve
from emonet_lightning.encoder_weights import load_weights, locate_weights
from emonet_lightning.errors import UsageError
from emonet_lightning.io import fingerprint
from emonet_lightning.transforms import PreprocessSpec

__all__ = [
    "CPU_BATCH",
    "ENCODE_BATCH",
    "EncoderSpec",
    "FrozenEncoder",
    "encoder_fingerprint",
    "encoder_identity",
    "encoder_record",
    "feature_dim",
    "preprocess_spec",
]

ENCODE_BATCH = 64
"""Images per forward pass on a GPU, and how many a cache writer decodes for one call."""
CPU_BATCH = 16
"""Images per forward pass on a CPU: activations stay near its cache (mobilenetv2 at 224 px: 16 ms an image, not 31)."""


def preprocess_spec(spec: EncoderSpec) -> PreprocessSpec:
    """Return the input that an encoder takes; reads no weights."""
    return resolve(spec).preprocess


def feature_dim(spec: EncoderSpec) -> int:
    """Return the width D of an encoder's pooled features; builds it on the meta device, reads no weights."""
    source = resolve(spec)
    return _feature_dim(source.library, source.architecture, _canonical(source.options), source.preprocess.size)


def encoder_identity(spec: EncoderSpec) -> dict[str, Any]:
    """Return everything that decides an encoder's features: weights' sha256, architecture, options, dtype, pixels.

    Raises:
        UsageError: unknown name or option.
        MissingInputError: no such weight file.
        DataError: the weights are not the pinned ones.
        EnvironmentProblem: the weights have to be fetched and there is no network.
    """
    source = resolve(spec)
    return _identity(source, spec, weights_digest(locate_weights(source, spec), spec.sha256))


def encoder_fingerprint(spec: EncoderSpec) -> str:
    """Return the digest of `encoder_identity`; equal only if the weight files are equal, whatever they are called."""
    return fingerprint(encoder_identity(spec))


def encoder_record(spec: EncoderSpec) -> dict[str, Any]:
    """Return what a manifest of heads says of their encoder: the spec's fields, its fingerprint and its pixels."""
    return {
        **asdict(spec),
        "fingerprint": encoder_fingerprint(spec),
        "weights_sha256": encoder_identity(spec)["sha256"],
        "preprocess": preprocess_spec(spec).to_dict(),
    }


class FrozenEncoder(nn.Module):
    """An encoder in eval mode for good, without gradients: uint8 pixels [B, 3, S, S] to float32 features [B, D]."""

    mean: torch.Tensor
    std: torch.Tensor

    def __init__(self, module: nn.Module, preprocess: PreprocessSpec, identity: dict[str, Any], dim: int) -> None:
        super().__init__()
        # channels last: a third less time on a CPU, and what tensor cores want
        module = module.to(DTYPES[identity["dtype"]]).to(memory_format=torch.channels_last)
        self.module = module.requires_grad_(False)
        self.preprocess = preprocess
        self.identity = identity
        self.dim = dim
        self._compiled: list[Callable[[torch.Tensor], torch.Tensor]] = []  # in a list: not a second sub-module
        self.register_buffer("mean", 255 * torch.tensor(preprocess.mean).view(3, 1, 1), persistent=False)
        self.register_buffer("std", 255 * torch.tensor(preprocess.std).view(3, 1, 1), persistent=False)
        self.eval()

    @classmethod
    def load(cls, spec: EncoderSpec) -> "FrozenEncoder":
        """Build an encoder with its weights, on the CPU.

        Raises:
            UsageError: unknown name or option.
            MissingInputError: no such weight file.
            DataError: weights are not the pinned ones, or not of this architecture.
            EnvironmentProblem: the weights have to be fetched and there is no network.
        """
        source = resolve(spec)
        path = locate_weights(source, spec)
        identity = _identity(source, spec, weights_digest(path, spec.sha256, verify=True))
        with torch.random.fork_rng(devices=[]):  # initial weights, overwritten at once, must not move a run's dropout
            module = build_module(source)
        load_weights(module, source, path)
        return cls(module, source.preprocess, identity, feature_dim(spec))

    @property
    def fingerprint(self) -> str:
        """What `encoder_fingerprint` returns for this encoder."""
        return fingerprint(self.identity)

    @property
    def resizes_on_device(self) -> bool:
        """Whether the encode pass ships whole images to the encoder's device (`EncoderSpec.resize_on`)."""
        return self.identity.get("resize_on") == "device"

    def train(self, mode: bool = True) -> "FrozenEncoder":
        """Stay in eval mode: batch statistics and dropout of a frozen encoder never move."""
        return super().train(False)

    @torch.no_grad()
    def forward(self, images: torch.Tensor) -> torch.Tensor:
        """Encode one batch.

        Args:
            images: [B, 3, S, S] uint8 on the encoder's device.

        Returns:
            [B, D] float32, pooled, not L2-normalised.
        """
        return self.module(self._normalised(images)).float()

    def encode(self, images: torch.Tensor) -> torch.Tensor:
        """Encode any number of images in static batches, the last one padded.

        Args:
            images: [N, 3, S, S] uint8, on any device.

        Returns:
            [N, D] float32 on the encoder's device, fit for autograd; row i does not depend on N.
        """
        size = CPU_BATCH if self.mean.device.type == "cpu" else ENCODE_BATCH
        network = self._fused() if self.identity.get("compile") and self.mean.is_cuda else self.module
        # made outside inference mode, as heads could not be trained on tensors that are made inside
        features = torch.empty(len(images), self.dim, device=self.mean.device)
        with torch.inference_mode():
            for chunk, part in zip(images.split(size), features.split(size), strict=False):
                count = len(chunk)
                chunk = chunk.to(self.mean.device, non_blocking=True)
                if count < size:
                    chunk = torch.cat([chunk, chunk.new_zeros((size - count, *chunk.shape[1:]))])
                part.copy_(network(self._normalised(chunk))[:count])
        return features

    def _normalised(self, images: torch.Tensor) -> torch.Tensor:
        pixels = (images.to(torch.float32, memory_format=torch.channels_last) - self.mean) / self.std
        return pixels.to(DTYPES[self.identity["dtype"]])

    def _fused(self) -> Callable[[torch.Tensor], torch.Tensor]:
        if not self._compiled:
            self._compiled.append(torch.compile(self.module, dynamic=False))
        return self._compiled[0]


def _identity(source: EncoderSource, spec: EncoderSpec, digest: str) -> dict[str, Any]:
    return {
        "library": source.library,
        "architecture": source.architecture,
        "options": source.options,
        "dtype": spec.dtype,
        "preprocess": source.preprocess.to_dict(),
        "sha256": digest,
        # named only where they are on: features made without them keep the identity that they always had
        **({"compile": True} if spec.compile else {}),
        **({"resize_on": "device"} if spec.resize_on == "device" else {}),
    }


def _canonical(options: dict[str, Any]) -> str:
    return json.dumps(options, sort_keys=True)


@cache
def _feature_dim(library: str, architecture: str, options: str, size: int) -> int:
    source = EncoderSource(library, architecture, None, json.loads(options), PreprocessSpec(size), None)
    try:
        with torch.device("meta"), torch.no_grad():
            features = build_module(source).eval()(torch.zeros(1, 3, size, size))
    except NotImplementedError:  # an architecture that reads values while it is built
        with torch.no_grad():
            features = build_module(source).eval()(torch.zeros(1, 3, size, size))
    if features.ndim != 2:
        raise UsageError(
            f"encoder '{source.name}' returns {list(features.shape)}, not pooled features; drop global_pool"
        )
    return features.shape[1]
