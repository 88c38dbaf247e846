"""The command `export`: trained heads as safetensors with their manifest, as released `.pth` files, as ONNX.

An ONNX graph is written only after onnxruntime has run it and its scores agree with PyTorch's.
"""

import contextlib
import functools
import importlib.util
import json
import logging
import os
import re
import shutil
import tempfile
import warnings
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from rich.console import Console
from torch import nn

from emonet_lightning.bundle import MANIFEST_FILE, WEIGHTS_FILE, HeadsBundle
from emonet_lightning.bundle_rules import read_manifest
from emonet_lightning.encoders import EncoderSpec, FrozenEncoder
from emonet_lightning.errors import DataError, EmoNetError, EnvironmentProblem, UsageError
from emonet_lightning.io import atomic_write, make_folder, sha256_file, write_errors
from emonet_lightning.neutral import fit_neutral_means
from emonet_lightning.recognizer import EmotionRecognizer, encoder_of, load_bundle
from emonet_lightning.reporting.card_evidence import collect
from emonet_lightning.reporting.model_card import compose, write_card

PARITY = 1e-4
_SCRATCH = ".onnx-"
HEADS_GRAPH = "heads.onnx"
IMAGES_GRAPH = "recognizer.onnx"
_INLINE_BYTES = 1_500_000_000  # a protobuf file ends at 2 GiB; larger weights go to a second file
_FORM = re.compile(r"(heads|recognizer)\.onnx(\.data)?|model_[^/]+_best\.pth")
_BATCHES = (1, 5)


class Scorer(nn.Module):
    """Features [B, D] float32, or with an encoder images [B, 3, S, S] uint8, to scores [B, K] float32."""

    def __init__(self, bundle: HeadsBundle, encoder: FrozenEncoder | None = None) -> None:
        super().__init__()
        self.bundle = bundle
        self.heads = bundle.heads
        self.encoder = encoder

    def forward(self, inputs: torch.Tensor) -> torch.Tensor:
        """Return scores [B, K]."""
        return self.bundle.scores(inputs if self.encoder is None else self.encoder(inputs))


def export_command(
    out: str,
    run: str | None = None,
    heads: str | None = None,
    onnx: bool = False,
    onnx_images: bool = False,
    released: bool = False,
    neutral: str | None = None,
    encoder: EncoderSpec | None = None,
    weights: str | None = None,
    card: bool = True,
    evidence: list[str] | None = None,
    licence: str | None = None,
) -> None:
    """Write trained heads for use elsewhere.

    Args:
        out: target folder; always gets heads.safetensors and manifest.json, standardisation folded in, and README.md.
        run: run folder that holds the heads.
        heads: folder of exported heads, or of released .pth files (instead of `run`).
        onnx: also heads.onnx, pooled features (not L2-normalised) to scores.
        onnx_images: also recognizer.onnx, resized uint8 RGB images to scores, the encoder included.
        released: also model_<slug>_best.pth, the layout of the published heads.
        neutral: images of neutral faces (folder or packed set) to fit the heads' neutral means on, which
            mean-subtracted scores and softmax need.
        encoder: the encoder, if not the recorded one (released files: the paper's), e.g. `--encoder.name timm/NAME`.
        weights: where the encoder's weight file is now, e.g. one that `fetch encoder` brought.
        card: write a model card, README.md, from what the run recorded and from `evidence`.
        evidence: reports for the card: agreement.json, audit.json, transfer.json, leaks.json, robustness.json, packed
            sets, or folders that hold them; may be given several times.
        licence: of these heads, for the card, as the hub spells it (`mit`, `cc-by-4.0`).

    Raises:
        MissingInputError: evidence that is not there.
        UsageError: neither or both of `run` and `heads`.
        DataError: heads that do not fit, or whose scores the released layout cannot hold; a graph that disagrees.
        EnvironmentProblem: the packages for ONNX are not installed.
    """
    if (run is None) == (heads is None):
        raise UsageError("export: give either --run DIR or --heads DIR")
    folder = str(run or heads)
    if onnx or onnx_images:
        _need_onnx()
    bundle, frozen = load_bundle(folder, encoder=encoder), None
    if onnx_images:
        spec = encoder_of(bundle, folder, encoder, weights)
        frozen = FrozenEncoder.load(replace(spec, dtype="float32"))
    console = Console(stderr=True, soft_wrap=True, markup=False, highlight=False)
    if neutral is not None:
        recognizer = EmotionRecognizer(
            bundle, frozen or FrozenEncoder.load(encoder_of(bundle, folder, encoder, weights))
        )
        console.print(fit_neutral_means(recognizer, neutral))
        bundle.heads.to("cpu")
    found = collect(Path(folder), evidence or []) if card else []
    if card:
        compose(bundle, found, licence, {})  # what is wrong with the evidence is said before anything is written
    for line in export_bundle(bundle, Path(out), onnx=onnx, released=released, encoder=frozen):
        console.print(line)
    if card:
        console.print(write_card(Path(out), bundle, found, licence))
    if onnx_images and spec.dtype != "float32":
        console.print(f"note: {IMAGES_GRAPH} encodes in float32, the heads were trained on {spec.dtype} features")


