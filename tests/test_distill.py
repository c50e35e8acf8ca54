"""The distillation loss against its equation in float64, its gradients, and its conventions."""

import warnings
from itertools import product

import numpy as np
import pandas as pd
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.special import log_softmax, rel_entr, softmax
from torch.nn import functional as F

from kdlib import KdlibError, distill
from kdlib.distill import DistillError, kd_loss

FEW = settings(max_examples=40, deadline=None)
seeds = st.integers(0, 2**32 - 1)
CONVENTIONS = list(product(distill.DIRECTIONS, distill.REDUCTIONS))


def hard(logits, labels):
    logs = log_softmax(logits, axis=1)
    if isinstance(labels, tuple):
        y_a, y_b, lam = labels
        return float(lam) * hard(logits, y_a) + (1 - float(lam)) * hard(logits, y_b)
    return -logs[np.arange(len(logits)), np.asarray(labels)].mean()


def soft(student, teacher, temperature, direction, reduction):
    p, q = softmax(teacher / temperature, axis=1), softmax(student / temperature, axis=1)
    if direction == "student_teacher":
        p, q = q, p
    divergence = rel_entr(p, q)
    return divergence.mean() if reduction == "mean" else divergence.sum(1).mean()


def equation(student, teacher, labels, *, temperature, kd_weight, direction="teacher_student", reduction="batchmean"):
    """Section 3.2 of the paper, in float64."""
    divergence = soft(student, teacher, temperature, direction, reduction)
    return (1 - kd_weight) * hard(student, labels) + kd_weight * temperature**2 * divergence


def case(seed, n=6, classes=10, scale=5.0):
    rng = np.random.default_rng(seed)
    student, teacher = scale * rng.standard_normal((2, n, classes))
    return student, teacher, rng.integers(0, classes, n)


def tensors(student, teacher, requires_grad=False):
    student = torch.tensor(student, dtype=torch.float32, requires_grad=requires_grad)
    return student, torch.tensor(teacher, dtype=torch.float32)


@FEW
@given(seeds, st.integers(1, 20), st.integers(2, 12), st.floats(0.5, 50), st.floats(0, 1), st.sampled_from(CONVENTIONS))
def test_the_loss_is_its_equation(seed, n, classes, temperature, kd_weight, convention):
    student, teacher, labels = case(seed, n, classes)
    asked = {"temperature": temperature, "kd_weight": kd_weight, "direction": convention[0], "reduction": convention[1]}
    got = kd_loss(*tensors(student, teacher), torch.tensor(labels), **asked)
    assert got.dtype == torch.float32 and got.shape == ()
    assert float(got) == pytest.approx(equation(student, teacher, labels, **asked), rel=2e-4, abs=2e-4)


@FEW
@given(seeds, st.floats(0, 1), st.sampled_from(CONVENTIONS))
def test_mixed_labels_share_the_cross_entropy(seed, lam, convention):
    student, teacher, y_a = case(seed)
    y_b = np.random.default_rng(seed + 1).permutation(y_a)
    asked = {"temperature": 20.0, "kd_weight": 0.5, "direction": convention[0], "reduction": convention[1]}
    mixed = torch.tensor(y_a), torch.tensor(y_b), torch.tensor(lam)
    got = kd_loss(*tensors(student, teacher), mixed, **asked)
    assert float(got) == pytest.approx(equation(student, teacher, (y_a, y_b, lam), **asked), rel=2e-4, abs=2e-4)
    if lam == 1:
        assert float(got) == float(kd_loss(*tensors(student, teacher), torch.tensor(y_a), **asked))


def test_cross_entropy_smooths_labels_where_asked():
    student, _, labels = case(0)
    got = distill.cross_entropy(torch.tensor(student), torch.tensor(labels), label_smoothing=0.1)
    uniform = -log_softmax(student, axis=1).mean()
    assert float(got) == pytest.approx(0.9 * hard(student, labels) + 0.1 * uniform, rel=1e-5)


@pytest.mark.parametrize("direction, reduction", CONVENTIONS)
@pytest.mark.parametrize("temperature", [1.0, 20.0])
@pytest.mark.parametrize("mixed", [False, True])
def test_gradients_are_the_equations(direction, reduction, temperature, mixed):
    student, teacher, y = case(3, n=3, classes=5, scale=2.0)
    labels = (y, y[::-1].copy(), 0.3) if mixed else y
    asked = {"temperature": temperature, "kd_weight": 0.7, "direction": direction, "reduction": reduction}
    z, t = tensors(student, teacher, requires_grad=True)
    kd_loss(z, t, tuple(map(torch.as_tensor, labels)) if mixed else torch.tensor(labels), **asked).backward()
    expected, step = np.zeros_like(student), 1e-5
    for place in np.ndindex(*student.shape):
        nudge = np.zeros_like(student)
        nudge[place] = step
        up, down = (equation(student + sign * nudge, teacher, labels, **asked) for sign in (1, -1))
        expected[place] = (up - down) / (2 * step)
    np.testing.assert_allclose(z.grad.numpy(), expected, rtol=1e-3, atol=1e-5)


