"""The training loop: against a plain one, the same to the bit again and after an interruption, and what it refuses."""

import copy
import dataclasses
import random

import numpy as np
import pandas as pd
import pytest
import torch
from torch.nn import functional as F

from kdlib import augment, data, models, speed, train
from kdlib.speed import Batch, LiveTeacher, StoredTeacher
from kdlib.train import Distillation, Recipe, TrainingError, fit, infer

RECIPE = Recipe(epochs=3, batch_size=32, peak_lr=0.05, weight_decay=5e-4, precision="float32")
KD = Distillation(temperature=20.0, kd_weight=0.5, direction="teacher_student", reduction="batchmean")
ARMS = [(), ("crop_flip",), ("cutout",), ("mixup",), ("cutmix",), ("crop_flip", "cutmix")]


@pytest.fixture(scope="module")
def digits():
    """The first 112 training images of digits: three batches of 32 and a rest."""
    whole = data.load("digits")
    return train.to_device(whole.train.images[:112], whole.train.labels[:112], whole.mean, whole.std, "cpu")


def net(name="lenet", seed=0):
    return models.build(name, width=64 if name == "lenet" else 2, seed=seed)


def changed(recipe=RECIPE, **fields):
    return Recipe(**{**vars(recipe), **fields})


def tensors(model):
    return list(model.state_dict().values())


def same(a, b):
    return all(torch.equal(x, y) for x, y in zip(tensors(a), tensors(b), strict=True))


def numbers(history):
    return history.drop(columns="seconds").to_dict("list")


def record_batches(monkeypatch):
    """What `fit` asks of `augment` (clean images), and what it gets (x, labels), step by step."""
    asked, got = [], []

    def recorded(images, *rest):
        asked.append(images.clone())
        got.append(augment.augment(images, *rest))
        return got[-1]

    monkeypatch.setattr(train, "augment", recorded)
    return asked, got


class Stop(Exception):
    """An interruption from outside."""


def interrupt(monkeypatch, after):
    """Stop training at the batch after `after` ones; every epoch leaves a checkpoint."""
    steps = iter(range(after))

    def stopping(*arguments):
        if next(steps, None) is None:
            raise Stop
        return augment.augment(*arguments)

    monkeypatch.setattr(speed, "SECONDS_BETWEEN_CHECKPOINTS", 0)
    monkeypatch.setattr(train, "augment", stopping)


# --- what is watched ---


def test_validation_is_of_the_network_after_each_epoch_and_changes_nothing(digits):
    held_out = train.TrainingSet(digits.images[:40], digits.labels[:40], digits.mean, digits.std)
    plain, watched = net("alexnet"), net("alexnet")  # its dropout would notice
    without = fit(plain, digits, RECIPE)
    history = fit(watched, digits, RECIPE, validation=held_out)
    assert same(plain, watched) and watched.training
    pd.testing.assert_frame_equal(history[["loss", "accuracy"]], without[["loss", "accuracy"]])
    logits, _ = infer(watched, held_out.images, held_out.mean, held_out.std)
    assert history.validation_accuracy.iloc[-1] == pytest.approx((logits.argmax(1) == held_out.labels).float().mean())
    assert history.validation_loss.iloc[-1] == pytest.approx(F.cross_entropy(logits, held_out.labels).item())
    assert history.validation_loss.nunique() == RECIPE.epochs


@pytest.mark.parametrize(("norm", "share"), [(1e-6, 1.0), (1e6, 0.0)])
def test_the_share_of_clipped_steps_is_told(digits, norm, share):
    assert fit(net(), digits, changed(clip_norm=norm)).clipped.tolist() == [share] * RECIPE.epochs


# --- against a plain loop ---