def export_bundle(
    bundle: HeadsBundle, out: Path, *, onnx: bool = False, released: bool = False, encoder: FrozenEncoder | None = None
) -> list[str]:
    """Write heads to a folder; what cannot be written is refused before anything is.

    Args:
        bundle: the heads, on the CPU.
        out: target folder.
        onnx: write heads.onnx.
        released: write model_<slug>_best.pth files.
        encoder: write recognizer.onnx with this encoder, in float32 on the CPU.

    Returns:
        One line per kind of file: what was written and, for ONNX, the largest difference found.
    """
    check_forms(bundle.output_map, bundle.l2_normalise, onnx=onnx or encoder is not None, released=released)
    make_folder(out)
    before = _forms(out)
    for scratch in out.glob(f"{_SCRATCH}*"):  # of an export that was killed
        shutil.rmtree(scratch, ignore_errors=True)
    lines: list[str] = []
    files: dict[str, str] = {}
    if onnx:
        _export_onnx(bundle, None, out / HEADS_GRAPH, files, lines)
    if encoder is not None:
        _export_onnx(bundle, encoder, out / IMAGES_GRAPH, files, lines)
    if released:
        written = bundle.save_released(out)
        lines.append(f"{out}: {len(written)} files model_<slug>_best.pth")
        files |= written
    bundle.save(out, files)
    if stale := sorted(before - files.keys()):
        for name in stale:  # of the heads that were here before: beside these they would be taken for theirs
            (out / name).unlink(missing_ok=True)
        lines.append(f"{out}: removed {', '.join(stale[:3])}{' ...' if len(stale) > 3 else ''} of an earlier export")
    return [f"{out}: heads.safetensors, manifest.json ({len(bundle.taxonomy)} heads)", *lines]


def _forms(out: Path) -> set[str]:
    """Names of what an earlier export wrote beside the heads, and nobody has changed since."""
    try:
        files = read_manifest(out / MANIFEST_FILE, WEIGHTS_FILE)["files"]
    except EmoNetError:  # none, or not one that can be trusted with what to remove
        return set()
    own = {name: digest for name, digest in files.items() if _FORM.fullmatch(name) and (out / name).is_file()}
    return {name for name, digest in own.items() if sha256_file(out / name) == digest}


def check_forms(output_map: str, l2_normalise: bool, *, onnx: bool, released: bool) -> None:
    """Refuse forms that heads of this kind, or this machine, cannot give.

    Raises:
        DataError: released .pth files cannot say what these heads need.
        EnvironmentProblem: the packages for ONNX are not installed.
    """
    if released and output_map != "identity":
        raise DataError(
            f"released .pth files hold plain outputs, these heads' scores are a '{output_map}' of them; "
            "train with loss mse, mae or huber, or export safetensors or ONNX"
        )
    if released and not l2_normalise:
        raise DataError(
            "released .pth files are read with L2-normalised features, these heads were trained without; "
            "train with l2_normalise: true, or export safetensors or ONNX"
        )
    if onnx:
        _need_onnx()


