"""Rows 8 and 9: what the feature cache saves, and what storing it as float16 costs."""

from collections.abc import Iterator
from statistics import median

import numpy as np
import torch
from fits import EpochClock, build, fit
from head_loop import stacked_step
from inputs import packed_set, photo_set
from measuring import Line, Settings, Timing, interleave, ratio_line

from emonet_lightning.data.datamodules import ExpertBinary, SyntheticFaces
from emonet_lightning.data.embeddings import build_cache
from emonet_lightning.data.feature_store import load_cache
from emonet_lightning.data.parts import Part
from emonet_lightning.data.pixel_batches import PixelBatches, Recipe, RowBatch
from emonet_lightning.encoders import EncoderSpec, FrozenEncoder
from emonet_lightning.heads import WIDTHS, EmotionHeads
from emonet_lightning.metrics import val_score
from emonet_lightning.optimizer import HeadwiseAdamW
from emonet_lightning.packing.packed import PackedSet
from emonet_lightning.synthesis.faces import RenderedFaces
from emonet_lightning.taxonomy import Taxonomy

BATCH = 256


def cached_epoch(settings: Settings) -> Iterator[Line]:
    """Row 8: `mode: images` against `mode: cached`, same module and rows, Small heads, batch 256, embedded encoder."""
    own = packed_set(settings.work, RenderedFaces("big", count=settings.pick(2000, 60)))
    for name, packed in (
        ("512 px photograph-like JPEGs, dense labels", photo_set(settings)),
        ("512 px photograph-like JPEGs, 2 of 40 labels", photo_set(settings, "binary")),
        ("112 px rendered faces of the quickstart, dense labels", own),
    ):
        timings = {"images": Timing([], []), "cached": Timing([], [])}
        for number in range(settings.num_rounds(3) + 1):
            for mode in ("images", "cached") if number % 2 == 0 else ("cached", "images"):
                clock = _epochs(settings, packed, mode)
                if number:  # the first turn fills the cache and warms up
                    timings[mode].cpu.append(median(clock.cpu))
                    timings[mode].wall.append(median(clock.wall))
        rows = len(packed.splits["train"])
        images, cached = (1e6 * median(timings[mode].cpu) / rows for mode in ("images", "cached"))
        note = f"{images:.0f} us of CPU time a row on images, {cached:.1f} us on cached features"
        if packed.kind == "dense":
            bare = 1e6 * _bare_step(settings) / BATCH
            note += f", of which {bare:.1f} us are the heads' own step: without anything else {images / bare:.1f}x"
        yield ratio_line(f"{name}: epoch on images / on cached features", timings, *timings, ">= 20", note, rows=rows)


def _epochs(settings: Settings, packed: PackedSet, mode: str) -> EpochClock:
    """Train one epoch on images or ten on cached features."""
    kind = ExpertBinary if packed.kind == "binary" else SyntheticFaces
    options = {"cache_dir": f"{settings.work}/cache", "batch_size": BATCH, "mode": mode, "encoder": EncoderSpec()}
    data = kind(str(packed.path), **options)
    epochs = {"images": 1, "cached": settings.pick(10, 2)}[mode]
    return fit(build(data, standardise=False, widths="small"), data, epochs, limit_val_batches=0)


def _bare_step(settings: Settings) -> float:
    """Return CPU seconds of one training step of Small heads on the embedded encoder's 224 features."""
    heads = EmotionHeads(40, 224, WIDTHS["small"], 0.1)
    step = stacked_step(heads, torch.randn(BATCH, 224), torch.rand(BATCH, 40), clip=1.0)
    return median(interleave({"step": step}, 5, settings.pick(10, 1))["step"].cpu)


def precision(settings: Settings) -> Iterator[Line]:
    """Row 9: features of the embedded encoder as it returns them against those read back from the cache."""
    packed = photo_set(settings)
    spec = EncoderSpec()
    cached = load_cache(build_cache(packed, spec, f"{settings.work}/cache/features", progress=False))[0]
    exact = _encode(packed, spec)
    mean = exact.double().mean(0)
    cosine = torch.nn.functional.cosine_similarity(exact.double() - mean, cached.double() - mean)
    yield Line("1 - cosine of centred features, largest", float((1 - cosine).max()), "relative", "<= 1e-06")
    labels = Part(str(packed.path)).labels(packed, Taxonomy.load("emonet40"))
    seeds = range(settings.pick(5, 2))
    scores = {
        name: [_train(features.float(), labels.target, labels.truth, packed, seed) for seed in seeds]
        for name, features in (("float32", exact), ("float16", cached))
    }
    change = float(np.mean(np.subtract(scores["float16"], scores["float32"])))
    largest = float(np.abs(np.subtract(scores["float16"], scores["float32"])).max())
    spread = float(np.std(scores["float32"], ddof=1))
    note = (
        f"Spearman of Small heads after 10 epochs: float32 {np.mean(scores['float32']):.4f} +- {spread:.4f} over "
        f"{len(seeds)} seeds; float16 at equal seeds {change:+.5f} on average, at most {largest:.5f}"
    )
    yield Line(
        "metric change (mean over seeds) / standard deviation over seeds",
        abs(change) / spread,
        "",
        "<= 1",
        note,
        scores,
    )


def _encode(packed: PackedSet, spec: EncoderSpec) -> torch.Tensor:
    encoder = FrozenEncoder.load(spec)
    batches = [RowBatch(Recipe(0), start, min(start + 64, len(packed))) for start in range(0, len(packed), 64)]
    return torch.cat(
        [encoder.encode(pixels) for pixels in PixelBatches(packed, encoder.preprocess, num_threads=1)(batches)]
    )


def _train(features: torch.Tensor, target: np.ndarray, truth: np.ndarray, packed: PackedSet, seed: int) -> float:
    """Train Small heads on standardised features; return the validation score."""
    rows, held_out = (torch.from_numpy(packed.splits[name]) for name in ("train", "val"))
    x = torch.nn.functional.normalize(features)
    x = (x - x[rows].mean(0)) / x[rows].std(0)
    torch.manual_seed(seed)
    heads = EmotionHeads(40, x.shape[1], (128, 32), 0.1)
    optimizer = HeadwiseAdamW(list(heads.parameters()), 1e-3)
    for _ in range(10):
        for batch in rows[torch.randperm(len(rows))].split(256):
            stacked_step(heads, x[batch], torch.from_numpy(target)[batch], 1.0, optimizer)()
    heads.eval()
    with torch.no_grad():
        found = heads(x[held_out]).double().numpy()
    return val_score(found, truth[held_out.numpy()], "spearman", np.zeros(40), 40).mean
