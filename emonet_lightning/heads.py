"""EmotionHeads: one small MLP per dimension, stored stacked and computed in one batched product per layer.

The one trade-off: tensors are head-major, each head as in `nn.Linear` ([K, out, in]), so that a head is a contiguous
slice (optimiser state, best-epoch snapshots, released files); activations are therefore feature-major inside.
"""

import itertools
from collections.abc import Sequence
from typing import Literal, cast

import torch
from torch import nn

from emonet_lightning.errors import DataError, UsageError
from emonet_lightning.head_layers import StackedLinear, by_row, relu_dropout, relu_dropout_by_row
from emonet_lightning.head_pairs import can_group, grouped_linear, pad_by_head

WIDTHS = {"small": (128, 32), "large": (1024, 512, 256)}
"""Hidden widths of the released heads: 151,745 and 1,837,057 parameters a head on 1152-d features."""

OutputMap = Literal["identity", "sigmoid", "coral"]
FirstLayer = Literal["auto", "mm", "bmm"]
ComputeDtype = Literal["float32", "bfloat16"]
_ONE_PRODUCT_ROWS = 128
"""On a CPU, small heads are up to 20 % faster in a batch of products below this, and up to 7 % slower above it."""


def resolve_widths(widths: str | Sequence[int]) -> tuple[int, ...]:
    """Return hidden widths from `small`, `large` or a list of positive integers (empty: linear heads)."""
    if isinstance(widths, str):
        if widths not in WIDTHS:
            raise UsageError(f"model.widths: '{widths}' is neither 'small', 'large' nor a list such as [128, 32]")
        return WIDTHS[widths]
    if any(width < 1 for width in widths):
        raise UsageError(f"model.widths: {list(widths)} holds a width below 1")
    return tuple(widths)