def test_the_teacher_is_a_constant_of_the_loss_but_not_detached_behind_ones_back():
    student, teacher, labels = case(1)
    z, t = tensors(student, teacher, requires_grad=True)
    t.requires_grad_()
    kd_loss(z, t, torch.tensor(labels), temperature=20, kd_weight=0.5).backward()
    assert z.grad is not None and t.grad is not None  # who trains both can: the loop detaches the teacher


# --- conventions ---


def test_released_code_bug_kl_is_summed_over_classes():
    """`nn.KLDivLoss()` by default averages over classes too: the KD term is K times weaker than Section 3.2 says."""
    student, teacher, labels = case(2)
    z, t = tensors(student, teacher)
    with warnings.catch_warnings(action="ignore"):  # PyTorch says the same of its default
        released = torch.nn.KLDivLoss()(F.log_softmax(z / 20, dim=1), F.softmax(t / 20, dim=1))
    only_kl = {"temperature": 20.0, "kd_weight": 1.0}
    ours = kd_loss(z, t, torch.tensor(labels), **only_kl)
    weak = kd_loss(z, t, torch.tensor(labels), **only_kl, reduction="mean")
    assert float(weak) == pytest.approx(400 * float(released), rel=1e-4)
    assert float(ours) == pytest.approx(10 * 400 * float(released), rel=1e-4)


@FEW
@given(seeds, st.integers(2, 12), st.floats(0, 1))
def test_mean_weakens_the_kl_by_the_number_of_classes_and_leaves_the_cross_entropy(seed, classes, kd_weight):
    student, teacher, labels = case(seed, classes=classes)
    z, t = tensors(student, teacher)
    losses = {
        r: float(kd_loss(z, t, torch.tensor(labels), temperature=4, kd_weight=kd_weight, reduction=r))
        for r in distill.REDUCTIONS
    }
    plain = (1 - kd_weight) * float(distill.cross_entropy(z, torch.tensor(labels)))
    assert losses["batchmean"] - plain == pytest.approx(classes * (losses["mean"] - plain), rel=1e-3, abs=1e-4)


def test_the_default_direction_is_the_teachers_first():
    student, teacher, labels = case(4)
    z, t = tensors(student, teacher)
    asked = {"temperature": 2.0, "kd_weight": 1.0}
    default = float(kd_loss(z, t, torch.tensor(labels), **asked))
    assert default == float(kd_loss(z, t, torch.tensor(labels), **asked, direction="teacher_student"))
    printed = float(kd_loss(z, t, torch.tensor(labels), **asked, direction="student_teacher"))
    swapped = float(kd_loss(t, z, torch.tensor(labels), **asked))
    assert printed == pytest.approx(swapped, rel=1e-5) and abs(printed - default) > 0.01


@pytest.mark.parametrize("direction", distill.DIRECTIONS)
def test_tau_squared_keeps_gradients_comparable_over_temperatures(direction):
    """Hinton et al. (2015), equation 4: at high temperatures the gradient is (z - v) / K, whatever the temperature."""
    student, teacher, labels = case(5)
    gap = student - teacher
    limit = (gap - gap.mean(1, keepdims=True)) / gap.shape[1] / len(gap)
    for temperature in (50, 100, 200):
        z, t = tensors(student, teacher, requires_grad=True)
        asked = {"temperature": temperature, "kd_weight": 1.0, "direction": direction}
        kd_loss(z, t, torch.tensor(labels), **asked).backward()
        assert np.abs(z.grad.numpy() - limit).max() < 0.2 * np.abs(limit).max() * 50 / temperature + 1e-4


def test_kd_weight_0_is_cross_entropy_and_1_the_teacher_alone():
    student, teacher, labels = case(6)
    z, t = tensors(student, teacher)
    y = torch.tensor(labels)
    assert float(kd_loss(z, t, y, temperature=20, kd_weight=0)) == float(F.cross_entropy(z, y))
    alone = [float(kd_loss(z, t, other, temperature=20, kd_weight=1)) for other in (y, (y + 1) % 10)]
    assert alone[0] == alone[1] == pytest.approx(400 * float(distill.softened_kl(z, t, temperature=20)))


@pytest.mark.parametrize("direction, reduction", CONVENTIONS)
def test_a_student_that_agrees_has_nothing_to_learn(direction, reduction):
    student, _, labels = case(7)
    z, t = tensors(student, student + 3)  # logits are the same up to a constant
    loss = kd_loss(z, t, torch.tensor(labels), temperature=20, kd_weight=1, direction=direction, reduction=reduction)
    assert abs(float(loss)) < 1e-4


