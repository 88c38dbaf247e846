"""Rows 1 to 4, 6 and 7: a training step of the stacked heads against a loop over forty modules.

A step is forward, backward and fused AdamW on both sides, dropout 0.1, 1152 features, 40 heads; without clipping unless
a line says otherwise, and then each head is clipped by its own norm on both sides.
"""

import copy
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import torch
from head_loop import DROPOUT, FEATURES, HEADS, LR, HeadLoop, loop_step, made_up_batch, stacked_step, sum_of_head_means
from measuring import Line, Settings, interleave, ratio_line
from torch.utils._python_dispatch import TorchDispatchMode

from emonet_lightning.heads import WIDTHS, EmotionHeads
from emonet_lightning.optimizer import HeadwiseAdamW


class OpCounter(TorchDispatchMode):
    """Counts dispatched operations that are not views: what a GPU has to be sent, whatever the machine."""

    def __init__(self) -> None:
        super().__init__()
        self.count = 0

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        aliases = [given.alias_info for given in func._schema.returns]
        self.count += not any(alias is not None and not alias.is_write for alias in aliases)
        return func(*args, **(kwargs or {}))


def count_ops(step: Callable[[], None]) -> int:
    """Return the operations of one step; one before it is not counted (optimiser state is made there)."""
    step()
    with OpCounter() as counter:
        step()
    return counter.count


def build(size: str, **options: Any) -> tuple[HeadLoop, EmotionHeads]:
    """Return the loop and the stack with equal weights."""
    torch.manual_seed(0)
    loop = HeadLoop(HEADS, FEATURES, WIDTHS[size], options.pop("dropout", DROPOUT))
    heads = EmotionHeads(HEADS, FEATURES, WIDTHS[size], loop.heads[0][2].p, **options)
    loop.copy_to(heads)
    return loop, heads


def ops_per_step(settings: Settings) -> Iterator[Line]:
    """Row 1."""
    for size in ("large", "small"):
        for clip in (0.0, 1.0):
            loop, heads = build(size)
            batch = made_up_batch(8)
            counts = count_ops(loop_step(loop, *batch, clip)), count_ops(stacked_step(heads, *batch, clip))
            what = f"{size.capitalize()}, loop / stacked" + (", each head clipped on both sides" if clip else "")
            yield Line(what, counts[0] / counts[1], "x", ">= 20", details={"loop_ops": counts[0], "our_ops": counts[1]})


def parity(settings: Settings) -> Iterator[Line]:
    """Row 2: the largest difference over the largest value, outputs and every gradient, dropout 0."""
    for size in ("large", "small"):
        loop, heads = build(size, dropout=0.0)
        x, target = made_up_batch(256)
        expected, found = loop(x), heads(x)
        sum_of_head_means(expected, target).backward()
        sum_of_head_means(found, target).backward()
        output = float((expected - found).abs().max() / expected.abs().max())
        gradients = copy.deepcopy(heads)  # the stack's gradients as weights, to read them in the released layout
        for own, parameter in zip(gradients.parameters(), heads.parameters(), strict=True):
            own.data = parameter.grad
        worst = 0.0
        for number, head in enumerate(loop.heads):
            state = gradients.head_state(number)
            for name, parameter in head.named_parameters():
                difference = (state[f"layers.{name}"] - parameter.grad).abs().max() / parameter.grad.abs().max()
                worst = max(worst, float(difference))
        yield Line(f"{size.capitalize()}, outputs", output, "relative", "<= 1e-06")
        yield Line(f"{size.capitalize()}, gradients of every tensor", worst, "relative", "<= 1e-06")


def step_times(settings: Settings) -> Iterator[Line]:
    """Row 3: batch 256."""
    for size, target, rounds, repeat in (("large", ">= 0.95", 7, 1), ("small", ">= 1.1", 11, 4)):
        rounds = settings.num_rounds(rounds)
        yield _step_line(size, 256, target, rounds, repeat)
        yield _step_line(size, 256, "", rounds, repeat, clip=1.0)
        if not _has_bf16():
            yield Line(f"{size.capitalize()}, bfloat16", None, note="this CPU has no bfloat16 arithmetic")
            continue
        loop, _ = build(size)
        half = EmotionHeads(HEADS, FEATURES, WIDTHS[size], DROPOUT, compute_dtype="bfloat16")
        loop.copy_to(half)
        batch = made_up_batch(256)
        sides = {
            "loop, float32": loop_step(loop, *batch),
            "stacked, bfloat16": stacked_step(half, *batch),
            "loop, bfloat16 autocast": loop_step(copy.deepcopy(loop), *batch, autocast=True),
        }
        timings = interleave(sides, rounds, repeat, say=f"{size} bfloat16")
        name = size.capitalize()
        yield ratio_line(f"{name}, batch 256, bfloat16 against the float32 loop", timings, *list(sides)[:2], ">= 1.5")
        yield ratio_line(
            f"{name}, batch 256, bfloat16 against the loop with bfloat16 autocast", timings, *list(sides)[:0:-1]
        )