@pytest.mark.parametrize(
    "fields",
    [{}, {"momentum": 0.0}, {"weight_decay": 0.0}, {"warmup": 0.0}, {"label_smoothing": 0.1}, {"clip_norm": 0.3}],
)
def test_training_is_plain_sgd_on_the_same_batches(digits, monkeypatch, fields):
    recipe = changed(**fields)
    ours, theirs = net(), net()
    _, batches = record_batches(monkeypatch)
    history = fit(ours, digits, recipe, augmentations=("crop_flip",), seed=4)
    optimizer = torch.optim.SGD(
        theirs.parameters(),
        lr=0.05,
        momentum=recipe.momentum,
        weight_decay=recipe.weight_decay,
        nesterov=recipe.momentum > 0,
    )
    assert len(batches) == 9  # three epochs of three batches: what is left over waits
    losses = []
    for step, (x, y) in enumerate(batches):
        rising = recipe.warmup * 9
        factor = 0.2 + 0.8 * step / rising if step < rising else (9 - step) / (9 - rising)
        optimizer.param_groups[0]["lr"] = 0.05 * factor
        loss = F.cross_entropy(theirs(x), y, label_smoothing=recipe.label_smoothing)
        optimizer.zero_grad()
        loss.backward()
        if recipe.clip_norm:
            torch.nn.utils.clip_grad_norm_(theirs.parameters(), recipe.clip_norm)
        optimizer.step()
        losses.append(loss.item())
    for a, b in zip(tensors(ours), tensors(theirs), strict=True):
        torch.testing.assert_close(a, b, rtol=0, atol=1e-5)
    np.testing.assert_allclose(history.loss, np.reshape(losses, (3, 3)).mean(1), rtol=1e-4)


def test_a_student_is_taught_by_the_stored_logits_of_its_images(digits, monkeypatch):
    """The same by hand: cross-entropy and KL of equation 3.2 on batches whose images are found again by content."""
    stored = torch.randn(112, 10, generator=torch.Generator().manual_seed(0))
    ours, theirs = net(), net()
    asked, batches = record_batches(monkeypatch)
    fit(ours, digits, changed(epochs=1), teacher=StoredTeacher(stored), distillation=KD, seed=1)
    optimizer = torch.optim.SGD(theirs.parameters(), lr=0.05, momentum=0.9, weight_decay=5e-4, nesterov=True)
    for step, (images, (x, y)) in enumerate(zip(asked, batches, strict=True)):
        chosen = (images[:, None] == digits.images[None]).flatten(2).all(2).int().argmax(1)
        optimizer.param_groups[0]["lr"] = 0.05 * (0.2 + 0.8 * step / 0.6 if step < 0.6 else (3 - step) / 2.4)
        z = theirs(x)
        kl = F.kl_div(F.log_softmax(z / 20, 1), F.softmax(stored[chosen] / 20, 1), reduction="batchmean")
        optimizer.zero_grad()
        (0.5 * F.cross_entropy(z, y) + 0.5 * 400 * kl).backward()
        optimizer.step()
    for a, b in zip(tensors(ours), tensors(theirs), strict=True):
        torch.testing.assert_close(a, b, rtol=0, atol=1e-5)


def test_history_has_a_row_an_epoch(digits):
    model = net()
    history = fit(model, digits, RECIPE)
    assert list(history) == ["epoch", "lr", "loss", "accuracy", "seconds"]
    assert history.epoch.tolist() == [1, 2, 3] and history.accuracy.between(0, 1).all() and (history.seconds > 0).all()
    assert history.lr.tolist() == [RECIPE.learning_rate(step, 9) for step in (2, 5, 8)]
    assert model.training


def test_no_epochs_leave_the_network_as_it_was(digits):
    model = net()
    history = fit(model, digits, changed(epochs=0, batch_size=10_000))
    assert same(model, net()) and len(history) == 0 and list(history) == ["epoch", "lr", "loss", "accuracy", "seconds"]


def test_longer_training_fits_the_training_images(digits):
    history = fit(net(), digits, changed(epochs=30))
    assert history.accuracy.iloc[-1] > 0.95 > 0.5 > history.accuracy.iloc[0]


