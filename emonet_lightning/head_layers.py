"""Layers of stacked heads: one linear layer for all heads, and what stands between two of them.

Weights lie as in `nn.Linear` ([out, in], head by head), activations feature by feature ([K, width, B]): so no product,
forward or backward, copies or transposes a tensor, and a head is a contiguous slice.
"""

from typing import Any

import torch
from torch import nn
from torch.autograd.function import once_differentiable

_LEVELS = 1 << 16


class StackedLinear(nn.Module):
    """`num_heads` linear layers side by side: weight [K, out, in], bias [K, out]."""

    weight: torch.Tensor
    bias: torch.Tensor

    def __init__(self, weight: torch.Tensor, bias: torch.Tensor) -> None:
        super().__init__()
        self.weight = nn.Parameter(weight)
        self.bias = nn.Parameter(bias)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Apply every head's layer, in the precision of `x`.

        Args:
            x: [K, in, B], a head's own input; or [in, B], the input of all heads, which is then one matrix product.

        Returns:
            [K, out, B], or [K * out, B] where the heads share their input.
        """
        weight, bias = self.weight.to(x.dtype), self.bias.to(x.dtype)
        if x.ndim == 2:
            return torch.addmm(bias.view(-1, 1), weight.view(-1, weight.shape[2]), x)
        return torch.baddbmm(bias.unsqueeze(2), weight, x)


def relu_dropout(x: torch.Tensor, rate: float, training: bool) -> torch.Tensor:
    """Return ReLU and, while training, dropout of `x`, whose memory may be used for the result.

    On CPU the rate is a multiple of 2^-16, with the exact scale of that rate, since random bits are what costs there.
    """
    if not (training and rate):
        return torch.relu_(x)
    if x.device.type != "cpu":
        return torch.dropout(torch.relu(x), rate, True)
    return _ReluDropout.apply(x, min(round(rate * _LEVELS), _LEVELS - 1))


def relu_dropout_by_row(x: torch.Tensor, rates: torch.Tensor, training: bool) -> torch.Tensor:
    """Return what `relu_dropout` does, each row with a rate of its own.

    Args:
        x: [n, ...], or [n * m, ...]: m rows in a row share a rate. Its memory may be used for the result.
        rates: [n], each in [0, 1).
        training: whether anything is dropped.
    """
    if not training:
        return torch.relu_(x)
    if x.device.type != "cpu":
        rows, own = x.reshape(len(rates), -1), rates.to(x).unsqueeze(1)
        return (torch.relu(rows) * (torch.rand_like(rows) >= own).to(x.dtype).div_(1 - own)).view_as(x)
    return _ReluDropout.apply(x, (rates * _LEVELS).round().long().clamp(max=_LEVELS - 1).unsqueeze(1))


def by_row(x: torch.Tensor) -> torch.Tensor:
    """Transpose [K, B] such that its gradient lies head by head.

    Sums over rows, such as the last bias's gradient, are then taken alike however many heads there are: a head's bits
    do not depend on its neighbours.
    """
    return _ByRow.apply(x) if x.requires_grad else x.T


class _ByRow(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: torch.Tensor) -> torch.Tensor:
        return x.T

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: torch.Tensor) -> torch.Tensor:
        return grad.T.contiguous()


class _ReluDropout(torch.autograd.Function):
    """Both in one pass back: what is positive in the result is what was positive and kept."""

    @staticmethod
    def forward(ctx: Any, x: torch.Tensor, dropped: int | torch.Tensor) -> torch.Tensor:
        ctx.scale = _LEVELS / (_LEVELS - dropped)
        bits = torch.randint(-(2**63), 2**63 - 1, ((x.numel() + 3) // 4,)).view(torch.int16)
        rows, least = x, dropped - _LEVELS // 2
        if isinstance(least, torch.Tensor):  # rows of their own levels [n, 1]
            rows, least, ctx.scale = x.view(len(least), -1), least.short(), ctx.scale.to(x.dtype)
        keep = torch.empty_like(rows)
        torch.ge(bits[: x.numel()].view(rows.shape), least, out=keep)  # 0 and 1 in the type of x
        rows.relu_().mul_(keep).mul_(ctx.scale)
        ctx.mark_dirty(x)
        ctx.save_for_backward(x)
        return x

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: torch.Tensor) -> tuple[torch.Tensor, None]:
        (result,) = ctx.saved_tensors
        grad = torch.ops.aten.threshold_backward(grad, result, 0)
        if isinstance(ctx.scale, torch.Tensor):
            grad = grad.contiguous()
            grad.view(len(ctx.scale), -1).mul_(ctx.scale)
            return grad, None
        return grad.mul_(ctx.scale), None
