"""HeadwiseAdamW: torch's AdamW over per-head views of stacked parameters.

A head that saw no label in a step is neither stepped nor decayed, and its bias correction does not advance: exactly
what an optimiser of its own would do. PyTorch skips a parameter whose `grad` is None; views make that a per-head skip.
"""

from collections.abc import Callable, Iterable
from typing import Any

import torch


class HeadwiseAdamW(torch.optim.AdamW):
    """AdamW over slices [k] of stacked parameters [K, ...].

    Args:
        stacked: parameters whose first axis is the head.
        lr: learning rate of every head.
        weight_decay: decoupled weight decay.
        betas: as in `torch.optim.AdamW`.
        eps: as in `torch.optim.AdamW`.
    """

    def __init__(
        self,
        stacked: Iterable[torch.nn.Parameter],
        lr: float,
        weight_decay: float = 0.01,
        betas: tuple[float, float] = (0.9, 0.999),
        eps: float = 1e-8,
    ) -> None:
        self.stacked = list(stacked)
        num_heads = self.stacked[0].shape[0]
        views = [parameter.data[head] for head in range(num_heads) for parameter in self.stacked]
        super().__init__(views, lr=lr, weight_decay=weight_decay, betas=betas, eps=eps, fused=True)
        self.active = torch.ones(num_heads, dtype=torch.bool)
        """Heads [K] that the next step moves, on the CPU; set before each step."""

    @torch.no_grad()
    def step(self, closure: Callable[[], Any] | None = None) -> Any:  # type: ignore[override]
        """Step the active heads with the stacked gradients."""
        loss = None
        if closure is not None:
            with torch.enable_grad():
                loss = closure()
        views = iter(self.param_groups[0]["params"])
        for head, active in enumerate(self.active.tolist()):
            for parameter in self.stacked:
                view = next(views)
                view.grad = parameter.grad[head] if active and parameter.grad is not None else None
        super().step()
        return loss

    def zero_grad(self, set_to_none: bool = True) -> None:
        """Drop the gradients of the stacked parameters and of the views."""
        for parameter in self.stacked:
            parameter.grad = None
        super().zero_grad(set_to_none=True)


@torch.no_grad()
def per_head_grad_norm(stacked: Iterable[torch.nn.Parameter]) -> torch.Tensor:
    """Return the gradient norm of each head [K] over all its tensors."""
    squares = [parameter.grad.flatten(1).square().sum(1) for parameter in stacked if parameter.grad is not None]
    return torch.stack(squares).sum(0).sqrt()


@torch.no_grad()
def clip_per_head(stacked: Iterable[torch.nn.Parameter], max_norm: float, norms: torch.Tensor) -> None:
    """Scale each head's gradient to `max_norm` at most, so that one head's outlier does not slow the others."""
    scale = (max_norm / (norms + 1e-6)).clamp(max=1.0)
    for parameter in stacked:
        if parameter.grad is not None:
            parameter.grad.mul_(scale.view(-1, *[1] * (parameter.dim() - 1)))
