import itertools

import pytest
import torch
from torch import nn
from torch.utils._python_dispatch import TorchDispatchMode

from emonet_lightning import head_pairs
from emonet_lightning.errors import DataError, UsageError
from emonet_lightning.head_layers import relu_dropout
from emonet_lightning.heads import WIDTHS, EmotionHeads, resolve_widths
from emonet_lightning.losses import elementwise_loss, per_head_mean
from emonet_lightning.optimizer import HeadwiseAdamW, clip_per_head


def separate_mlps(num_heads, in_features, widths, dropout=0.0):
    """The released structure: attribute `layers`, [Linear, ReLU, Dropout] * n + Linear."""
    sizes, mlps = [in_features, *widths, 1], []
    for _ in range(num_heads):
        layers = []
        for depth, (a, b) in enumerate(itertools.pairwise(sizes)):
            layers.append(nn.Linear(a, b))
            if depth < len(widths):
                layers += [nn.ReLU(), nn.Dropout(dropout)]
        mlps.append(nn.Sequential(*layers))
    return mlps


def relative(a, b):
    return float((a - b).detach().abs().max() / b.detach().abs().max())


@pytest.mark.parametrize(("size", "parameters"), [("small", 151_745), ("large", 1_837_057)])
def test_released_sizes_are_exact(size, parameters):
    heads = EmotionHeads(2, 1152, WIDTHS[size])
    assert heads.num_parameters_per_head == parameters
    keys = {"small": (0, 3, 6), "large": (0, 3, 6, 9)}[size]
    assert set(heads.head_state(0)) == {f"layers.{k}.{part}" for k in keys for part in ("weight", "bias")}


def twins(num_heads, in_features, widths, **options):
    """Separate MLPs and a stack, built after the same seed."""
    torch.manual_seed(0)
    mlps = separate_mlps(num_heads, in_features, widths)
    torch.manual_seed(0)
    return mlps, EmotionHeads(num_heads, in_features, widths, **options)


def assert_equal_gradients(heads, mlps):
    for depth, layer in enumerate(heads.stack):
        linears = [mlp[3 * depth] for mlp in mlps]
        assert relative(layer.weight.grad, torch.stack([linear.weight.grad for linear in linears])) <= 1e-6
        assert relative(layer.bias.grad, torch.stack([linear.bias.grad for linear in linears])) <= 1e-6


@pytest.mark.parametrize("first_layer", ["mm", "bmm"])
@pytest.mark.parametrize("widths", [(128, 32), (64, 48, 16), ()])
def test_stacked_heads_equal_separate_mlps_in_outputs_and_gradients(widths, first_layer):
    mlps, heads = twins(7, 96, widths, first_layer=first_layer)
    for depth, layer in enumerate(heads.stack):  # same seed, same bits
        assert torch.equal(layer.weight, torch.stack([mlp[3 * depth].weight for mlp in mlps]))
        assert torch.equal(layer.bias, torch.stack([mlp[3 * depth].bias for mlp in mlps]))
    x, weight = torch.randn(33, 96), torch.randn(33, 7)
    expected = torch.cat([mlp(x) for mlp in mlps], dim=1)
    found = heads(x)
    assert relative(found, expected) <= 1e-6
    (expected * weight).sum().backward()
    (found * weight).sum().backward()
    assert_equal_gradients(heads, mlps)


def pairs_of(counts):
    counts = torch.tensor(counts)
    head = torch.repeat_interleave(torch.arange(len(counts)), counts)
    return head, counts.cumsum(0).to(torch.int32)


UNIFORM, SKEWED, FEW = [6] * 7, [40, 0, 9, 1, 0, 3, 1], [0, 0, 0, 0, 0, 0, 2]


