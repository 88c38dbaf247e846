"""Heads of several configurations as one stack: layer 1 of all of them is one matrix product over the same features.

Narrower heads are padded with zeros to the widest. A padded unit has no input weights and no bias, so its output is
zero, ReLU's gradient there is zero, and every gradient of its weights is zero as well: it stays as it is, whatever the
optimiser does with rate, momentum or weight decay.
"""

from collections.abc import Sequence

import torch

from emonet_lightning.heads import EmotionHeads


def side_by_side(parts: Sequence[EmotionHeads]) -> EmotionHeads:
    """Return the heads of all parts, one part after the other, as a stack of their own that trains.

    Args:
        parts: of equal features, number of layers, ordinal biases and precision of products.
    """
    first = parts[0]
    widths = [max(part.widths[depth] for part in parts) for depth in range(len(first.widths))]
    biases = 0 if first.thresholds is None else first.thresholds.shape[1]
    number, options = sum(part.num_heads for part in parts), (first.first_layer, first.compute_dtype)
    with torch.device("meta"):  # neither draws random numbers nor fills memory
        whole = EmotionHeads(number, first.in_features, widths, 0.0, biases, *options)
    device = first.stack[0].weight.device
    whole = whole.to_empty(device=device).train()
    with torch.no_grad():
        for name, parameter in whole.named_parameters():
            parameter.zero_()
            start = 0
            for part in parts:
                own = part.get_parameter(name)
                _corner(parameter[start : start + len(own)], own).copy_(own)
                start += len(own)
    rates = [part.dropout for part in parts]
    if all(rate == rates[0] for rate in rates):
        whole.dropout = list(rates[0])
    else:
        each = [torch.tensor(part.dropout).unsqueeze(1).expand(-1, part.num_heads) for part in parts]
        whole.head_dropout = torch.cat(each, 1).to(device)
    return whole


@torch.no_grad()
def take_back(whole: EmotionHeads, span: slice, part: EmotionHeads, columns: torch.Tensor) -> None:
    """Copy heads of the stack to their places in a part, without their padding.

    Args:
        whole: of `side_by_side`, or some heads of it.
        span: heads of the stack, which are
        part: of this part,
        columns: at these places.
    """
    for name, own in part.named_parameters():
        own[columns] = _corner(whole.get_parameter(name)[span], own)


def _corner(padded: torch.Tensor, own: torch.Tensor) -> torch.Tensor:
    """View of padded heads [n, ...] without their padding."""
    return padded[(slice(None), *(slice(size) for size in own.shape[1:]))]


def num_parameters(heads: EmotionHeads) -> int:
    """Return the weights of one head that a step's time goes by."""
    return sum(layer.weight[0].numel() for layer in heads.stack)
