"""Row 5: labels on 2 of 40 heads a row, as experts' yes/no answers: a masked loop over all heads against pairs.

The step of our side begins with the batch's rows, as the loop's does: gathering the features of each (row, head) pair
is part of it. Both sides minimise the sum over heads of each head's mean squared error over its own labels.
"""

from collections.abc import Callable, Iterator

import torch
from head_loop import DROPOUT, FEATURES, HEADS, LR, HeadLoop, made_up_batch
from heads_rows import build
from measuring import Line, Settings, interleave, ratio_line

from emonet_lightning.heads import EmotionHeads
from emonet_lightning.losses import per_head_sum_of_pairs
from emonet_lightning.optimizer import HeadwiseAdamW

ROWS, ASKED = 1024, 2


def sparse_mask(skewed: bool) -> torch.Tensor:
    """Return which 2 heads each row has a label of [1024, 40] bool: equally often, or the k-th head in 1/k of cases."""
    generator = torch.Generator().manual_seed(2)
    weight = 1 / torch.arange(1, HEADS + 1) if skewed else torch.ones(HEADS)
    heads = torch.multinomial(weight.expand(ROWS, HEADS).float(), ASKED, generator=generator)
    return torch.zeros(ROWS, HEADS, dtype=torch.bool).scatter_(1, heads, True)


def masked_loop_step(model: HeadLoop, x: torch.Tensor, target: torch.Tensor, mask: torch.Tensor) -> Callable[[], None]:
    """Return a step of the loop: every head on every row, the loss masked."""
    optimizer = torch.optim.AdamW(model.parameters(), lr=LR, fused=True)
    count = mask.sum(0).clamp(min=1)

    def step() -> None:
        optimizer.zero_grad(set_to_none=True)
        loss = (model(x) - target).square() * mask
        (loss.sum(0) / count).sum().backward()
        optimizer.step()

    return step


def pairs_step(heads: EmotionHeads, x: torch.Tensor, target: torch.Tensor, mask: torch.Tensor) -> Callable[[], None]:
    """Return our step: labelled pairs only, sorted by head."""
    optimizer = HeadwiseAdamW(list(heads.parameters()), LR)
    head, row = mask.T.nonzero(as_tuple=True)
    num_labels = mask.sum(0).float()
    offsets = num_labels.cumsum(0).to(torch.int32)
    wanted = target[row, head]

    def step() -> None:
        optimizer.zero_grad(set_to_none=True)
        output = heads.forward_pairs(x.index_select(0, row), head, offsets)
        per_head_sum_of_pairs((output - wanted).square(), head, num_labels).sum().backward()
        optimizer.step()

    return step


def check_equal(size: str, mask: torch.Tensor) -> float:
    """Return the largest relative difference of the two sides' labelled outputs, dropout 0."""
    loop, heads = build(size, dropout=0.0)
    x, _ = made_up_batch(ROWS)
    head, row = mask.T.nonzero(as_tuple=True)
    with torch.no_grad():
        expected = loop(x)[row, head]
        found = heads.forward_pairs(x[row], head, mask.sum(0).cumsum(0).to(torch.int32))
    return float((expected - found).abs().max() / expected.abs().max())


def sparse_labels(settings: Settings) -> Iterator[Line]:
    """Row 5."""
    for size, rounds, repeat in (("small", 7, 2), ("large", 3, 1)):
        for skewed in (False, True):
            mask = sparse_mask(skewed)
            loop, heads = build(size, dropout=DROPOUT)
            x, target = made_up_batch(ROWS)
            sides = {
                "masked loop": masked_loop_step(loop, x, target, mask),
                "pairs": pairs_step(heads, x, target, mask),
            }
            name = f"{size.capitalize()}, batch {ROWS}, {'skewed (1/rank)' if skewed else 'uniform'} labels"
            timings = interleave(sides, settings.num_rounds(rounds), settings.pick(repeat, 1), say=name)
            counts = mask.sum(0)
            yield ratio_line(
                name,
                timings,
                *sides,
                ">= 7",
                labels_per_head=[int(counts.min()), int(counts.max())],
                largest_difference=check_equal(size, mask),
                features=FEATURES,
            )
