import itertools

import pytest
import torch
from torch import nn

from emonet_lightning.errors import DataError, UsageError
from emonet_lightning.heads import WIDTHS, EmotionHeads, resolve_widths


def separate_mlps(num_heads, in_features, widths):
    """The released structure: attribute `layers`, [Linear, ReLU, Dropout] * n + Linear."""
    sizes, mlps = [in_features, *widths, 1], []
    for _ in range(num_heads):
        layers = []
        for depth, (a, b) in enumerate(itertools.pairwise(sizes)):
            layers.append(nn.Linear(a, b))
            if depth < len(widths):
                layers += [nn.ReLU(), nn.Dropout(0.0)]
        mlps.append(nn.Sequential(*layers))
    return mlps


def relative(a, b):
    return float((a - b).abs().max() / b.abs().max())


@pytest.mark.parametrize(("size", "parameters"), [("small", 151_745), ("large", 1_837_057)])
def test_released_sizes_are_exact(size, parameters):
    heads = EmotionHeads(2, 1152, WIDTHS[size])
    assert heads.num_parameters_per_head == parameters
    keys = {"small": (0, 3, 6), "large": (0, 3, 6, 9)}[size]
    assert set(heads.head_state(0)) == {f"layers.{k}.{part}" for k in keys for part in ("weight", "bias")}


@pytest.mark.parametrize("widths", [(128, 32), (64, 48, 16), ()])
def test_stacked_heads_equal_separate_mlps_in_outputs_and_gradients(widths):
    torch.manual_seed(0)
    mlps = separate_mlps(7, 96, widths)
    torch.manual_seed(0)
    heads = EmotionHeads(7, 96, widths)
    x, weight = torch.randn(33, 96), torch.randn(33, 7)
    expected = torch.cat([mlp(x) for mlp in mlps], dim=1)
    found = heads(x)
    assert relative(found, expected) <= 1e-6
    (expected * weight).sum().backward()
    (found * weight).sum().backward()
    for depth, layer in enumerate(heads.stack):
        linears = [mlp[3 * depth] for mlp in mlps]
        assert torch.equal(layer.weight, torch.stack([linear.weight for linear in linears]))  # same seed, same bits
        assert relative(layer.weight.grad, torch.stack([linear.weight.grad for linear in linears])) <= 1e-6
        assert relative(layer.bias.grad, torch.stack([linear.bias.grad for linear in linears])) <= 1e-6


def test_head_goes_out_and_in_through_the_released_layout():
    heads, other = EmotionHeads(3, 20, (8, 4)), EmotionHeads(3, 20, (8, 4))
    mlp = separate_mlps(1, 20, (8, 4))[0]
    mlp.load_state_dict({name.removeprefix("layers."): value for name, value in heads.head_state(1).items()})
    x = torch.randn(5, 20)
    assert torch.allclose(mlp(x).squeeze(1), heads(x)[:, 1], atol=1e-7)
    other.load_head_state(2, heads.head_state(1))
    assert torch.equal(other(x)[:, 2], heads(x)[:, 1])
    with pytest.raises(DataError, match="shape"):
        EmotionHeads(3, 21, (8, 4)).load_head_state(0, heads.head_state(0), "file.pth")
    with pytest.raises(DataError, match="keys differ"):
        EmotionHeads(3, 20, (8,)).load_head_state(0, heads.head_state(0), "file.pth")


def test_folding_standardisation_keeps_the_function_and_has_an_inverse():
    heads = EmotionHeads(4, 30, (16,))
    mean, std, x = torch.randn(30), torch.rand(30) + 0.1, torch.randn(9, 30)
    before = heads((x - mean) / std)
    heads.fold_standardisation(mean, std)
    assert torch.allclose(heads(x), before, atol=1e-5)
    heads.fold_standardisation(mean, std, inverse=True)
    assert torch.allclose(heads((x - mean) / std), before, atol=1e-5)


def test_ordinal_thresholds_fall_whatever_the_parameters():
    heads = EmotionHeads(3, 4, (), num_thresholds=7)
    with torch.no_grad():
        heads.thresholds.normal_(std=5)
    assert (heads.ordered_thresholds().diff(dim=1) < 0).all()


@pytest.mark.parametrize("bad", [1.0, -0.1, [0.1], [0.1, 0.2, 0.3]])
def test_wrong_dropout_is_refused(bad):
    with pytest.raises(UsageError, match=r"model\.dropout"):
        EmotionHeads(1, 4, (3, 2), dropout=bad)


def test_wrong_widths_are_refused():
    with pytest.raises(UsageError, match="'small', 'large'"):
        resolve_widths("medium")
    with pytest.raises(UsageError, match="below 1"):
        resolve_widths([8, 0])