@pytest.mark.parametrize("counts", [UNIFORM, SKEWED, FEW])
@pytest.mark.parametrize(("in_features", "widths"), [(96, (32, 16)), (30, (9, 6)), (32, ())])
def test_pairs_equal_separate_mlps_on_each_heads_own_rows(in_features, widths, counts, monkeypatch):
    head, offs = pairs_of(counts)
    x, weight = torch.randn(len(head), in_features), torch.randn(len(head))
    calls = []
    monkeypatch.setattr(
        "emonet_lightning.heads.grouped_linear", lambda *a: calls.append(1) or head_pairs.grouped_linear(*a)
    )
    mlps, heads = twins(7, in_features, widths)
    expected = torch.cat([mlp(x[head == k])[:, 0] for k, mlp in enumerate(mlps)])
    found = heads.forward_pairs(x, head, offs)
    assert bool(calls) == (widths == (32, 16)), "rows of whole 16 bytes are grouped, others padded"
    assert found.shape == expected.shape
    assert relative(found, expected) <= 1e-6
    (expected * weight).sum().backward()
    (found * weight).sum().backward()
    assert_equal_gradients(heads, mlps)
    for layer in heads.stack:
        assert not layer.weight.grad[[count == 0 for count in counts]].any()


def test_without_pairs_there_is_nothing_and_no_gradient():
    heads = EmotionHeads(3, 32, (16,))
    head, offs = pairs_of([0, 0, 0])
    found = heads.forward_pairs(torch.empty(0, 32), head, offs)
    found.sum().backward()
    assert found.shape == (0,)
    assert not any(parameter.grad.any() for parameter in heads.parameters())


def test_pairs_are_padded_where_grouping_fails(monkeypatch):
    head, offs = pairs_of(SKEWED)
    x = torch.randn(len(head), 32)
    heads = EmotionHeads(7, 32, (16,))
    expected = heads.forward_pairs(x, head, offs)

    def fail(*args, **kwargs):
        raise RuntimeError("not on this device")

    monkeypatch.setattr(head_pairs, "_grouped_mm", fail)
    head_pairs._works.cache_clear()
    try:
        torch.testing.assert_close(heads.forward_pairs(x, head, offs), expected, rtol=1e-5, atol=1e-6)
    finally:
        head_pairs._works.cache_clear()


class OpCounter(TorchDispatchMode):
    """Counts dispatched operations that are not views."""

    count = 0

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        aliases = [given.alias_info for given in func._schema.returns]
        self.count += not any(alias is not None and not alias.is_write for alias in aliases)
        return func(*args, **(kwargs or {}))


@pytest.mark.parametrize("widths", [(8, 4), (12, 8, 4)])  # as many layers as small and large heads have
def test_a_training_step_takes_a_twentieth_of_the_operations_of_forty_modules(widths):
    """Normalisation, forward, masked loss, backward, clipping of each head by its own norm, fused AdamW."""
    x, target, mask = torch.randn(6, 16), torch.randn(6, 40), torch.rand(6, 40) < 0.9
    mean, std, low = torch.randn(16), torch.rand(16) + 0.5, torch.zeros(40)
    num_labels = mask.sum(0).float()

    def count(forward, optimizer, clip):
        def step():
            optimizer.zero_grad()
            raw = forward((torch.nn.functional.normalize(x) - mean) / std)
            per_head_mean(elementwise_loss("mse", raw, target, low, low), mask, num_labels).sum().backward()
            clip()
            optimizer.step()

        step()  # makes the optimiser's state
        with OpCounter() as counter:
            step()
        return counter.count

    loop = nn.ModuleList(separate_mlps(40, 16, widths, dropout=0.1))
    forty = count(
        lambda x: torch.cat([head(x) for head in loop], dim=1),
        torch.optim.AdamW(loop.parameters(), fused=True),
        lambda: [nn.utils.clip_grad_norm_(head.parameters(), 1e-3) for head in loop],
    )
    heads = EmotionHeads(40, 16, widths, dropout=0.1)
    stacked = count(heads, HeadwiseAdamW(heads.parameters(), 1e-3), lambda: clip_per_head(heads.parameters(), 1e-3))
    assert forty >= 20 * stacked, f"{forty} / {stacked}"


