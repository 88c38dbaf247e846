import pytest
import torch

from emonet_lightning.losses import (
    LOSSES,
    OUTPUT_MAP,
    elementwise_loss,
    num_thresholds,
    per_head_mean,
    per_head_sum_of_pairs,
    to_scores,
)

LOW, HIGH = torch.tensor([0.0, 0.0, -3.0]), torch.tensor([7.0, 5.0, 3.0])
BIASES = torch.linspace(2, -2, 7).repeat(3, 1)


@pytest.mark.parametrize("loss", LOSSES)
def test_scores_of_bounded_maps_stay_in_range_and_rise_with_the_output(loss):
    raw = torch.linspace(-40, 40, 81).unsqueeze(1).expand(81, 3)
    scores = to_scores(raw, OUTPUT_MAP[loss], LOW, HIGH, BIASES)
    assert (scores.diff(dim=0) >= 0).all()
    if OUTPUT_MAP[loss] == "identity":
        assert torch.equal(scores, raw)
    else:
        assert torch.allclose(scores[0], LOW, atol=1e-4)
        assert torch.allclose(scores[-1], HIGH, atol=1e-4)


@pytest.mark.parametrize("loss", LOSSES)
def test_every_loss_is_least_where_the_score_is_the_target(loss):
    target = torch.tensor([[3.0, 3.0, 1.0]])
    raw = torch.zeros(1, 3, requires_grad=True)
    optimizer = torch.optim.Adam([raw], lr=0.05)
    for _ in range(600):
        optimizer.zero_grad()
        elementwise_loss(loss, raw, target, LOW, HIGH, BIASES).sum().backward()
        optimizer.step()
    scores = to_scores(raw, OUTPUT_MAP[loss], LOW, HIGH, BIASES)
    assert torch.allclose(scores, target, atol=0.25), scores


def test_coral_is_the_mean_of_binary_losses_over_the_levels_of_each_range():
    raw, target = torch.randn(4, 3), torch.tensor([[0.0, 5.0, 3.0], [7.0, 0.0, -3.0], [2.0, 1.0, 0.0], [6.0, 4.0, 2.0]])
    found = elementwise_loss("coral", raw, target, LOW, HIGH, BIASES)
    for row in range(4):
        for k, levels in enumerate((7, 5, 6)):
            passed = torch.tensor([float(target[row, k] - LOW[k] > level) for level in range(levels)])
            logits = raw[row, k] + BIASES[k, :levels]
            expected = torch.nn.functional.binary_cross_entropy_with_logits(logits, passed)
            assert torch.isclose(found[row, k], expected, atol=1e-6)


def test_only_coral_has_thresholds():
    assert {loss: num_thresholds(loss, LOW, HIGH) for loss in LOSSES} == {
        **dict.fromkeys(LOSSES, 0),
        "coral": 7,
    }


def test_objective_is_each_heads_own_masked_mean():
    loss = torch.tensor([[1.0, 10.0, 5.0], [3.0, float("nan"), 7.0]])
    mask = torch.tensor([[True, True, False], [True, False, False]])
    found = per_head_mean(loss, mask, mask.sum(0).float())
    assert found.tolist() == [2.0, 10.0, 0.0]


def test_masked_rows_send_no_gradient():
    raw = torch.randn(3, 3, requires_grad=True)
    mask = torch.tensor([[True, False, True]] * 3)
    loss = elementwise_loss("mse", raw, torch.zeros(3, 3), LOW, HIGH)
    per_head_mean(loss, mask, mask.sum(0).float()).sum().backward()
    assert (raw.grad[:, 1] == 0).all()
    assert (raw.grad[:, [0, 2]] != 0).all()


@pytest.mark.parametrize("loss", LOSSES)
def test_pairs_have_the_objective_of_the_rows_they_came_from(loss):
    torch.manual_seed(0)
    raw, target = torch.randn(9, 3), torch.rand(9, 3) * (HIGH - LOW) + LOW
    mask = torch.rand(9, 3) < 0.6
    mask[:, 1] = False  # a head without labels
    num_labels, used = mask.sum(0).float(), BIASES if loss == "coral" else None
    expected = per_head_mean(elementwise_loss(loss, raw, target, LOW, HIGH, used), mask, num_labels)
    head, row = mask.T.nonzero(as_tuple=True)
    own = LOW[head], HIGH[head], None if used is None else used[head]
    found = per_head_sum_of_pairs(elementwise_loss(loss, raw[row, head], target[row, head], *own), head, num_labels)
    torch.testing.assert_close(found, expected)
    assert found[1] == 0
    scores = to_scores(raw, OUTPUT_MAP[loss], LOW, HIGH, used)
    torch.testing.assert_close(to_scores(raw[row, head], OUTPUT_MAP[loss], *own), scores[row, head])