def _need_onnx() -> None:
    missing = [name for name in ("onnx", "onnxscript", "onnxruntime") if importlib.util.find_spec(name) is None]
    if missing:
        raise EnvironmentProblem(f'export to ONNX needs {", ".join(missing)}; pip install "emonet-lightning[onnx]"')


def _export_onnx(
    bundle: HeadsBundle, encoder: FrozenEncoder | None, path: Path, files: dict[str, str], lines: list[str]
) -> None:
    """Write a graph; adds its files with their digests, and a line on it."""
    scorer = Scorer(bundle, encoder).eval()
    inputs = [_example(bundle, encoder, batch) for batch in _BATCHES]
    name = "features" if encoder is None else "images"
    size = sum(tensor.numel() * tensor.element_size() for tensor in scorer.state_dict().values())
    with write_errors(path), tempfile.TemporaryDirectory(dir=path.parent, prefix=_SCRATCH) as scratch:
        draft = Path(scratch) / path.name
        with _export_errors(path), warnings.catch_warnings(), _quiet("torch.onnx"), torch.no_grad():
            warnings.simplefilter("ignore")  # the exporter's notes on its own internals
            program = torch.onnx.export(
                scorer,
                (inputs[-1],),
                input_names=[name],
                output_names=["scores"],
                dynamic_shapes=({0: torch.export.Dim("batch")},),
                dynamo=True,
                verbose=False,
            )
        assert program is not None
        program.model.metadata_props.update(_metadata(bundle, encoder))
        program.save(str(draft), external_data=size > _INLINE_BYTES)
        with _export_errors(path):
            worst = max(_difference(draft, name, scorer, example) for example in inputs)
        if not worst <= PARITY:
            raise DataError(
                f"{path}: not written: the graph's scores differ from PyTorch's by {worst:.2e} (allowed: {PARITY:g})"
            )
        for file in sorted(Path(scratch).iterdir(), key=lambda file: file.name == path.name):  # the graph last
            digest = atomic_write(path.parent / file.name, functools.partial(os.replace, file))
            files[file.name] = digest
    lines.append(f"{path}: {name} to scores, largest difference {worst:.1e}, sha256 {digest[:12]}")


def _example(bundle: HeadsBundle, encoder: FrozenEncoder | None, batch: int) -> torch.Tensor:
    generator = torch.Generator().manual_seed(batch)
    if encoder is None:
        return torch.randn(batch, bundle.heads.in_features, generator=generator)
    side = encoder.preprocess.size
    return torch.randint(0, 256, (batch, 3, side, side), generator=generator, dtype=torch.uint8)


def _difference(path: Path, name: str, scorer: Scorer, example: torch.Tensor) -> float:
    import onnxruntime

    session = onnxruntime.InferenceSession(str(path), providers=["CPUExecutionProvider"])
    (scores,) = session.run(None, {name: example.numpy()})
    with torch.no_grad():
        return float(np.abs(scores - scorer(example).numpy()).max())


def _metadata(bundle: HeadsBundle, encoder: FrozenEncoder | None) -> dict[str, str]:
    content: dict[str, Any] = {
        "taxonomy": bundle.taxonomy.to_dict(),
        "encoder": bundle.encoder,
        "neutral_means": None if bundle.neutral_means is None else bundle.neutral_means.tolist(),
    }
    if encoder is not None:
        content["preprocess"] = encoder.preprocess.to_dict()
    return {key: json.dumps(value, ensure_ascii=False) for key, value in content.items()}


@contextlib.contextmanager
def _quiet(name: str) -> Iterator[None]:
    """Silence a logger below error level for a while."""
    logger = logging.getLogger(name)
    level = logger.level
    logger.setLevel(logging.ERROR)
    try:
        yield
    finally:
        logger.setLevel(level)


@contextlib.contextmanager
def _export_errors(path: Path) -> Iterator[None]:
    """Turn what exporter and runtime raise on an operator that they lack into one line."""
    try:
        yield
    except (EmoNetError, OSError):
        raise
    except Exception as error:  # both raise untyped errors, some of pages
        reason = (" ".join(str(error).split()) or type(error).__name__)[:200]
        raise DataError(f"{path}: this architecture or precision cannot become an ONNX graph ({reason})") from error
