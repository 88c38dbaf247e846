"""From images by row to blocks of features: pixels come in batches, the encoder runs, one thread writes.

Batches lie inside blocks, so a block's bytes do not depend on who wrote which block.
"""

from collections import deque
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import closing

import torch

from emonet_lightning.bad_samples import BadSample
from emonet_lightning.data.cache_blocks import BadRows, Block, save_block
from emonet_lightning.data.pixel_batches import ImageRows, PixelBatches, Recipe, RowBatch
from emonet_lightning.encoders import ENCODE_BATCH, FrozenEncoder
from emonet_lightning.errors import DataError

_LARGEST = 6e4  # float16 ends at 65504
_SMALLEST = 2.0**-25  # and rounds this to zero


def encode_blocks(
    packed: ImageRows,
    encoder: FrozenEncoder,
    todo: list[tuple[Recipe, Block]],
    num_threads: int,
    advance: Callable[[int], None],
    on_bad: Callable[[int, BadSample], None] | None = None,
) -> None:
    """Encode blocks and write each when it is done.

    Args:
        packed: images.
        encoder: on the device where it shall run.
        todo: what to make, in this order.
        num_threads: image decoding threads.
        advance: is told how many images were encoded.
        on_bad: is told of each row whose image is bad, once, by this thread; the block says so of the row. By default
            such an image is an error.

    Raises:
        DataError: an unreadable image where there is no `on_bad`, or features that float16 does not hold; names the
            sample.
        OutputError: a block cannot be written.
    """
    device = encoder.mean.device
    found: dict[int, BadSample] = {}
    loader = PixelBatches(
        packed,
        encoder.preprocess,
        num_threads=num_threads,
        device=device,
        whole=encoder.resizes_on_device,
        on_bad=None if on_bad is None else found.__setitem__,
    )
    batches = [
        RowBatch(recipe, start, min(start + ENCODE_BATCH, block.stop))
        for recipe, block in todo
        for start in range(block.start, block.stop, ENCODE_BATCH)
    ]
    writes: deque[Future[None]] = deque()
    told: set[int] = set()
    with ThreadPoolExecutor(1) as writer, closing(loader(batches)) as pixels:
        for _, block in todo:
            features = torch.empty(block.stop - block.start, encoder.dim, device=device)
            for start in range(0, len(features), ENCODE_BATCH):
                part = features[start : start + ENCODE_BATCH]
                part.copy_(encoder.encode(next(pixels)))
                advance(len(part))
            bad = {row: found[row].reason for row in range(block.start, block.stop) if row in found} if found else {}
            for row in bad:
                features[row - block.start] = 0
                if on_bad is not None and row not in told:
                    on_bad(row, found[row])
            told.update(bad)
            writes.append(writer.submit(_write, block, *_on_host(features), packed.keys, bad))
            if len(writes) > 2:
                writes.popleft().result()
        for write in writes:
            write.result()


def _on_host(features: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor, torch.cuda.Event | None]:
    """Queue features as float16, and the largest magnitude of each row, for copying to the host; when they are there.

    The caller goes on meanwhile, so that the device never waits for a block to be written.
    """
    half, largest = features.half(), features.abs().amax(dim=1)
    if not features.is_cuda:
        return half, largest, None
    copies = [torch.empty(part.shape, dtype=part.dtype, pin_memory=True) for part in (half, largest)]
    for copy, part in zip(copies, (half, largest), strict=True):
        copy.copy_(part, non_blocking=True)
    copied = torch.cuda.Event()
    copied.record(torch.cuda.current_stream(features.device))
    return copies[0], copies[1], copied


def _write(
    block: Block,
    half: torch.Tensor,
    largest: torch.Tensor,
    copied: torch.cuda.Event | None,
    keys: list[str],
    bad_rows: BadRows,
) -> None:
    if copied is not None:
        copied.synchronize()
    # numpy: torch would start a team of threads in this thread
    bad = (~(largest.numpy() < _LARGEST)).nonzero()[0]  # NaN compares as False
    if len(bad):
        raise DataError(
            f"sample '{keys[block.start + bad[0]]}': encoder features reach {largest[bad[0]]:g}, float16 ends at 65504 "
            f"({len(bad)} such samples in this block); use --model.encoder.dtype float32 or another encoder"
        )
    known = {row - block.start for row in bad_rows}
    if zero := [row for row in (largest.numpy() <= _SMALLEST).nonzero()[0] if row not in known]:
        raise DataError(
            f"sample '{keys[block.start + zero[0]]}': all encoder features are zero ({len(zero)} such samples in this "
            "block); its weights are not those of a trained encoder, use another"
        )
    save_block(block, half, bad_rows)
