"""Rows G1 to G3, for a machine with a GPU. Figures are wall time between synchronisations of the device.

The roofline of a training step is the sum of what cannot overlap in eager PyTorch: products at the attainable rate of
bfloat16, and memory traffic of AdamW, of casts and of activations at the memory's bandwidth. Both constants are those
of an H200 and are written beside the figure; on another GPU the ratio to them says little.
"""

import copy
import itertools
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from statistics import median

import torch
from fits import build, fit
from head_loop import DROPOUT, FEATURES, HEADS, HeadLoop, loop_step, made_up_batch, stacked_step
from inputs import cached_set, photo_set, so400m
from measuring import Line, Settings, interleave, ratio_line

from emonet_lightning.data.cache_blocks import blocks_of
from emonet_lightning.data.datamodules import SyntheticFaces
from emonet_lightning.data.encoding import encode_blocks
from emonet_lightning.data.pixel_batches import Recipe, decode_threads
from emonet_lightning.encoders import FrozenEncoder
from emonet_lightning.heads import WIDTHS, EmotionHeads
from emonet_lightning.transforms import PreprocessSpec

ATTAINABLE, BANDWIDTH = 790e12, 4.8e12
"""Of an H200: dense bfloat16 products that a large GEMM reaches, FLOP/s; memory, bytes/s."""
ENCODER_FLOP = 518.9e9
"""Of SigLIP2 so400m patch16 384, one image: counted by torch's FlopCounterMode, equal to the analytic formula."""
ADAMW_BYTES, CAST_BYTES, ACTIVATION_BYTES = 28, 10, 16
"""Traffic per parameter (4 reads and 3 writes of float32), per parameter cast, per hidden unit and row."""


def device() -> torch.device:
    """Return the GPU; the CPU where there is none, so that the rows' code can be tried there with tiny sizes."""
    return torch.device("cuda" if torch.cuda.is_available() else "cpu")


def synchronise() -> None:
    """Wait for the device."""
    if torch.cuda.is_available():
        torch.cuda.synchronize()


def peak_gib() -> float:
    """Return the GPU memory that was allocated at most since the last call, GiB."""
    if not torch.cuda.is_available():
        return 0.0
    peak = torch.cuda.max_memory_allocated() / 2**30
    torch.cuda.reset_peak_memory_stats()
    return peak


def roofline_seconds(heads: EmotionHeads, rows: int) -> dict[str, float]:
    """Return the parts of a step's lower bound, seconds; see the module."""
    sizes = [heads.in_features, *heads.widths, 1]
    weights = [a * b for a, b in itertools.pairwise(sizes)]
    # forward, gradient of the weights, gradient of the input; the first layer's input needs none
    flop = 2 * heads.num_heads * rows * (3 * sum(weights) - weights[0])
    parameters = heads.num_heads * heads.num_parameters_per_head
    return {
        "products": flop / ATTAINABLE,
        "AdamW": ADAMW_BYTES * parameters / BANDWIDTH,
        "casts": CAST_BYTES * parameters / BANDWIDTH,
        "activations": ACTIVATION_BYTES * rows * heads.num_heads * sum(heads.widths) / BANDWIDTH,
    }


def step_times(settings: Settings) -> Iterator[Line]:
    """Row G1."""
    rows, where = settings.pick(1024, 32), device()
    for size, target in (("large", ">= 4"), ("small", ">= 10")):
        torch.manual_seed(0)
        loop = HeadLoop(HEADS, FEATURES, WIDTHS[size], DROPOUT).to(where)
        batch = made_up_batch(rows, HEADS, str(where))
        stacks = {
            name: EmotionHeads(HEADS, FEATURES, WIDTHS[size], DROPOUT, compute_dtype=name).to(where)
            for name in ("float32", "bfloat16")
        }
        sides = {
            "loop, float32": loop_step(loop, *batch),
            "stacked, float32": stacked_step(stacks["float32"], *batch),
            "loop, bfloat16 autocast": loop_step(copy.deepcopy(loop), *batch, autocast=True),
            "stacked, bfloat16": stacked_step(stacks["bfloat16"], *batch),
        }
        sizes = settings.num_rounds(9), settings.pick(20, 1)
        timings = interleave(sides, *sizes, warmup=3, synchronise=synchronise, say=f"{size}, batch {rows}")
        name, names, memory = size.capitalize(), list(sides), {"gpu_gib": peak_gib()}
        yield ratio_line(
            f"{name}, batch {rows}, bfloat16, loop / stacked", timings, *names[2:], target, by="wall", **memory
        )
        yield ratio_line(f"{name}, batch {rows}, float32, loop / stacked", timings, *names[:2], by="wall", **memory)
        parts = roofline_seconds(stacks["float32"], rows)
        bound, found = sum(parts.values()), median(timings["stacked, bfloat16"].wall)
        spent = ", ".join(f"{part} {1e3 * value:.2f}" for part, value in parts.items())
        note = f"step {1e3 * found:.2f} ms, roofline {1e3 * bound:.2f} ms (ms: {spent}; "
        note += f"{ATTAINABLE:.3g} FLOP/s, {BANDWIDTH:.2g} B/s)"
        wanted = "<= 2" if size == "large" else ""
        yield Line(
            f"{name}, batch {rows}, bfloat16 step / roofline", found / bound, "x", wanted, note, {"parts": parts}
        )


