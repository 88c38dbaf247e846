"""EmotionHeads: one small MLP per dimension, stored stacked and computed in one batched product per layer.

The one trade-off: tensors are head-major ([K, in, out]), so that a head is a contiguous slice (per-head optimiser
state, best-epoch snapshots, released files) at the price of a transpose when a head is written as an `nn.Linear`.
"""

import itertools
from collections.abc import Sequence
from typing import Literal, cast

import torch
from torch import nn

from emonet_lightning.errors import DataError, UsageError

WIDTHS = {"small": (128, 32), "large": (1024, 512, 256)}
"""Hidden widths of the released heads: 151,745 and 1,837,057 parameters a head on 1152-d features."""

OutputMap = Literal["identity", "sigmoid", "coral"]


def resolve_widths(widths: str | Sequence[int]) -> tuple[int, ...]:
    """Return hidden widths from `small`, `large` or a list of positive integers (empty: linear heads)."""
    if isinstance(widths, str):
        if widths not in WIDTHS:
            raise UsageError(f"model.widths: '{widths}' is neither 'small', 'large' nor a list such as [128, 32]")
        return WIDTHS[widths]
    if any(width < 1 for width in widths):
        raise UsageError(f"model.widths: {list(widths)} holds a width below 1")
    return tuple(widths)


class StackedLinear(nn.Module):
    """`num_heads` linear layers side by side: weight [K, in, out], bias [K, out]."""

    weight: torch.Tensor
    bias: torch.Tensor

    def __init__(self, weight: torch.Tensor, bias: torch.Tensor) -> None:
        super().__init__()
        self.weight = nn.Parameter(weight)
        self.bias = nn.Parameter(bias)

    def forward(self, x: torch.Tensor) -> torch.Tensor:  # [K, B, in] -> [K, B, out]
        """Apply head k's layer to x[k]."""
        return torch.baddbmm(self.bias.unsqueeze(1), x, self.weight)