@pytest.mark.parametrize("fault", [OSError, TypeError, AttributeError])
def test_training_does_without_glibc(digits, monkeypatch, fault):
    """macOS, musl and Windows have no `mallopt`: the numbers are the same."""
    usual, without = net(), net()
    fit(usual, digits, changed(epochs=1))

    def lacking(name):
        raise fault

    speed.keep_freed_memory.cache_clear()
    monkeypatch.setattr(speed.ctypes, "CDLL", lacking)
    fit(without, digits, changed(epochs=1))
    speed.keep_freed_memory.cache_clear()
    assert same(usual, without)


# --- the schedule ---


def test_the_rate_rises_to_its_peak_and_falls_to_zero():
    recipe = changed(peak_lr=2.0)
    rates = [recipe.learning_rate(step, 100) for step in range(100)]
    assert rates[0] == pytest.approx(0.4) and rates[20] == pytest.approx(2.0) == max(rates)
    assert rates[10] == pytest.approx(1.2) and rates[60] == pytest.approx(1.0)
    assert rates[99] == pytest.approx(2.0 / 80) and recipe.learning_rate(100, 100) == 0
    assert np.all(np.diff(rates[:21]) > 0) and np.all(np.diff(rates[20:]) < 0)


def test_a_staircase_is_pytorchs():
    """`MultiStepLR`, which the released code uses, epoch by epoch."""
    recipe = changed(peak_lr=2.0, epochs=10, drops=(3, 6))
    optimizer = torch.optim.SGD([torch.zeros(1)], lr=2.0)
    schedule = torch.optim.lr_scheduler.MultiStepLR(optimizer, [3, 6], 0.1)
    for epoch in range(10):
        rates = [recipe.learning_rate(step, 10 * 7) for step in range(7 * epoch, 7 * epoch + 7)]
        assert rates == pytest.approx([optimizer.param_groups[0]["lr"]] * 7)
        optimizer.step()
        schedule.step()


@pytest.mark.parametrize("drops", [(0,), (3, 3), (6, 3), (-1, 2)])
def test_a_staircase_goes_down_at_epochs_that_follow_each_other(drops):
    with pytest.raises(TrainingError, match="drops is"):
        changed(drops=drops)


@pytest.mark.parametrize("warmup", [0.0, 0.2, 0.5, 1.0])
@pytest.mark.parametrize("steps", [1, 2, 3, 7])
def test_short_schedules_stay_between_zero_and_the_peak(warmup, steps):
    recipe = changed(warmup=warmup)
    assert all(0 < recipe.learning_rate(step, steps) < 1.0001 * recipe.peak_lr for step in range(steps))


# --- randomness ---


@pytest.mark.parametrize("arm", ARMS, ids=augment.label)
@pytest.mark.parametrize("name", ["alexnet", "lenet"])
def test_released_code_bug_the_seed_governs_every_draw(digits, name, arm):
    """The released code seeds torch alone and draws MixUp, CutMix and Cutout from NumPy. AlexNet adds dropout."""
    histories, results = [], []
    for noise in (1, 2):
        random.seed(noise), np.random.seed(noise), torch.manual_seed(noise)
        results.append(net(name, seed=7))
        histories.append(fit(results[-1], digits, changed(epochs=2), augmentations=arm, seed=7))
    assert same(*results) and numbers(histories[0]) == numbers(histories[1])


def test_a_seed_of_its_own_gives_other_numbers(digits):
    results = [net() for _ in range(2)]
    for seed, model in enumerate(results):
        fit(model, digits, changed(epochs=1), seed=seed)
    assert not same(*results)


