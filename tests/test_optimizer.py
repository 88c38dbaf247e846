"""HeadwiseAdamW and clipping: every head as if it were trained alone, whatever the others do."""

import copy
import io

import pytest
import torch
from test_heads import separate_mlps
from torch.optim.lr_scheduler import LambdaLR

from emonet_lightning.heads import EmotionHeads
from emonet_lightning.optimizer import HeadwiseAdamW, clip_per_head

NUM_HEADS, NUM_FEATURES, WIDTHS = 5, 20, (12, 8)


def stack(seed=1, num_heads=NUM_HEADS, widths=WIDTHS, **options):
    torch.manual_seed(seed)
    return EmotionHeads(num_heads, NUM_FEATURES, widths, **options)


def train(heads, optimizer, steps, idle=lambda step: (), columns=slice(None), max_norm=0.0):
    """Steps on the same data wherever they are taken from; `columns`: which of the full stack's heads are here."""
    for step in steps:
        generator = torch.Generator().manual_seed(step)
        x, target = torch.randn(6, NUM_FEATURES, generator=generator), torch.randn(6, NUM_HEADS, generator=generator)
        optimizer.zero_grad()
        optimizer.idle = idle(step)
        labelled = torch.tensor([float(head not in optimizer.idle) for head in range(heads.num_heads)])
        ((heads(x) - target[:, columns]).square().mean(0) * labelled).sum().backward()
        clip_per_head(heads.parameters(), max_norm)
        optimizer.step()


def state_of(heads, optimizer):
    found = {f"parameter {i}": parameter.detach() for i, parameter in enumerate(heads.parameters())}
    for index, state in optimizer.state_dict()["state"].items():
        found |= {f"{name} {index}": value for name, value in state.items()}
    return found


def norms_of(heads):
    return torch.stack(
        [torch.cat([p.grad[k].flatten() for p in heads.parameters()]).norm() for k in range(heads.num_heads)]
    )


def assert_same_bits(found, expected):
    assert found.keys() == expected.keys()
    for name, value in expected.items():
        assert torch.equal(found[name], value), name


def test_every_head_moves_as_under_an_adamw_of_its_own():
    """Own rates and decays, steps without labels, a frozen head, and a schedule."""
    torch.manual_seed(1)
    mlps = separate_mlps(NUM_HEADS, NUM_FEATURES, WIDTHS)
    heads = stack()
    lr_scale, decay = [1.0, 1.0, 0.5, 0.0, 1.0], [0.1, 0.1, 0.3, 0.1, 0.0]
    frozen = [parameter[3].clone() for parameter in heads.parameters()]
    stacked = HeadwiseAdamW(heads.parameters(), 0.02, lr_scale=lr_scale, head_weight_decay=decay)
    single = [
        torch.optim.AdamW(mlp.parameters(), lr=0.02 * scale, weight_decay=own)
        for mlp, scale, own in zip(mlps, lr_scale, decay, strict=True)
    ]
    schedules = [LambdaLR(optimizer, lambda step: 1 / (1 + step)) for optimizer in (stacked, *single)]

    def idle(step):
        return {0: (), 1: (0, 4), 2: (1, 2, 3)}[step % 3]

    for step in range(20):
        train(heads, stacked, [step], idle)
        generator = torch.Generator().manual_seed(step)
        x, target = torch.randn(6, NUM_FEATURES, generator=generator), torch.randn(6, NUM_HEADS, generator=generator)
        for head, (mlp, optimizer) in enumerate(zip(mlps, single, strict=True)):
            if head not in idle(step):
                optimizer.zero_grad()
                (mlp(x)[:, 0] - target[:, head]).square().mean().backward()
                optimizer.step()
        for schedule in schedules:
            schedule.step()
    for head, mlp in enumerate(mlps):
        for name, value in heads.head_state(head).items():
            torch.testing.assert_close(value, mlp.state_dict()[name.removeprefix("layers.")], rtol=1e-4, atol=1e-6)
    assert all(torch.equal(parameter[3], was) for parameter, was in zip(heads.parameters(), frozen, strict=True))
    # heads 0 and 1 have the same options and different step counts
    assert stacked.state_dict()["state"][0]["step"].tolist() == [13, 14, 14, 0, 13]


@pytest.mark.parametrize("kind", ["idle", "frozen"])
def test_heads_that_do_not_step_keep_parameters_moments_and_count(kind):
    heads = stack()
    optimizer = HeadwiseAdamW(heads.parameters(), 0.05)
    train(heads, optimizer, range(3))
    before = {name: value.clone() for name, value in state_of(heads, optimizer).items()}
    if kind == "frozen":
        optimizer.param_groups[0]["lr_scale"] = [1.0, 0.0, 1.0, 1.0, 0.0]
    train(heads, optimizer, range(3, 6), lambda step: (1, 4) if kind == "idle" else ())
    for name, value in state_of(heads, optimizer).items():
        assert torch.equal(value[[1, 4]], before[name][[1, 4]]), name
        assert (value[[0, 2, 3]] != before[name][[0, 2, 3]]).flatten(1).any(1).all() if value.ndim > 1 else True


