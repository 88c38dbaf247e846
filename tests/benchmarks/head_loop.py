"""The other side of the heads' rows: forty separate MLPs in a `ModuleList`, as everybody writes them."""

import itertools
from collections.abc import Callable, Sequence

import torch
from torch import nn

from emonet_lightning.heads import EmotionHeads
from emonet_lightning.optimizer import HeadwiseAdamW, clip_per_head

FEATURES, HEADS, DROPOUT, LR = 1152, 40, 0.1, 1e-4


class HeadLoop(nn.Module):
    """`num_heads` MLPs [Linear, ReLU, Dropout] * n + Linear: features [B, D] -> [B, K], one head after the other."""

    def __init__(self, num_heads: int, in_features: int, widths: Sequence[int], dropout: float) -> None:
        super().__init__()
        self.heads = nn.ModuleList(self._mlp([in_features, *widths, 1], dropout) for _ in range(num_heads))

    @staticmethod
    def _mlp(sizes: Sequence[int], dropout: float) -> nn.Sequential:
        layers: list[nn.Module] = []
        for a, b in itertools.pairwise(sizes[:-1]):
            layers += [nn.Linear(a, b), nn.ReLU(), nn.Dropout(dropout)]
        return nn.Sequential(*layers, nn.Linear(*sizes[-2:]))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return torch.cat([head(x) for head in self.heads], dim=1)

    def copy_to(self, heads: EmotionHeads) -> None:
        """Give the stacked heads the same weights."""
        for number, head in enumerate(self.heads):
            heads.load_head_state(number, {f"layers.{name}": value for name, value in head.state_dict().items()})


def sum_of_head_means(output: torch.Tensor, target: torch.Tensor) -> torch.Tensor:
    """The loss of both sides: the sum over heads of each head's mean squared error."""
    return (output - target).square().mean(0).sum()


def loop_step(
    model: HeadLoop, x: torch.Tensor, target: torch.Tensor, clip: float = 0.0, autocast: bool = False
) -> Callable[[], None]:
    """Return one whole training step of the loop: forward, backward, (clipping of each head,) fused AdamW."""
    optimizer = torch.optim.AdamW(model.parameters(), lr=LR, fused=True)

    def step() -> None:
        optimizer.zero_grad(set_to_none=True)
        with torch.autocast(x.device.type, torch.bfloat16, enabled=autocast):
            output = model(x)
        sum_of_head_means(output.float(), target).backward()
        if clip:
            for head in model.heads:
                nn.utils.clip_grad_norm_(head.parameters(), clip)
        optimizer.step()

    return step


def stacked_step(
    heads: EmotionHeads,
    x: torch.Tensor,
    target: torch.Tensor,
    clip: float = 0.0,
    optimizer: HeadwiseAdamW | None = None,
) -> Callable[[], None]:
    """Return the same step of the stacked heads."""
    parameters = list(heads.parameters())
    optimizer = optimizer or HeadwiseAdamW(parameters, LR)

    def step() -> None:
        optimizer.zero_grad(set_to_none=True)
        sum_of_head_means(heads(x), target).backward()
        if clip:
            clip_per_head(parameters, clip)
        optimizer.step()

    return step


def made_up_batch(rows: int, num_heads: int = HEADS, device: str = "cpu") -> tuple[torch.Tensor, torch.Tensor]:
    """Return unit-length features [rows, 1152] and targets [rows, K] on 0..7, the same each time."""
    generator = torch.Generator().manual_seed(1)
    x = nn.functional.normalize(torch.randn(rows, FEATURES, generator=generator)) * FEATURES**0.5
    target = torch.randint(0, 8, (rows, num_heads), generator=generator).float()
    return x.to(device), target.to(device)