def test_arms_of_a_seed_share_the_order_of_images_and_epochs_do_not(digits, monkeypatch):
    orders = []
    for arm in ((), ("crop_flip", "cutmix")):
        asked, _ = record_batches(monkeypatch)
        fit(net(), digits, changed(epochs=2), augmentations=arm, seed=3)
        orders.append(torch.stack(asked))
    assert torch.equal(*orders)
    first, second = orders[0][:3].flatten(0, 1), orders[0][3:].flatten(0, 1)
    assert not torch.equal(first, second)
    distinct = len(digits.images.unique(dim=0))
    assert len(first.unique(dim=0)) >= 96 - (112 - distinct)  # no image twice in an epoch


def test_each_purpose_and_epoch_has_a_seed_of_its_own():
    purposes = ("initialisation", "order", "augmentation", "dropout")
    derived = {train.derive(s, purpose, epoch) for s in range(5) for purpose in purposes for epoch in range(5)}
    assert len(derived) == 5 * 4 * 5 and all(0 <= seed < 2**63 for seed in derived)
    assert train.derive(0, "order", 0) == 1829853113658518448  # for ever: stored runs depend on it


# --- interruption ---

INTERRUPTED = {
    "alexnet with dropout": ("alexnet", ("crop_flip", "cutmix"), None),
    "resnet18 with batch statistics": ("resnet18", ("cutout", "mixup"), None),
    "lenet of stored logits": ("lenet", (), "logits"),
    "lenet of a network": ("lenet", ("cutmix",), "network"),
}


@pytest.mark.parametrize("name, arm, taught", INTERRUPTED.values(), ids=INTERRUPTED)
@pytest.mark.parametrize("after", [5, 6])
def test_a_run_taken_up_again_is_the_same_to_the_bit(digits, tmp_path, monkeypatch, name, arm, taught, after):
    """Broken off in the middle of the second epoch, and right after its end."""
    logits, network = StoredTeacher(torch.randn(112, 10)), LiveTeacher(net("resnet18", seed=9))
    teacher = {"logits": logits, "network": network, None: None}[taught]
    asked = {"augmentations": arm, "seed": 2, "teacher": teacher, "distillation": KD if taught else None}
    straight = net(name)
    history = fit(straight, digits, RECIPE, **asked)

    broken, checkpoint = net(name), tmp_path / "deep" / "run.pt"
    with monkeypatch.context() as patch:
        interrupt(patch, after)
        with pytest.raises(Stop):
            fit(broken, digits, RECIPE, **asked, checkpoint=checkpoint)
    assert [path.name for path in checkpoint.parent.iterdir()] == ["run.pt"]

    torch.manual_seed(99)
    resumed = net(name, seed=50)  # its weights come from the checkpoint
    asked_again, _ = record_batches(monkeypatch)
    continued = fit(resumed, digits, RECIPE, **asked, checkpoint=checkpoint)
    assert len(asked_again) == (6 if after == 5 else 3)  # whole epochs alone are kept
    assert same(straight, resumed) and numbers(history) == numbers(continued)


def test_a_finished_checkpoint_trains_nothing(digits, tmp_path, monkeypatch):
    monkeypatch.setattr(speed, "SECONDS_BETWEEN_CHECKPOINTS", 0)
    first, again = net(), net(seed=1)
    history = fit(first, digits, RECIPE, checkpoint=tmp_path / "run.pt")
    interrupt(monkeypatch, 0)
    assert numbers(fit(again, digits, RECIPE, checkpoint=tmp_path / "run.pt")) == numbers(history)
    assert same(first, again)


def test_a_checkpoint_that_is_not_this_runs_or_this_codes_is_told_of_and_training_begins_anew(digits, tmp_path, capsys):
    path, straight = tmp_path / "run.pt", net()
    expected = fit(straight, digits, changed(epochs=1))
    for content in (b"", b"abc", b"PK\3\4 cut short"):
        path.write_bytes(content)
        check_begun_anew(digits, path, straight, expected, "it can't be read", capsys)
    speed.save_checkpoint(path, [torch.zeros(3)], [], "this")
    check_begun_anew(digits, path, straight, expected, "it is of another network", capsys)
    speed.save_checkpoint(path, [torch.zeros(3)], [], "commit abc")
    check_begun_anew(digits, path, straight, expected, "it was written by commit abc, and this is this", capsys)