class EmotionHeads(nn.Module):
    """All heads: pooled features [B, D] -> raw outputs [B, K], each head [Linear, ReLU, Dropout] * n + Linear.

    Initial weights are bit-equal to `num_heads` separately built MLPs after the same seed, head after head.

    Args:
        num_heads: K.
        in_features: D.
        widths: hidden widths.
        dropout: rate after each hidden layer, one for all or one a layer.
        num_thresholds: L ordered biases per head for the ordinal (CORAL) loss; 0 for none.
        first_layer: layer 1 of all heads as one matrix product (mm), as a batch of products (bmm), or as measured to
            be faster on this device and batch size (auto).
        compute_dtype: type of the products but the last layer's; parameters, gradients and outputs stay float32.
    """

    def __init__(
        self,
        num_heads: int,
        in_features: int,
        widths: Sequence[int] = WIDTHS["small"],
        dropout: float | Sequence[float] = 0.0,
        num_thresholds: int = 0,
        first_layer: FirstLayer = "auto",
        compute_dtype: ComputeDtype = "float32",
    ) -> None:
        super().__init__()
        self.num_heads = num_heads
        self.in_features = in_features
        self.widths = tuple(widths)
        rates = [float(dropout)] * len(self.widths) if isinstance(dropout, int | float) else [float(r) for r in dropout]
        if len(rates) != len(self.widths) or any(not 0.0 <= rate < 1.0 for rate in rates):
            raise UsageError(f"model.dropout: {dropout} must be one rate in [0, 1), or one for each of {self.widths}")
        self.dropout = rates
        self.head_dropout: torch.Tensor | None = None
        """Rates of single heads [layers, K] in place of `dropout`, where these are heads of several configurations."""
        self.first_layer: FirstLayer = first_layer
        self.compute_dtype: ComputeDtype = compute_dtype
        sizes = [in_features, *self.widths, 1]
        linears = [[nn.Linear(a, b) for a, b in itertools.pairwise(sizes)] for _ in range(num_heads)]
        self.layers = nn.ModuleList(
            StackedLinear(
                torch.stack([head[depth].weight.detach() for head in linears]),
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
        """Map features [B, D] to raw outputs [B, K] float32."""
        columns = x.to(self._dtype(0)).T
        return by_row(self._outputs(columns if self._is_one_product(x) else columns.expand(self.num_heads, -1, -1)))

    def forward_pairs(self, x: torch.Tensor, head: torch.Tensor, offs: torch.Tensor) -> torch.Tensor:
        """Map the features of labelled (row, head) pairs to their raw outputs; the others are not computed.

        Args:
            x: [P, D], features of each pair's row; pairs are sorted by head.
            head: [P] int64.
            offs: [K] int32, where each head's pairs end (cumulative counts).

        Returns:
            [P] float32.
        """
        x = x.to(self._dtype(0))
        if not can_group(x, [self.in_features, *self.widths]):
            padded, column = pad_by_head(x, head, offs)
            return self._outputs(padded)[head, column]
        for depth, layer in enumerate(self.stack[:-1]):
            x = grouped_linear(x, layer.weight, layer.bias, head, offs)
            x = self._activate(x, depth, head)
        last = self.stack[-1]
        weight, bias = last.weight.squeeze(1).index_select(0, head), last.bias.squeeze(1).index_select(0, head)
        return (x.to(weight.dtype) * weight).sum(1) + bias

    def _outputs(self, hidden: torch.Tensor) -> torch.Tensor:
        """Map [D, B] or [K, D, B] to raw outputs [K, B]."""
        last = len(self.layers) - 1
        for depth, layer in enumerate(self.stack):
            hidden = layer(hidden.to(self._dtype(depth)))
            if depth < last:
                hidden = self._activate(hidden, depth)
            hidden = hidden.view(self.num_heads, layer.weight.shape[1], hidden.shape[-1])
        return hidden.squeeze(1)

    def _activate(self, x: torch.Tensor, depth: int, head: torch.Tensor | None = None) -> torch.Tensor:
        """Apply ReLU and dropout to what a layer puts out: [K, width, B] or [K * width, B]; [P, width] of pairs."""
        if self.head_dropout is None:
            return relu_dropout(x, self.dropout[depth], self.training)
        rates = self.head_dropout[depth]
        return relu_dropout_by_row(x, rates if head is None else rates.index_select(0, head), self.training)

    def _dtype(self, depth: int) -> torch.dtype:
        """Type of a layer's product: scores of 5 would be 0.03 apart in bfloat16, so the last layer keeps its own."""
        if self.compute_dtype == "bfloat16" and depth < len(self.layers) - 1:
            return torch.bfloat16
        return self.stack[0].weight.dtype

    def _is_one_product(self, x: torch.Tensor) -> bool:
        if self.first_layer != "auto":
            return self.first_layer == "mm"
        # an exported graph takes any batch, so none may decide
        return x.device.type != "cpu" or torch.compiler.is_exporting() or x.shape[0] >= _ONE_PRODUCT_ROWS

    def select(self, heads: Sequence[int]) -> "EmotionHeads":
        """Return some heads, in the order given, as a stack of their own."""
        rates, biases = self.dropout, 0 if self.thresholds is None else self.thresholds.shape[1]
        with torch.device("meta"):  # neither draws random numbers nor fills memory
            shape = (len(heads), self.in_features, self.widths, rates, biases, self.first_layer, self.compute_dtype)
            part = EmotionHeads(*shape)
        part = part.to_empty(device=self.stack[0].weight.device).to(self.stack[0].weight.dtype).train(self.training)
        part.head_dropout = None if self.head_dropout is None else self.head_dropout[:, list(heads)]
        with torch.no_grad():
            for own, whole in zip(part.parameters(), self.parameters(), strict=True):
                own.copy_(whole[list(heads)])
        return part

    @torch.no_grad()
    def put(self, heads: Sequence[int], other: "EmotionHeads") -> None:
        """Take the heads of `other`, as `select` gave them, at the places `heads`."""
        for whole, part in zip(self.parameters(), other.parameters(), strict=True):
            whole[list(heads)] = part.to(whole)

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
            state[f"layers.{3 * depth}.weight"] = layer.weight[head].detach().clone()
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
            layer.weight[head] = state[f"layers.{3 * depth}.weight"]
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
            layer.bias.copy_((layer.bias.double() + weight @ mean).to(layer.bias))
            layer.weight.copy_((weight * std).to(layer.weight))
        else:
            weight = weight / std
            layer.bias.copy_((layer.bias.double() - weight @ mean).to(layer.bias))
            layer.weight.copy_(weight.to(layer.weight))

    @torch.no_grad()
    def zero_last_layer(self) -> None:
        """Set the last layer to zero: every output is 0."""
        self.stack[-1].weight.zero_()
        self.stack[-1].bias.zero_()

    def reinit_last_layer(self) -> None:
        """Draw the last layer anew, as when a different output map starts from these heads."""
        width = self.stack[-1].weight.shape[2]
        for head in range(self.num_heads):
            fresh = nn.Linear(width, 1)
            with torch.no_grad():
                self.stack[-1].weight[head] = fresh.weight
                self.stack[-1].bias[head] = fresh.bias
