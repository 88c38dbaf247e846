"""Products over labelled (row, head) pairs, sorted by head: the work of sparse labels is that of the labels alone."""

from functools import cache

import torch
from torch.nn import functional

_grouped_mm = getattr(functional, "grouped_mm", None) or torch._grouped_mm


def grouped_linear(
    x: torch.Tensor, weight: torch.Tensor, bias: torch.Tensor, head: torch.Tensor, offs: torch.Tensor
) -> torch.Tensor:
    """Apply to each pair its head's layer, in the precision of `x`.

    Args:
        x: [P, in], sorted by head.
        weight: [K, out, in].
        bias: [K, out].
        head: [P] int64, ascending.
        offs: [K] int32, where each head's pairs end.

    Returns:
        [P, out].
    """
    # rows times a transposed view: the gradient of the weight comes out in the weight's own layout
    product = _grouped_mm(x, weight.to(x.dtype).transpose(1, 2), offs=offs)
    return product.add_(bias.to(x.dtype).index_select(0, head))


def can_group(x: torch.Tensor, sizes: list[int]) -> bool:
    """Tell whether `grouped_linear` works for `x`'s device and type and for layers of these sizes.

    The kernels want rows of whole 16 bytes, and differ over versions of PyTorch and devices.
    """
    return all(size * x.element_size() % 16 == 0 for size in sizes) and x.shape[0] > 0 and _works(x.device, x.dtype)


@cache
def _works(device: torch.device, dtype: torch.dtype) -> bool:
    """Try it once, forward and backward, with a head that has no pairs."""
    x = torch.arange(96.0, device=device).view(6, 16).to(dtype) / 96
    weight = (torch.arange(768.0, device=device).view(3, 16, 16) / 768).to(dtype).requires_grad_()
    head = torch.tensor([0, 0, 0, 0, 2, 2], device=device)
    offs = torch.tensor([4, 4, 6], dtype=torch.int32, device=device)
    try:
        with torch.enable_grad():
            found = grouped_linear(x, weight, torch.zeros(3, 16, device=device), head, offs)
            total = (found * torch.ones_like(found)).sum()  # the gradient of a plain sum has strides of 0, which fails
            (grad,) = torch.autograd.grad(total, weight)
    except (RuntimeError, NotImplementedError):
        return False
    expected = torch.einsum("pi,poi->po", x.float(), weight.detach().float()[head])
    sums = torch.stack([x[head == k].float().sum(0).expand(16, 16) for k in range(3)])
    errors = [(found.float() - expected).abs().max(), (grad.float() - sums).abs().max()]
    return bool(torch.stack(errors).max() < 0.05)


def pad_by_head(x: torch.Tensor, head: torch.Tensor, offs: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """Give every head as many columns as the one with most pairs has; for what `grouped_linear` cannot do.

    Args:
        x: [P, D], sorted by head.
        head: [P].
        offs: [K].

    Returns:
        [K, D, n], zeros where a head has fewer pairs; and each pair's column [P].
    """
    counts = offs.diff(prepend=offs.new_zeros(1))
    column = torch.arange(len(head), device=x.device) - (offs - counts)[head]
    padded = x.new_zeros(len(offs), int(counts.max()), x.shape[1])
    padded[head, column] = x
    return padded.transpose(1, 2), column