def check_begun_anew(digits, path, straight, expected, finding, capsys):
    capsys.readouterr()
    model = net()
    history = fit(model, digits, changed(epochs=1), checkpoint=path, made_by="this")
    assert f"{path} is not gone on from, {finding}: training begins anew\n" in capsys.readouterr().out
    assert same(model, straight) and numbers(history) == numbers(expected)


def test_a_checkpoint_that_can_not_be_written_is_one_sentence_and_leaves_the_last(digits, tmp_path, monkeypatch):
    path = tmp_path / "run.pt"
    path.write_bytes(b"the last")

    def full(content, aside):
        aside.write_bytes(b"half")
        raise RuntimeError("[enforce fail at inline_container.cc:659] . unexpected pos 64 vs 0\nframe #0")

    monkeypatch.setattr(torch, "save", full)
    with pytest.raises(TrainingError, match="no checkpoint can be written .*enforce fail.* make room") as fault:
        speed.save_checkpoint(path, [], [], "this")
    assert "\n" not in str(fault.value) and [p.name for p in tmp_path.iterdir()] == ["run.pt"]


@pytest.mark.parametrize("training", [True, False])
def test_released_code_bug_infer_puts_the_mode_back(digits, training):
    model = net("alexnet").train(training)
    infer(model, digits.images, digits.mean, digits.std)
    assert all(module.training == training for module in model.modules())


def test_the_mode_is_put_back_when_inference_fails(digits):
    model = net().train()
    with pytest.raises(RuntimeError):
        infer(model, digits.images[:, :8, :8], digits.mean, digits.std)
    assert model.training


def test_infer_changes_nothing_and_draws_nothing(digits):
    model = net("resnet18").train()
    before, state = copy.deepcopy(model), torch.get_rng_state()
    infer(model, digits.images, digits.mean, digits.std)
    assert same(model, before) and torch.equal(state, torch.get_rng_state())


@pytest.mark.parametrize("name", ["resnet18", "alexnet", "lenet"])
def test_infer_gives_float32_logits_and_features_in_evaluation_mode(digits, name):
    model = net(name)
    x = (digits.images.permute(0, 3, 1, 2) / 255 - digits.mean.view(3, 1, 1)) / digits.std.view(3, 1, 1)
    with torch.no_grad():
        expected = copy.deepcopy(model).eval()(x)
    logits, features = infer(model, digits.images, digits.mean, digits.std, batch_size=50)
    assert logits.dtype == features.dtype == torch.float32 and len(features) == 112
    torch.testing.assert_close(logits, expected, rtol=1e-4, atol=1e-5)
    whole, _ = infer(model, digits.images, digits.mean, digits.std)
    torch.testing.assert_close(logits, whole, rtol=1e-4, atol=1e-5)


# --- teachers ---


class Recording(models.LeNet):
    """A LeNet that notes what it is shown, and in which mode."""

    def __init__(self, seed):
        super().__init__(64, 10)
        self.load_state_dict(net(seed=seed).state_dict())
        self.shown, self.modes = [], []

    def penultimate(self, x):
        self.shown.append(x.detach().clone())
        self.modes.append(self.training)
        return super().penultimate(x)


@pytest.mark.parametrize("arm", ARMS[1:], ids=augment.label)
def test_the_teacher_sees_the_augmented_batch_of_its_student(digits, arm):
    """A patient teacher (Beyer et al. 2022): the same mixed, cut or cropped image, never the clean one."""
    student, teacher = Recording(seed=0), Recording(seed=1).train()
    fit(student, digits, changed(epochs=1), augmentations=arm, teacher=LiveTeacher(teacher), distillation=KD)
    del student.shown[0], student.modes[0]  # of two images, to see that the network can be trained
    assert len(student.shown) == len(teacher.shown) == 3
    assert all(torch.equal(x, y) for x, y in zip(student.shown, teacher.shown, strict=True))
    assert not any(teacher.modes) and all(student.modes)
    assert same(teacher, net(seed=1)) and all(p.grad is None for p in teacher.parameters())