class EmotionHeads(nn.Module):
    """All heads: pooled features [B, D] -> raw outputs [B, K], each head [Linear, ReLU, Dropout] * n + Linear.

    Initial weights are bit-equal to `num_heads` separately built MLPs after the same seed, head after head.

    Args:
        num_heads: K.
        in_features: D.
        widths: hidden widths.
        dropout: rate after each hidden layer, one for all or one a layer.
        num_thresholds: L ordered biases per head for the ordinal (CORAL) loss; 0 for none.
    """

    def __init__(
        self,
        num_heads: int,
        in_features: int,
        widths: Sequence[int] = WIDTHS["small"],
        dropout: float | Sequence[float] = 0.0,
        num_thresholds: int = 0,
    ) -> None:
        super().__init__()
        self.num_heads = num_heads
        self.in_features = in_features
        self.widths = tuple(widths)
        rates = [float(dropout)] * len(self.widths) if isinstance(dropout, int | float) else [float(r) for r in dropout]
        if len(rates) != len(self.widths) or any(not 0.0 <= rate < 1.0 for rate in rates):
            raise UsageError(f"model.dropout: {dropout} must be one rate in [0, 1), or one for each of {self.widths}")
        self.dropout = rates
        sizes = [in_features, *self.widths, 1]
        linears = [[nn.Linear(a, b) for a, b in itertools.pairwise(sizes)] for _ in range(num_heads)]
        self.layers = nn.ModuleList(
            StackedLinear(
                torch.stack([head[depth].weight.detach().T for head in linears]).contiguous(),
                torch.stack([head[depth].bias.detach() for head in linears]),
            )
            for depth in range(len(sizes) - 1)
        )
        if num_thresholds:
            # first bias, then gaps: softplus keeps the biases ordered whatever the optimiser does
            start = torch.tensor([2.0] + [0.0] * (num_thresholds - 1))
            self.thresholds = nn.Parameter(start.repeat(num_heads, 1))
        else:
            self.register_parameter("thresholds", None)

    @property
    def stack(self) -> list[StackedLinear]:
        """The layers, first to last."""
        return [cast(StackedLinear, layer) for layer in self.layers]

    @property
    def num_parameters_per_head(self) -> int:
        """Weights and biases of one head."""
        return sum(parameter[0].numel() for parameter in self.parameters())

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Map features [B, D] to raw outputs [B, K]."""
        hidden = x.expand(self.num_heads, *x.shape)  # [K, B, D], no copy
        last = len(self.layers) - 1
        for depth, layer in enumerate(self.stack):
            hidden = layer(hidden)
            if depth < last:
                hidden = torch.dropout(torch.relu(hidden), self.dropout[depth], self.training)
        return hidden.squeeze(-1).T

    def ordered_thresholds(self) -> torch.Tensor | None:
        """Return the ordinal biases [K, L], falling from level to level; None where there are none."""
        if self.thresholds is None:
            return None
        first, gaps = self.thresholds[:, :1], nn.functional.softplus(self.thresholds[:, 1:])
        return torch.cat([first, first - gaps.cumsum(1)], dim=1)

    def head_state(self, head: int) -> dict[str, torch.Tensor]:
        """Return one head in the released layout: `layers.{0,3,..}.weight` [out, in] and `.bias` [out]."""
        state = {}
        for depth, layer in enumerate(self.stack):
            state[f"layers.{3 * depth}.weight"] = layer.weight[head].detach().T.clone()
            state[f"layers.{3 * depth}.bias"] = layer.bias[head].detach().clone()
        return state

    @torch.no_grad()
    def load_head_state(self, head: int, state: dict[str, torch.Tensor], where: str = "head") -> None:
        """Take one head from the released layout.

        Raises:
            DataError: keys or shapes are not those of this stack.
        """
        expected = self.head_state(head)
        if state.keys() != expected.keys():
            difference = sorted(state.keys() ^ expected.keys())
            raise DataError(f"{where}: keys differ from {len(self.layers)} layers: {', '.join(difference)}")
        for name, tensor in state.items():
            if tensor.shape != expected[name].shape:
                raise DataError(f"{where}: {name} has shape {list(tensor.shape)}, not {list(expected[name].shape)}")
        for depth, layer in enumerate(self.stack):
            layer.weight[head] = state[f"layers.{3 * depth}.weight"].T
            layer.bias[head] = state[f"layers.{3 * depth}.bias"]

    @torch.no_grad()
    def fold_standardisation(self, mean: torch.Tensor, std: torch.Tensor, inverse: bool = False) -> None:
        """Make layer 1 take x where it took (x - mean) / std, or the reverse; the function stays the same.

        Args:
            mean: [D].
            std: [D], positive.
            inverse: from raw to standardised input.
        """
        layer = self.stack[0]
        weight = layer.weight.double()
        mean, std = mean.double(), std.double()
        if inverse:
            layer.bias.copy_((layer.bias.double() + torch.einsum("d,kdo->ko", mean, weight)).to(layer.bias))
            layer.weight.copy_((weight * std[:, None]).to(layer.weight))
        else:
            weight = weight / std[:, None]
            layer.bias.copy_((layer.bias.double() - torch.einsum("d,kdo->ko", mean, weight)).to(layer.bias))
            layer.weight.copy_(weight.to(layer.weight))

    @torch.no_grad()
    def zero_last_layer(self) -> None:
        """Set the last layer to zero: every output is 0."""
        self.stack[-1].weight.zero_()
        self.stack[-1].bias.zero_()

    def reinit_last_layer(self) -> None:
        """Draw the last layer anew, as when a different output map starts from these heads."""
        width = self.stack[-1].weight.shape[1]
        for head in range(self.num_heads):
            fresh = nn.Linear(width, 1)
            with torch.no_grad():
                self.stack[-1].weight[head] = fresh.weight.T
                self.stack[-1].bias[head] = fresh.bias
