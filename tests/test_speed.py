"""What makes training fast changes nothing: a recorded step leaves the state as it found it."""

import contextlib
from types import SimpleNamespace

import pytest
import torch

from kdlib import models, speed
from kdlib.speed import Batch, CapturedStep


@pytest.fixture
def cuda(monkeypatch):
    """A CUDA without a GPU, which notes the state that it finds when it begins to record."""
    seen = []

    @contextlib.contextmanager
    def graph(of):
        seen.append([tensor.clone() for tensor in STATE])
        yield
        for tensor, value in zip(STATE, seen[-1], strict=True):  # recording executes nothing
            tensor.copy_(value)

    stream = SimpleNamespace(wait_stream=lambda other: None)
    monkeypatch.setattr(torch.cuda, "Stream", lambda: stream)
    monkeypatch.setattr(torch.cuda, "current_stream", lambda: stream)
    monkeypatch.setattr(torch.cuda, "stream", contextlib.nullcontext)
    monkeypatch.setattr(torch.cuda, "CUDAGraph", lambda: SimpleNamespace(replay=lambda: None))
    monkeypatch.setattr(torch.cuda, "graph", graph)
    return seen


STATE = [torch.zeros(3), torch.ones(2)]


def test_what_the_warm_up_changed_is_put_back_before_a_step_is_recorded(cuda):
    for tensor, value in zip(STATE, (torch.arange(3.0), torch.ones(2)), strict=True):
        tensor.copy_(value)
    calls = []

    def step(batch):
        calls.append(batch)
        for tensor in STATE:
            tensor += batch.x.sum()
        return batch.x.sum()

    example = Batch(torch.ones(4), torch.tensor([1, 2]), None, torch.ones(2, 3))
    recorded = CapturedStep(step, STATE, example)
    assert len(calls) > 1
    assert torch.equal(cuda[0][0], torch.arange(3.0)) and torch.equal(cuda[0][1], torch.ones(2))
    assert torch.equal(STATE[0], torch.arange(3.0))
    recorded(example._replace(x=torch.full((4,), 5.0), teacher_logits=torch.zeros(2, 3)))
    assert torch.equal(recorded.inputs.x, torch.full((4,), 5.0))  # what a replay reads
    assert torch.equal(recorded.inputs.teacher_logits, torch.zeros(2, 3))
    assert torch.equal(example.x, torch.ones(4))  # and not the caller's


FORMS = {
    "hard": torch.tensor([1, 2]),
    "soft": torch.eye(2),
    "two sources": (torch.tensor([1, 2]), torch.tensor([2, 1]), torch.tensor(0.5)),
    "a share an image": (torch.tensor([1, 2]), torch.tensor([2, 1]), torch.tensor([0.5, 0.25])),
}


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("recorded", FORMS)
def test_a_recorded_step_gets_labels_of_one_form_and_refuses_another(cuda, form, recorded):
    """One of as many classes as images, (N,) in the place of (N, N), would be broadcast without a word."""
    step = CapturedStep(lambda batch: batch.x.sum(), STATE, Batch(torch.ones(2, 3), FORMS[recorded]))
    if form != recorded:
        with pytest.raises(speed.TrainingError, match="give soft labels"):
            step(Batch(torch.ones(2, 3), FORMS[form]))
        return
    step(Batch(torch.zeros(2, 3), FORMS[form]))
    assert all(map(torch.equal, step.inputs.tensors(), Batch(torch.zeros(2, 3), FORMS[form]).tensors()))


@pytest.mark.parametrize("labels", [torch.tensor([1]), (torch.tensor([1]), torch.tensor([2]), torch.tensor(0.5))])
def test_a_batch_knows_all_its_tensors(labels):
    batch = Batch(torch.zeros(1, 3), labels, torch.tensor([7]), torch.ones(1, 2))
    assert len(batch.tensors()) == (6 if isinstance(labels, tuple) else 4)
    doubled = batch.each(lambda tensor: tensor * 2)
    assert all(torch.equal(a * 2, b) for a, b in zip(batch.tensors(), doubled.tensors(), strict=True))
    assert batch._replace(rows=None, teacher_logits=None).each(torch.clone).teacher_logits is None


def test_stored_logits_are_those_of_the_batchs_rows():
    teacher = speed.StoredTeacher(torch.arange(8.0).reshape(4, 2))
    (batch,) = teacher.added(iter([Batch(torch.zeros(2), torch.zeros(2), torch.tensor([3, 0]))]), 0)
    assert batch.teacher_logits.tolist() == [[6.0, 7.0], [0.0, 1.0]]


def test_a_live_teacher_teaches_in_evaluation_mode():
    teacher = speed.LiveTeacher(models.build("alexnet", width=2).train(), "bfloat16").to(torch.device("cpu"))
    assert not teacher.network.training