def test_a_teachers_passes_serve_other_students_of_the_same_batches_and_nobody_notices(digits, tmp_path):
    arm, weaker = ("crop_flip", "cutmix"), dataclasses.replace(KD, reduction="mean")
    alone, beside = net(seed=0), net(seed=0)
    fit(alone, digits, changed(epochs=2), augmentations=arm, teacher=LiveTeacher(net(seed=1)), distillation=weaker)
    teacher = Recording(seed=1)
    options = dict(augmentations=arm, teacher=LiveTeacher(teacher, folder=tmp_path))
    fit(net(seed=0), digits, changed(epochs=1), distillation=KD, **options)
    assert len(teacher.shown) == 3
    fit(beside, digits, changed(epochs=2), distillation=weaker, **options)
    assert len(teacher.shown) == 6, "three of the first epoch, by the first student, and three of the second"
    assert same(alone, beside)


def test_passes_of_an_epoch_that_was_broken_off_are_not_kept(digits, tmp_path):
    passes = LiveTeacher(net(seed=1).eval(), "float32", tmp_path)
    batches = [Batch(x, torch.zeros(2)) for x in (torch.zeros(2, 3, 32, 32), torch.ones(2, 3, 32, 32))]
    begun = passes.added(iter(batches), 0)
    next(begun)
    begun.close()
    assert not list(tmp_path.iterdir()) and passes.read(0) is None
    said = [batch.teacher_logits for batch in passes.added(iter(batches), 0)]
    assert torch.equal(torch.stack(said), passes.read(0)) and passes.read(1) is None


def test_passes_that_are_damaged_or_of_another_teacher_are_computed_again(tmp_path):
    def said(seed: int) -> torch.Tensor:
        passes = LiveTeacher(net(seed=seed).eval(), "float32", tmp_path)
        (batch,) = passes.added(iter([Batch(torch.ones(2, 3, 32, 32), torch.zeros(2))]), 0)
        return batch.teacher_logits

    expected = net(seed=2).eval()(torch.ones(2, 3, 32, 32))
    assert not torch.equal(said(1), expected) and torch.equal(said(2), expected)
    whole = (tmp_path / "0.pt").read_bytes()
    for content in (b"", whole[:-200], b"no passes"):
        (tmp_path / "0.pt").write_bytes(content)
        assert torch.equal(said(2), expected) and (tmp_path / "0.pt").read_bytes() == whole


def test_passes_that_can_not_be_kept_stop_nobody(tmp_path):
    (tmp_path / "file").touch()
    passes = LiveTeacher(net(seed=1).eval(), "float32", tmp_path / "file")
    assert len(list(passes.added(iter([Batch(torch.zeros(2, 3, 32, 32), torch.zeros(2))]), 0))) == 1


@pytest.fixture(scope="module")
def taught(digits):
    """A small float32 teacher that knows something."""
    teacher = net("resnet18", seed=8)
    fit(teacher, digits, changed(epochs=5))
    return teacher


def test_stored_logits_teach_what_the_teacher_in_the_loop_does(digits, taught):
    """For images that are not augmented, the two ways to be taught are one."""
    stored, _ = infer(taught, digits.images, digits.mean, digits.std)
    results = [net(), net()]
    for student, signal in zip(results, (StoredTeacher(stored), LiveTeacher(copy.deepcopy(taught))), strict=True):
        fit(student, digits, RECIPE, teacher=signal, distillation=KD)
    for a, b in zip(*map(tensors, results), strict=True):
        torch.testing.assert_close(a, b, rtol=0, atol=2e-4)