def encoder(settings: Settings) -> Iterator[Line]:
    """Row G2: the encoder alone on pixels that lie on the device, and the whole pass from JPEGs to cache blocks."""
    import timm

    name, size = settings.pick(("vit_so400m_patch16_siglip_384", 384), ("test_vit", 160))
    packed = photo_set(settings)
    where = device()
    limit = ATTAINABLE / ENCODER_FLOP
    for compiled in (False, True) if where.type == "cuda" else (False,):
        torch.manual_seed(0)
        module = timm.create_model(name, num_classes=0)
        identity = {"dtype": "bfloat16", "compile": compiled, "resize_on": "device"}
        frozen = FrozenEncoder(module, PreprocessSpec(size), identity, module.num_features).to(where)
        pixels = torch.randint(0, 255, (settings.pick(1024, 16), 3, size, size), dtype=torch.uint8, device=where)
        sides = {"encode": lambda frozen=frozen, pixels=pixels: frozen.encode(pixels)}
        timings = interleave(sides, settings.num_rounds(5), synchronise=synchronise, say=f"{name}, compiled {compiled}")
        speed = len(pixels) / median(timings["encode"].wall)
        what = f"{name}, bfloat16, random weights{', compiled' if compiled else ''}: images/s / attainable"
        note = f"{speed:.0f} images/s, attainable {limit:.0f} = {ATTAINABLE:.3g} / {ENCODER_FLOP:.4g} FLOP"
        yield Line(what, speed / limit, "", ">= 0.5", note, {"images_per_s": speed, "gpu_gib": peak_gib()})
        with tempfile.TemporaryDirectory() as folder:
            todo = [(Recipe(0), block) for block in blocks_of(Path(folder), "benchmark", packed.num_samples)]
            started = time.perf_counter()
            encode_blocks(packed, frozen, todo, decode_threads(), lambda count: None)
            whole = packed.num_samples / (time.perf_counter() - started)
        note = f"{whole:.0f} images/s from 512 px JPEGs to blocks on disk, {decode_threads()} decoding threads"
        yield Line(f"whole encode pass{', compiled' if compiled else ''} / encoder alone", whole / speed, "", "", note)


def cached_run(settings: Settings) -> Iterator[Line]:
    """Row G3: `fit` on the cached features of a set of BIG's size, from reading the cache to the last epoch's end."""
    rows, epochs = settings.pick(203_000, 2048), settings.pick(10, 2)
    spec = so400m(settings.work)
    made = cached_set(settings.work, "dense", rows, spec)
    for widths, dtype, calls in (("large", "float32", 16), ("large", "bfloat16", 16), ("small", "bfloat16", 64)):
        data = SyntheticFaces(**made, batch_size=1024, encoder=spec)
        module = build(data, widths=settings.pick(widths, [8]), heads_dtype=dtype, steps_per_call=calls)
        started = time.perf_counter()
        clock = fit(module, data, epochs, accelerator="auto")
        seconds, each = time.perf_counter() - started, median(clock.wall)
        what = f"{rows:,} rows, {epochs} epochs, 40 {widths.capitalize()} heads, {dtype}, {calls} steps a call"
        note = f"an epoch {each:.2f} s ({1e6 * each / rows:.2f} us a row), GPU memory {peak_gib():.2f} GiB"
        yield Line(what, seconds, "s", "", note, {"epochs": clock.wall})