def test_half_precision_logits_are_raised_before_the_softmax():
    student, teacher, labels = case(8)
    z, t = (x.bfloat16() for x in tensors(student, teacher))
    got = kd_loss(z, t, torch.tensor(labels), temperature=20, kd_weight=1)
    assert got.dtype == torch.float32
    expected = equation(z.double().numpy(), t.double().numpy(), labels, temperature=20, kd_weight=1)
    assert float(got) == pytest.approx(expected, rel=1e-4)


# --- errors ---

GOOD = {"temperature": 20.0, "kd_weight": 0.5, "direction": "teacher_student", "reduction": "batchmean"}


@pytest.mark.parametrize(
    "name, value",
    [
        ("temperature", 0),
        ("temperature", -1.0),
        ("temperature", float("nan")),
        ("temperature", float("inf")),
        ("kd_weight", -0.1),
        ("kd_weight", 1.1),
        ("kd_weight", float("nan")),
        ("direction", "both"),
        ("reduction", "sum"),
    ],
)
def test_a_setting_without_meaning_is_refused_by_name(name, value):
    z = torch.zeros(2, 3)
    with pytest.raises(DistillError) as fault:
        kd_loss(z, z, torch.zeros(2, dtype=torch.long), **GOOD | {name: value})
    message = str(fault.value)
    assert message.startswith(f"{name} is {value!r}") and "must" in message and "\n" not in message
    assert isinstance(fault.value, KdlibError)


@pytest.mark.parametrize("shape", [(2, 4), (3, 3), (1, 3), (3,)])
def test_logits_of_other_shapes_are_refused(shape):
    with pytest.raises(DistillError, match="must agree"):
        kd_loss(torch.zeros(2, 3), torch.zeros(shape), torch.zeros(2, dtype=torch.long), **GOOD)


@pytest.mark.parametrize("temperature", [1e4, 1e30, float("inf"), 0.0, -1.0, float("nan")])
def test_a_temperature_at_which_the_divergence_is_rounding_is_refused(temperature):
    z = torch.tensor([[1.0, 2.0]])
    with pytest.raises(DistillError, match="at most 1000"):
        kd_loss(z, z.flip(1), torch.tensor([0]), temperature=temperature, kd_weight=1.0)


def test_the_highest_temperature_keeps_the_value():
    z, t = torch.tensor([[4.0, -2.0, 1.0]]), torch.tensor([[-3.0, 6.0, 0.0]])
    asked = {"temperature": distill.MAX_TEMPERATURE, "kd_weight": 1.0}
    exact = equation(z.double().numpy(), t.double().numpy(), np.array([0]), **asked)
    assert float(kd_loss(z, t, torch.tensor([0]), **asked)) == pytest.approx(exact, rel=0.01)


# --- what a student is shown of its teacher ---


@pytest.fixture
def said():
    """Logits (60, 4) of three classes of unequal size out of four, in no order, and labels."""
    draw = torch.Generator().manual_seed(5)
    return torch.randn(60, 4, generator=draw) * 5 + 1, torch.tensor([0, 2, 1, 2, 0, 2])[torch.arange(60) % 6]


def test_class_means_are_pandas(said):
    logits, labels = said
    expected = pd.DataFrame(logits.numpy()).groupby(labels.numpy()).transform("mean")
    np.testing.assert_allclose(distill.means_of_classes(*said).numpy(), expected.to_numpy(), rtol=1e-5)


def test_shuffled_logits_are_those_of_other_images_of_the_class(said):
    logits, labels = said
    whose = distill.shuffled(torch.arange(60.0)[:, None], labels)[:, 0].long()
    assert torch.equal(labels[whose], labels) and sorted(whose.tolist()) == list(range(60))
    assert (whose != torch.arange(60)).float().mean() > 0.8
    assert torch.equal(distill.shuffled(logits, labels), logits[whose])  # the same images whatever a teacher says


@pytest.mark.parametrize("factor, shift", [(1.0, 0.0), (0.2, 3.0), (7.0, -1.0)])
def test_one_scale_takes_away_scale_and_shift_alone(said, factor, shift):
    logits, labels = said
    scaled = distill.one_scale(factor * logits + shift, labels)
    assert float(scaled.square().mean().sqrt()) == pytest.approx(distill.SCALE)
    torch.testing.assert_close(scaled, distill.one_scale(logits, labels), rtol=1e-4, atol=1e-4)
    torch.testing.assert_close(scaled.mean(dim=1), torch.zeros(60), atol=1e-4, rtol=0)


def test_a_student_is_shown_its_teachers_logits_as_they_are_unless_said(said):
    assert distill.TARGETS["logits"](*said) is said[0]