def test_the_teacher_in_the_loop_gives_the_logits_that_would_be_stored(digits, taught, monkeypatch):
    """Where all networks are float32: else an augmented student learns from coarser logits than one that is not."""
    seen, kd_loss = [], train.kd_loss
    monkeypatch.setattr(train, "kd_loss", lambda z, t, *rest, **named: seen.append(t) or kd_loss(z, t, *rest, **named))
    _, batches = record_batches(monkeypatch)
    fit(
        net(),
        digits,
        changed(epochs=1),
        augmentations=("cutmix",),
        teacher=LiveTeacher(copy.deepcopy(taught)),
        distillation=KD,
    )
    for (x, _), logits in zip(batches, seen, strict=True):
        with torch.no_grad():
            torch.testing.assert_close(logits, copy.deepcopy(taught).eval()(x), rtol=1e-4, atol=1e-4)


def test_stored_logits_do_not_serve_an_augmented_student(digits):
    with pytest.raises(TrainingError, match="clean images, not to batches under cutmix"):
        fit(
            net(),
            digits,
            RECIPE,
            augmentations=("cutmix",),
            teacher=StoredTeacher(torch.zeros(112, 10)),
            distillation=KD,
        )


def test_stored_logits_must_be_of_these_images(digits):
    with pytest.raises(TrainingError, match="100 teacher logits for 112 training images"):
        fit(net(), digits, RECIPE, teacher=StoredTeacher(torch.zeros(100, 10)), distillation=KD)


def test_a_teacher_and_the_settings_belong_together(digits):
    for given in ({"teacher": StoredTeacher(torch.zeros(112, 10))}, {"distillation": KD}):
        with pytest.raises(TrainingError, match="belong together"):
            fit(net(), digits, RECIPE, **given)


def test_label_smoothing_of_a_student_is_refused(digits):
    """It is a field of the recipe and so of the key: a student must not ignore it."""
    with pytest.raises(TrainingError, match="not smoothed"):
        fit(net(), digits, changed(label_smoothing=0.2), teacher=StoredTeacher(torch.zeros(112, 10)), distillation=KD)


# --- precision ---


@pytest.mark.parametrize("name", ["resnet18", "alexnet"])
def test_bfloat16_trains_float32_weights_to_about_the_same_place(digits, monkeypatch, name):
    monkeypatch.setattr(speed, "multiplies_bfloat16", lambda device: True)  # be it emulated
    results = {}
    for precision in train.PRECISIONS:
        model = net(name)
        results[precision] = fit(model, digits, changed(precision=precision)).loss.to_numpy()
        assert all(p.dtype == torch.float32 for p in model.parameters())
    np.testing.assert_allclose(results["bfloat16"], results["float32"], rtol=0.05)
    assert (results["bfloat16"] != results["float32"]).any()


# --- refusals ---


def test_a_loss_that_is_not_finite_stops_the_run_and_names_epoch_and_settings(digits, tmp_path, monkeypatch):
    monkeypatch.setattr(speed, "SECONDS_BETWEEN_CHECKPOINTS", 0)
    recipe = changed(peak_lr=1e25, epochs=9)
    with pytest.raises(TrainingError) as fault:
        fit(net(), digits, recipe, augmentations=("crop_flip",), seed=5, checkpoint=tmp_path / "run.pt", title="mine")
    message = str(fault.value)
    assert "\n" not in message and message.startswith("mine: the loss is nan in epoch 1")
    for part in ("'peak_lr': 1e+25", "'batch_size': 32", "crop_flip", "seed 5"):
        assert part in message
    assert not list(tmp_path.iterdir())  # nothing to take up again


def test_a_batch_larger_than_the_data_is_refused(digits):
    with pytest.raises(TrainingError, match="batch_size is 113, but there are only 112 training images"):
        fit(net(), digits, changed(batch_size=113))
    assert len(fit(net(), digits, changed(batch_size=112, epochs=1))) == 1