def test_heads_that_remain_train_on_as_if_the_others_had_never_left():
    heads = stack(num_thresholds=3)
    options = {"lr_scale": [1.0, 1.0, 0.5, 1.0, 1.0], "head_weight_decay": [0.1, 0.2, 0.1, 0.1, 0.1]}
    optimizer = HeadwiseAdamW([p for n, p in heads.named_parameters() if n != "thresholds"], 0.02, **options)
    schedule = LambdaLR(optimizer, lambda step: 1 / (1 + step))
    train(heads, optimizer, range(4), lambda step: (3,) if step == 1 else ())
    schedule.step()
    kept = [0, 2, 3]
    other = heads.select(kept)
    second = copy.deepcopy((heads, optimizer))
    optimizer.select(kept, [p for n, p in other.named_parameters() if n != "thresholds"])
    assert optimizer.param_groups[0]["lr"] == 0.01
    train(*second, range(4, 10), max_norm=0.1)
    train(other, optimizer, range(4, 10), columns=kept, max_norm=0.1)
    everything = state_of(*second)
    assert_same_bits(state_of(other, optimizer), {name: value[kept] for name, value in everything.items()})


@pytest.mark.parametrize("size", [1, 7, 12, 48])
def test_a_heads_bits_do_not_depend_on_which_heads_step_with_it(size):
    """The kernel rounds the last few elements of what it is given differently."""
    results = []
    for idle in ((), range(0, 40, 2), [*range(9), *range(30, 40)]):
        torch.manual_seed(0)
        parameter = torch.nn.Parameter(torch.randn(40, size))
        optimizer = HeadwiseAdamW([parameter], 0.02)
        optimizer.idle = tuple(idle)
        for _ in range(12):
            parameter.grad = torch.randn(40, size)
            optimizer.step()
        results.append((idle, state_of(torch.nn.ParameterList([parameter]), optimizer)))
    for idle, state in results[1:]:
        moved = [head for head in range(40) if head not in idle]
        assert_same_bits(*[{name: v[moved] for name, v in found.items()} for found in (state, results[0][1])])


def test_a_checkpoint_restores_optimiser_state_whatever_was_idle():
    heads = stack()
    optimizer = HeadwiseAdamW(heads.parameters(), 0.02, lr_scale=[1, 1, 0, 2, 1])

    def idle(step):
        return (step % 3,)

    train(heads, optimizer, range(5), idle)
    file = io.BytesIO()
    torch.save({"heads": heads.state_dict(), "optimizer": optimizer.state_dict()}, file)
    train(heads, optimizer, range(5, 9), idle)
    saved = torch.load(io.BytesIO(file.getvalue()), weights_only=True)
    again = stack(seed=2)
    restored = HeadwiseAdamW(again.parameters(), 0.5)
    train(again, restored, range(2))  # a plan and state that must not survive
    again.load_state_dict(saved["heads"])
    restored.load_state_dict(saved["optimizer"])
    assert saved["optimizer"]["state"][0]["step"].shape == (NUM_HEADS,)
    train(again, restored, range(5, 9), idle)
    assert_same_bits(state_of(again, restored), state_of(heads, optimizer))


def test_one_head_with_an_outlier_is_clipped_alone():
    heads = EmotionHeads(2, 6, (4,))
    x = torch.randn(8, 6)
    (heads(x) * torch.tensor([1000.0, 0.001])).sum().backward()
    gradients = [parameter.grad.clone() for parameter in heads.parameters()]
    before = norms_of(heads)
    assert clip_per_head(heads.parameters(), 1.0).tolist() == [True, True]
    after = norms_of(heads)
    assert before[0] > 1 > before[1]
    assert torch.allclose(after, torch.stack([torch.tensor(1.0), before[1]]), rtol=1e-4)
    assert all(torch.equal(p.grad[1], was[1]) for p, was in zip(heads.parameters(), gradients, strict=True))


@pytest.mark.parametrize("max_norm", [0.0, 0.01])
@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_a_head_with_a_broken_gradient_gets_none_and_the_others_the_same_bits(value, max_norm):
    results = []
    for broken in (False, True):
        heads = stack()
        optimizer = HeadwiseAdamW(heads.parameters(), 0.05)
        for step in range(3):
            optimizer.zero_grad()
            x = torch.randn(6, NUM_FEATURES, generator=torch.Generator().manual_seed(step))
            heads(x).square().mean(0).sum().backward()
            if broken and step == 1:
                heads.stack[0].weight.grad[2, 0, 0] = value
            finite = clip_per_head(heads.parameters(), max_norm)
            assert finite.tolist() == [True, True, not (broken and step == 1), True, True]
            if broken and step == 1:
                assert not any(parameter.grad[2].any() for parameter in heads.parameters())
            optimizer.step()
        results.append(state_of(heads, optimizer))
    others = [0, 1, 3, 4]
    assert_same_bits(*[{name: tensor[others] for name, tensor in result.items()} for result in results])
    assert all(torch.isfinite(tensor).all() for tensor in results[1].values())