def small_batches(settings: Settings) -> Iterator[Line]:
    """Row 4: batch 16."""
    rounds = settings.num_rounds(15)
    yield _step_line("small", 16, ">= 1.4", rounds, settings.pick(20, 2))
    yield _step_line("small", 16, "", rounds, settings.pick(20, 2), clip=1.0)


def per_head_options(settings: Settings) -> Iterator[Line]:
    """Row 6: forty learning rates and weight decays against one uniform `torch.optim.AdamW(fused=True)`."""
    for size, repeat in (("large", 4), ("small", 40)):
        _, own = build(size)
        _, uniform = build(size)
        batch = made_up_batch(256)
        parameters = list(own.parameters())
        scale = [0.5 + head / HEADS for head in range(HEADS)]
        decay = [0.001 * (head + 1) for head in range(HEADS)]
        headwise = HeadwiseAdamW(parameters, LR, lr_scale=scale, head_weight_decay=decay)
        plain = torch.optim.AdamW(uniform.parameters(), lr=LR, fused=True)
        whole = {
            "uniform fused AdamW": stacked_step(uniform, *batch, optimizer=plain),
            "own lr and decay": stacked_step(own, *batch, optimizer=headwise),
        }
        sizes = settings.num_rounds(9), settings.pick(max(1, repeat // 10), 1)
        timings = interleave(whole, *sizes, say=f"{size}, whole step")
        name = size.capitalize()
        yield ratio_line(f"{name}, whole step, batch 256, ours / uniform", timings, *whole, "<= 1.05", inverse=True)
        for heads in (own, uniform):  # the last step's gradients stay: only the optimisers step
            sum_of_head_means(heads(batch[0]), batch[1]).backward()
        alone = {"uniform fused AdamW": plain.step, "own lr and decay": headwise.step}
        timings = interleave(alone, settings.num_rounds(15), settings.pick(repeat, 1), say=f"{size}, optimiser alone")
        calls = [1e6 * (ours - one) for one, ours in zip(*(timings[side].cpu for side in alone), strict=True)]
        note = f"{HEADS} calls of the fused kernel in place of one: {sorted(calls)[len(calls) // 2]:.0f} us more"
        yield ratio_line(f"{name}, optimiser alone, ours / uniform", timings, *alone, "<= 1.05", note, inverse=True)


def finished_heads(settings: Settings) -> Iterator[Line]:
    """Row 7: twenty of forty heads are finished and compacted away."""
    active = list(range(0, HEADS, 2))
    for size, repeat in (("large", 1), ("small", 4)):
        _, heads = build(size)
        x, target = made_up_batch(256)
        optimizer = HeadwiseAdamW(list(heads.parameters()), LR)
        every = stacked_step(heads, x, target, optimizer=optimizer)
        every()
        kept = heads.select(active)
        shorter = copy.copy(optimizer)
        shorter.state = copy.copy(optimizer.state)
        shorter.select(active, list(kept.parameters()))
        sides = {"40 heads": every, "20 heads": stacked_step(kept, x, target[:, active], optimizer=shorter)}
        timings = interleave(sides, settings.num_rounds(9), settings.pick(repeat, 1), say=size)
        yield ratio_line(f"{size.capitalize()}, batch 256, all heads / half of them", timings, *sides, ">= 1.8")


def _step_line(size: str, rows: int, target: str, rounds: int, repeat: int, clip: float = 0.0) -> Line:
    loop, heads = build(size)
    batch = made_up_batch(rows)
    sides = {"loop": loop_step(loop, *batch, clip), "stacked": stacked_step(heads, *batch, clip)}
    clipped = ", each head clipped on both sides" if clip else ""
    timings = interleave(sides, rounds, repeat, warmup=2, say=f"{size}, batch {rows}{clipped}")
    return ratio_line(f"{size.capitalize()}, batch {rows}, loop / stacked{clipped}", timings, "loop", "stacked", target)


def _has_bf16() -> bool:
    flags = Path("/proc/cpuinfo").read_text() if Path("/proc/cpuinfo").exists() else ""
    return "avx512_bf16" in flags or "amx_bf16" in flags