@pytest.mark.parametrize("name, value", [("epochs", -1), ("batch_size", 0), ("precision", "float16")])
def test_a_recipe_without_meaning_is_refused_by_name(name, value):
    with pytest.raises(TrainingError) as fault:
        changed(**{name: value})
    assert str(fault.value).startswith(f"{name} is {value!r}") and "\n" not in str(fault.value)


def test_progress_is_one_line_an_epoch_outside_a_terminal(digits, capsys):
    fit(net(), digits, RECIPE, title="lenet alone")
    lines = capsys.readouterr().out.splitlines()
    assert len(lines) == 3 and all(line.startswith("lenet alone epoch ") for line in lines)
    assert "epoch 2/3 loss" in lines[1]


@pytest.mark.parametrize(
    "flags, expected",
    [
        ({"avx512_bf16": True}, "bfloat16"),
        ({"avx512_bf16": False, "amx_bf16": True}, "bfloat16"),
        ({"arm_bf16": True}, "bfloat16"),
        ({"avx2": True, "avx512_bf16": False, "amx_bf16": False}, "float32"),
        ({}, "float32"),
    ],
)
def test_bfloat16_is_float32_where_a_processor_would_emulate_it(digits, monkeypatch, flags, expected):
    monkeypatch.setattr(torch.cpu, "get_capabilities", lambda: flags, raising=False)
    speed.multiplies_bfloat16.cache_clear()
    try:
        assert speed.precision_on("cpu", "bfloat16") == expected and speed.precision_on("cpu", "float32") == "float32"
        found, asked = net("resnet18"), net("resnet18")
        fit(found, digits, changed(precision="bfloat16", epochs=1))
    finally:
        speed.multiplies_bfloat16.cache_clear()
    if expected == "float32":
        fit(asked, digits, changed(precision="float32", epochs=1))
        assert same(found, asked)


def test_weights_that_the_last_step_broke_are_not_taken_for_trained(digits):
    """The loss of a step is of the weights before it."""
    recipe = changed(peak_lr=1.5e39, weight_decay=1e3, epochs=1, batch_size=112)
    with pytest.raises(TrainingError, match="weights are lost"):
        fit(net(), digits, recipe)


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs CUDA")
@pytest.mark.parametrize("precision", train.PRECISIONS)
@pytest.mark.parametrize("taught", ["labels", "stored", "live"])
def test_a_recorded_step_on_cuda_trains_to_about_the_same_place(digits, taught, precision):
    """Other kernels and draws, so not the same numbers: the loss of un-augmented images falls alike."""
    on_gpu = train.to_device(digits.images, digits.labels, digits.mean, digits.std, "cuda")
    losses = []
    for images in (digits, on_gpu):
        logits = torch.randn(112, 10, generator=torch.Generator().manual_seed(0)).to(images.images.device)
        live = LiveTeacher(net("resnet18", seed=9), precision)
        teacher = {"labels": None, "stored": StoredTeacher(logits), "live": live}[taught]
        recipe = changed(precision=precision, clip_norm=1.0)
        history = fit(net("resnet18"), images, recipe, teacher=teacher, distillation=KD if teacher else None)
        losses.append(history[["loss", "clipped"]].to_numpy())
    np.testing.assert_allclose(losses[0], losses[1], rtol=0.05, atol=0.4)


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs CUDA")
@pytest.mark.parametrize("augmentations", [("crop_flip", "cutmix"), ("soft",)])
def test_mixed_and_soft_labels_reach_a_recorded_step_on_cuda(digits, monkeypatch, augmentations):
    monkeypatch.setitem(augment.AFTER_NORMALISING, "soft", lambda x, y, draw: (x, F.one_hot(y, 10).float()))
    on_gpu = train.to_device(digits.images, digits.labels, digits.mean, digits.std, "cuda")
    history = fit(net(), on_gpu, changed(epochs=2), augmentations=augmentations, validation=on_gpu)
    assert np.isfinite(history.loss).all() and history.validation_accuracy.between(0, 1).all()
