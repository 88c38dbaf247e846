"""HeadsBundle: trained heads with everything their use needs, as `heads.safetensors` and `manifest.json`.

Heads in a bundle take un-normalised pooled features (after L2 normalisation where the manifest says so): a training
run's standardisation is folded into layer 1 before it gets here. The manifest names the columns, the encoder and the
output map, pins every file that was written with it by sha256, and ends with its own.
"""

import functools
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch

from emonet_lightning import __version__
from emonet_lightning.bundle_rules import FORMAT, check_weights, read_manifest
from emonet_lightning.encoder_files import remember_digest, weights_digest
from emonet_lightning.errors import DataError, MissingInputError, OutputError
from emonet_lightning.heads import WIDTHS, EmotionHeads, OutputMap
from emonet_lightning.io import (
    atomic_write,
    atomic_write_stream,
    json_text,
    load_tensors,
    save_tensors,
)
from emonet_lightning.losses import to_scores
from emonet_lightning.signed_json import sign
from emonet_lightning.taxonomy import Taxonomy, released_neutral_means

WEIGHTS_FILE = "heads.safetensors"
MANIFEST_FILE = "manifest.json"


@dataclass
class HeadsBundle:
    """Heads, the columns they score, the encoder they belong to, and how outputs become scores."""

    heads: EmotionHeads
    taxonomy: Taxonomy
    encoder: dict[str, Any] = field(default_factory=dict)
    """Fields of EncoderSpec, and `fingerprint` and `preprocess`; without fingerprint: an encoder nobody recorded."""
    output_map: OutputMap = "identity"
    l2_normalise: bool = True
    neutral_means: torch.Tensor | None = None
    """Mean score on neutral faces [K], or None."""
    neutral_origin: dict[str, Any] | None = None
    training: dict[str, Any] = field(default_factory=dict)
    """What is known of the training: per-emotion best epochs, constant heads, loss, data digests."""

    @property
    def low(self) -> torch.Tensor:
        """Lowest level of each dimension [K]."""
        return torch.tensor([dimension.low for dimension in self.taxonomy.dimensions])

    @property
    def high(self) -> torch.Tensor:
        """Highest level of each dimension [K]."""
        return torch.tensor([dimension.high for dimension in self.taxonomy.dimensions])

    @torch.no_grad()
    def scores(self, features: torch.Tensor) -> torch.Tensor:
        """Map un-normalised pooled features [B, D] to scores [B, K] float32 on the taxonomy's scale."""
        self.heads.eval()
        features = features.float()
        if self.l2_normalise:
            features = torch.nn.functional.normalize(features)
        low, high = self.low.to(features), self.high.to(features)
        return to_scores(self.heads(features), self.output_map, low, high, self.heads.ordered_thresholds())

    def check_encoder(self, fingerprint: str, where: str) -> None:
        """Refuse features of another encoder, preprocessing or compute dtype.

        Raises:
            DataError: `fingerprint`, that of the encoder in use, is not the recorded one.
        """
        recorded = self.encoder.get("fingerprint")
        if recorded is not None and recorded != fingerprint:
            raise DataError(
                f"{where}: these heads were trained on encoder '{self.encoder.get('name')}' "
                f"(fingerprint {recorded[:12]}), the one in use has {fingerprint[:12]}; use the encoder, weights, "
                "dtype and preprocessing of the manifest"
            )

    def save(self, folder: Path | str, others: dict[str, str] | None = None) -> None:
        """Write weights and manifest, the manifest last: a folder without one is not a bundle.

        Args:
            folder: where to.
            others: name -> sha256 of what else was written there of these heads, for the manifest.

        Raises:
            OutputError: the folder cannot be written.
        """
        folder = Path(folder)
        tensors = dict(self.heads.state_dict())
        if self.neutral_means is not None:
            tensors["neutral_means"] = self.neutral_means
        digest = save_tensors(folder / WEIGHTS_FILE, tensors, {"taxonomy": self.taxonomy.digest})
        content = {**self.manifest(), "files": {WEIGHTS_FILE: digest, **(others or {})}}
        atomic_write(folder / MANIFEST_FILE, sign(json_text(content)))

    def manifest(self) -> dict[str, Any]:
        """Return the manifest's content, without the digests of files."""
        return {
            "format": FORMAT,
            "emonet_lightning": __version__,
            "taxonomy": self.taxonomy.to_dict(),
            "encoder": self.encoder,
            "l2_normalise": self.l2_normalise,
            "heads": {
                "in_features": self.heads.in_features,
                "widths": list(self.heads.widths),
                "dropout": self.heads.dropout,
                "num_thresholds": 0 if self.heads.thresholds is None else self.heads.thresholds.shape[1],
                "output_map": self.output_map,
                "parameters_per_head": self.heads.num_parameters_per_head,
            },
            "neutral_means": self.neutral_origin,
            "training": self.training,
        }

    @classmethod
    def load(cls, folder: Path | str, taxonomy: Taxonomy | None = None) -> "HeadsBundle":
        """Read a bundle; compare its columns with `taxonomy` where one is given.

        Raises:
            MissingInputError: no manifest in the folder.
            DataError: a manifest that says what none can say, weights that changed or are not those that it
                describes, another format, or another taxonomy or order.
        """
        folder = Path(folder)
        if not (folder / MANIFEST_FILE).is_file():
            raise MissingInputError(f"{folder}: no {MANIFEST_FILE}: not a folder of exported heads or a finished run")
        path = folder / MANIFEST_FILE
        manifest = read_manifest(path, WEIGHTS_FILE)
        try:
            found = Taxonomy.from_dict(manifest["taxonomy"])
        except DataError as error:  # it knows the columns, not the file
            raise DataError(f"{path}: {str(error).removeprefix('manifest: ')}") from None
        if taxonomy is not None:
            taxonomy.check_digest(found.digest, str(path))
        check_weights(folder / WEIGHTS_FILE, manifest, path)
        tensors = load_tensors(folder / WEIGHTS_FILE, manifest["files"][WEIGHTS_FILE])
        layout = manifest["heads"]
        shape = (layout["in_features"], layout["widths"], layout["dropout"], layout["num_thresholds"])
        bundle = cls(
            heads=EmotionHeads(len(found), *shape),
            taxonomy=found,
            encoder=manifest["encoder"],
            output_map=layout["output_map"],
            l2_normalise=manifest["l2_normalise"],
            neutral_origin=manifest["neutral_means"],
            training=manifest["training"],
        )
        bundle.neutral_means = tensors.pop("neutral_means", None)
        try:
            bundle.heads.load_state_dict(tensors)
        except RuntimeError as error:
            raise DataError(f"{folder}/{WEIGHTS_FILE}: {' '.join(str(error).split())}") from error
        bundle.heads.eval()
        return bundle

    @classmethod
    def load_released(
        cls, folder: Path | str, taxonomy: Taxonomy, encoder: dict[str, Any], *, neutral_means: bool = False
    ) -> "HeadsBundle":
        """Read released `model_<slug>_best.pth` files, one per dimension of `taxonomy`.

        Args:
            folder: where the files are.
            taxonomy: which heads to read, in which order.
            encoder: fields of EncoderSpec for the encoder they belong to (the files do not say).
            neutral_means: attach the released neutral means (they are those of the released large heads).

        Raises:
            MissingInputError: a head's file is absent.
            DataError: keys or shapes are neither those of the small nor of the large heads.
        """
        folder = Path(folder)
        digests, states = {}, []
        for slug in taxonomy.slugs:
            path = folder / f"model_{slug}_best.pth"
            if not path.is_file():
                raise MissingInputError(f"{path}: no released head of that name; fetch the heads again")
            digests[path.name] = weights_digest(path, verify=True)
            states.append(_read_pth(path))
        depth = sum(name.endswith(".weight") for name in states[0])
        names = [f"layers.{3 * layer}.weight" for layer in range(depth)]
        if set(names) != {name for name in states[0] if name.endswith(".weight")}:
            raise DataError(f"{folder}: layers {sorted(states[0])} are not the released layout 'layers.N.weight'")
        widths = tuple(states[0][name].shape[0] for name in names[:-1])
        heads = EmotionHeads(len(taxonomy), states[0][names[0]].shape[1], widths)
        for column, (slug, state) in enumerate(zip(taxonomy.slugs, states, strict=True)):
            heads.load_head_state(column, state, str(folder / f"model_{slug}_best.pth"))
        size = next((name for name, known in WIDTHS.items() if known == widths), "custom")
        bundle = cls(
            heads.eval(), taxonomy, encoder, training={"origin": f"released .pth files ({size})", "sha256": digests}
        )
        if neutral_means:
            bundle.neutral_means = torch.tensor(released_neutral_means(taxonomy))
            bundle.neutral_origin = {"origin": "released constants (released outputs: raw minus mean-subtracted)"}
        return bundle

    def save_released(self, folder: Path | str) -> dict[str, str]:
        """Write `model_<slug>_best.pth` files in the released layout; returns name -> sha256.

        Raises:
            DataError: scores are not the heads' plain outputs, which that layout presumes.
        """
        if self.output_map != "identity":
            raise DataError(
                f"released .pth files hold plain outputs, these heads' scores are a '{self.output_map}' of them; "
                "train with loss mse, mae or huber, or export safetensors or ONNX"
            )

        written = {}
        for column, slug in enumerate(self.taxonomy.slugs):
            path = Path(folder) / f"model_{slug}_best.pth"
            state = self.heads.head_state(column)
            # into a stream: a file would be named in its own content, and that name is a temporary one
            digest = atomic_write_stream(path, functools.partial(torch.save, state))
            remember_digest(path, digest)
            written[path.name] = digest
        return written


def _read_pth(path: Path) -> dict[str, torch.Tensor]:
    try:
        state = torch.load(path, map_location="cpu", weights_only=True)
    except OSError as error:
        raise OutputError(f"{path}: cannot be read ({error})") from error
    except Exception as error:  # unpickling raises anything
        reason = " ".join(str(error).split("\n")[0].split())[:200] or type(error).__name__
        raise DataError(f"{path}: not a PyTorch state dict that loads without running code ({reason})") from error
    if not isinstance(state, dict) or not all(isinstance(value, torch.Tensor) for value in state.values()):
        raise DataError(f"{path}: not a state dict of tensors")
    for name, value in state.items():  # a view that repeats a few stored numbers would be written out in full
        if value.layout is not torch.strided or value.numel() * value.element_size() > value.untyped_storage().nbytes():
            raise DataError(f"{path}: '{name}' claims {list(value.shape)} and stores less; the file is damaged")
    return {name: tensor.float() for name, tensor in state.items()}