@pytest.mark.parametrize("rate", [0.1, 0.5])
def test_dropout_keeps_the_right_share_of_every_head_independently(rate):
    torch.manual_seed(5)
    x = torch.ones(40, 64, 257, requires_grad=True)  # an odd number of random bits
    found = relu_dropout(x * 1.0, rate, training=True)
    found.sum().backward()
    kept = found.detach() > 0
    share = torch.full((40,), 1 - rate)
    assert torch.allclose(found[kept], torch.full((int(kept.sum()),), 1 / (1 - rate)), rtol=1e-4)
    assert torch.equal(x.grad, found.detach())  # what was dropped sends nothing back
    # 16448 draws a head: 5 standard errors
    assert ((kept.float().mean((1, 2)) - share).abs() < 5 * (rate * (1 - rate) / 16448) ** 0.5).all()
    assert (torch.corrcoef(kept.flatten(1).float()) - torch.eye(40)).abs().max() < 5 / 16448**0.5
    columns = kept.permute(2, 0, 1).flatten(1).float()
    assert ((columns.mean(1) - share[0]).abs() < 5 * (rate * (1 - rate) / 2560) ** 0.5).all()


def test_dropout_is_that_of_relu_and_of_nothing_at_rate_zero_or_in_evaluation():
    x = torch.randn(3, 5, 7)
    assert torch.equal(relu_dropout(x.clone(), 0.0, training=True), x.relu())
    assert torch.equal(relu_dropout(x.clone(), 0.7, training=False), x.relu())
    dropped = relu_dropout(x.clone(), 0.5, training=True)
    assert torch.allclose(dropped, torch.where(dropped > 0, 2 * x.relu(), 0.0))


def test_dropout_is_the_same_for_the_same_stack_and_seed():
    heads = EmotionHeads(5, 16, (12, 8), dropout=[0.3, 0.1])
    x, outputs = torch.randn(9, 16), []
    for seed in (1, 1, 2):
        torch.manual_seed(seed)
        outputs.append(heads(x).detach())
    assert torch.equal(outputs[0], outputs[1])
    assert not torch.equal(outputs[0], outputs[2])
    heads.eval()
    assert torch.equal(heads(x), heads(x))


@pytest.mark.parametrize("pairs", [False, True])
@pytest.mark.parametrize("first_layer", ["mm", "bmm"])
def test_bfloat16_gives_float32_outputs_and_gradients_near_those_of_float32(pairs, first_layer):
    torch.manual_seed(1)
    results = []
    head, offs = pairs_of(SKEWED)
    x = torch.randn(len(head), 96)
    for dtype in ("float32", "bfloat16"):
        torch.manual_seed(0)
        heads = EmotionHeads(7, 96, (32, 16), first_layer=first_layer, compute_dtype=dtype)
        found = heads.forward_pairs(x, head, offs) if pairs else heads(x)
        found.square().mean().backward()
        results.append([found.detach(), *(parameter.grad for parameter in heads.parameters())])
    for number, (single, half) in enumerate(zip(*results, strict=True)):
        assert half.dtype == torch.float32
        # a gradient is further away: units near zero switch over
        assert 1e-5 < (half - single).norm() / single.norm() < (0.1 if number else 0.01)


def test_selected_heads_are_copies_that_can_be_put_back():
    heads = EmotionHeads(
        5, 12, (8, 4), dropout=[0.1, 0.2], num_thresholds=3, first_layer="mm", compute_dtype="bfloat16"
    )
    heads.eval()
    before = {name: value.clone() for name, value in heads.state_dict().items()}
    random_state = torch.get_rng_state()
    part = heads.select([3, 1])
    assert torch.equal(torch.get_rng_state(), random_state)
    assert (part.num_heads, part.dropout, part.first_layer, part.compute_dtype) == (2, [0.1, 0.2], "mm", "bfloat16")
    assert not part.training
    x = torch.randn(4, 12)
    assert torch.equal(part(x), heads(x)[:, [3, 1]])
    with torch.no_grad():
        for parameter in part.parameters():
            parameter.add_(1.0)
    assert all(torch.equal(value, before[name]) for name, value in heads.state_dict().items())
    heads.put([3, 1], part)
    for name, value in heads.state_dict().items():
        assert torch.equal(value[[3, 1]], before[name][[3, 1]] + 1), name
        assert torch.equal(value[[0, 2, 4]], before[name][[0, 2, 4]]), name


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
