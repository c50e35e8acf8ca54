"""Networks: sizes, the same function as an independent implementation, where the weights come from."""

import pytest
import torch
import torchvision
from torch import nn

from kdlib import KdlibError, models
from kdlib.models import ModelError

PARAMETERS = {"resnet18": 11_173_962, "lenet": 62_006, "alexnet": 14_859_082}  # with 10 classes, at width 64
PENULTIMATE = {"resnet18": 512, "lenet": 84, "alexnet": 2048}
SMALL = {"resnet18": 2, "lenet": 64, "alexnet": 2}
NAMES = sorted(PARAMETERS)


def batch(n=4, seed=0):
    return torch.randn(n, 3, 32, 32, generator=torch.Generator().manual_seed(seed))


def same(a, b):
    return all(torch.equal(x, y) for x, y in zip(a.state_dict().values(), b.state_dict().values(), strict=True))


@pytest.mark.parametrize("name", NAMES)
def test_parameters_and_penultimate_width_at_full_size(name):
    model = models.build(name)
    assert sum(p.numel() for p in model.parameters()) == PARAMETERS[name]
    assert model.head_layer.in_features == PENULTIMATE[name]


def test_no_other_model_exists():
    assert sorted(models.ARCHITECTURES) == [*NAMES, "uniform"]


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("classes", [10, 3])
def test_logits_are_the_head_of_the_penultimate_features(name, classes):
    model = models.build(name, width=SMALL[name], classes=classes).eval()
    with torch.no_grad():
        features = model.penultimate(batch())
        logits = model(batch())
    assert features.shape == (4, PENULTIMATE[name] * SMALL[name] // 64) and logits.shape == (4, classes)
    assert torch.equal(logits, model.head(features))
    assert torch.equal(logits, features @ model.head_layer.weight.T + model.head_layer.bias) or torch.allclose(
        logits, features @ model.head_layer.weight.T + model.head_layer.bias, atol=1e-6
    )


@pytest.mark.parametrize("name", NAMES)
def test_the_head_runs_in_float32_under_autocast(name):
    model = models.build(name, width=SMALL[name]).eval()
    with torch.no_grad(), torch.autocast("cpu", dtype=torch.bfloat16):
        features = model.penultimate(batch())
        logits = model(batch())
        assert (model.conv1(batch()) if name != "alexnet" else model.features(batch())).dtype == torch.bfloat16
    assert logits.dtype == torch.float32
    with torch.no_grad():
        torch.testing.assert_close(logits, model.head_layer(features.float()), rtol=0, atol=1e-6)
    assert not torch.equal(logits, logits.bfloat16().float())  # it holds more than bfloat16 can


@pytest.mark.parametrize("name", NAMES)
def test_the_seed_alone_decides_the_weights(name):
    torch.manual_seed(1)
    first = models.build(name, width=SMALL[name], seed=5)
    torch.manual_seed(2)
    assert same(first, models.build(name, width=SMALL[name], seed=5))
    assert not same(first, models.build(name, width=SMALL[name], seed=6))
    torch.manual_seed(5)
    assert same(first, models.ARCHITECTURES[name](SMALL[name], 10))  # PyTorch's own initialisation


def test_building_leaves_the_global_generator_alone():
    before = torch.get_rng_state()
    models.build("lenet", seed=3)
    assert torch.equal(before, torch.get_rng_state())


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs CUDA")
def test_building_leaves_cudas_generator_alone():
    before = torch.cuda.get_rng_state()
    models.build("lenet", seed=3)
    assert torch.equal(before, torch.cuda.get_rng_state())


@pytest.mark.parametrize("name", ["resnet18", "alexnet"])
def test_width_scales_every_layer(name):
    counts = [sum(p.numel() for p in models.build(name, width=w).parameters()) for w in (1, 2, 4, 8)]
    # A quadratic in the width (convolutions) plus linear and constant terms: the third difference vanishes.
    a, b, c, d = counts
    assert a < b < c < d and round(d - 7 * c + 14 * b - 8 * a) == 0


# --- against independent implementations, weights copied in order ---


def copy_in_order(source, target):
    """Body first, head last: this package's networks name their head before their body."""
    state = source.state_dict()
    body = [v for k, v in state.items() if not k.startswith("head_layer")]
    head = [v for k, v in state.items() if k.startswith("head_layer")]
    names = list(target.state_dict())
    target.load_state_dict(dict(zip(names, body + head, strict=True)))


def scramble(model):
    """Weights and batch statistics that are not the initial ones, so that each of them matters."""
    draws = torch.Generator().manual_seed(9)
    with torch.no_grad():
        for module in model.modules():
            if isinstance(module, nn.BatchNorm2d):
                for tensor in (module.weight, module.running_var):
                    tensor.uniform_(0.5, 1.5, generator=draws)
                for tensor in (module.bias, module.running_mean):
                    tensor.normal_(0, 0.2, generator=draws)
    return model


def test_resnet18_is_torchvisions_with_the_cifar_stem():
    ours = scramble(models.build("resnet18", seed=1))
    theirs = torchvision.models.resnet18(num_classes=10)
    theirs.conv1, theirs.maxpool = nn.Conv2d(3, 64, 3, 1, 1, bias=False), nn.Identity()
    copy_in_order(ours, theirs)
    with torch.no_grad():
        torch.testing.assert_close(ours.eval()(batch()), theirs.eval()(batch()), rtol=1e-4, atol=1e-4)
        torch.testing.assert_close(ours.train()(batch()), theirs.train()(batch()), rtol=1e-4, atol=1e-4)


def test_lenet_is_the_papers():
    ours = models.build("lenet", seed=1)
    theirs = nn.Sequential(
        nn.Conv2d(3, 6, 5), nn.ReLU(), nn.MaxPool2d(2), nn.Conv2d(6, 16, 5), nn.ReLU(), nn.MaxPool2d(2),
        nn.Flatten(), nn.Linear(400, 120), nn.ReLU(), nn.Linear(120, 84), nn.ReLU(), nn.Linear(84, 10),
    )  # fmt: skip
    copy_in_order(ours, theirs)
    with torch.no_grad():
        torch.testing.assert_close(ours(batch()), theirs(batch()), rtol=0, atol=1e-6)


def test_alexnet_is_the_papers():
    ours = models.build("alexnet", seed=1).eval()
    theirs = nn.Sequential(
        nn.Conv2d(3, 64, 3, padding=2), nn.ReLU(), nn.MaxPool2d(2),
        nn.Conv2d(64, 192, 3, padding=2), nn.ReLU(), nn.MaxPool2d(2),
        nn.Conv2d(192, 384, 3, padding=1), nn.ReLU(), nn.Conv2d(384, 256, 3, padding=1), nn.ReLU(),
        nn.Conv2d(256, 256, 3, padding=1), nn.ReLU(), nn.MaxPool2d(3, 2), nn.Flatten(),
        nn.Linear(4096, 2048), nn.ReLU(), nn.Linear(2048, 2048), nn.ReLU(), nn.Linear(2048, 10),
    )  # fmt: skip
    copy_in_order(ours, theirs)
    with torch.no_grad():
        torch.testing.assert_close(ours(batch()), theirs(batch()), rtol=0, atol=1e-5)
    assert [m.p for m in ours.modules() if isinstance(m, nn.Dropout)] == [0.6, 0.6]


def test_only_alexnet_in_training_draws_at_random():
    for name in NAMES:
        model = models.build(name, width=SMALL[name]).train()
        with torch.no_grad():
            assert torch.equal(model(batch()), model(batch())) == (name != "alexnet")


# --- errors ---


@pytest.mark.parametrize(
    "name, width, says",
    [
        ("resnet50", 64, "no model is called 'resnet50': there are resnet18, lenet, alexnet"),
        ("resnet18", 0, "width is 0"),
        ("alexnet", -4, "width is -4"),
        ("lenet", 32, "lenet has one size only: width is 32"),
    ],
)
def test_what_can_not_be_built_is_refused_in_one_sentence(name, width, says):
    with pytest.raises(ModelError) as fault:
        models.build(name, width=width)
    assert says in str(fault.value) and "\n" not in str(fault.value) and isinstance(fault.value, KdlibError)


@pytest.mark.parametrize("name", ["lenet", "alexnet"])
def test_pooling_before_relu_changes_no_bit_of_output_or_gradient(name, monkeypatch):
    """The published runs were made with ReLU first."""
    ours = models.build(name, width=SMALL[name]).eval()
    theirs = models.build(name, width=SMALL[name]).eval()
    if name == "lenet":
        pool = torch.nn.functional.max_pool2d
        with_relu_first = lambda x: pool(torch.nn.functional.relu(x), 2)  # noqa: E731
    else:
        layers = list(theirs.features)
        for i in [i for i, layer in enumerate(layers) if isinstance(layer, nn.MaxPool2d)]:
            layers[i], layers[i + 1] = layers[i + 1], layers[i]
        theirs.features = nn.Sequential(*layers)
    x, y = batch(16), torch.arange(16) % 10
    nn.functional.cross_entropy(ours(x), y).backward()
    if name == "lenet":
        monkeypatch.setattr(models, "max_pool", with_relu_first)
    nn.functional.cross_entropy(theirs(x), y).backward()
    assert torch.equal(ours(x), theirs(x))
    for a, b in zip(ours.parameters(), theirs.parameters(), strict=True):
        assert torch.equal(a.grad, b.grad) and a.grad.abs().sum() > 0


@pytest.mark.parametrize(
    "name, width, layout",
    [
        ("resnet18", 64, torch.channels_last),
        ("resnet18", 8, torch.channels_last),
        ("resnet18", 7, torch.contiguous_format),
        ("alexnet", 8, torch.channels_last),
        ("lenet", 64, torch.contiguous_format),
    ],
)
def test_networks_of_few_channels_keep_the_plain_layout(name, width, layout):
    assert models.build(name, width=width).layout == layout


@pytest.mark.parametrize("layout", [torch.contiguous_format, torch.channels_last])
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("levels", [2, 3, 1000])
def test_a_maximum_and_its_gradient_are_pytorchs_among_equals_too(levels, dtype, layout):
    """Black borders make whole squares of equal pixels: the first of them has the gradient."""
    draw = torch.Generator().manual_seed(levels)
    x = torch.randint(-levels, levels, (5, 3, 12, 8), generator=draw).to(dtype).contiguous(memory_format=layout)
    weights = torch.randn(5, 3, 6, 4, generator=draw).to(dtype)
    found = []
    for pool in (models.max_pool, lambda x: torch.nn.functional.max_pool2d(x, 2)):
        asked = x.clone().requires_grad_()
        with torch.no_grad():
            evaluated = pool(asked)
        pooled = pool(asked)
        pooled.backward(weights)
        found.append((pooled, evaluated, asked.grad))
    assert all(map(torch.equal, *found)) and torch.equal(*found[0][:2]) and found[0][2].count_nonzero() == 360


def test_the_uniform_teacher_says_nothing():
    model = models.build("uniform", classes=7)
    assert torch.equal(model(batch()), torch.zeros(4, 7))
    with pytest.raises(ModelError, match="one size"):
        models.build("uniform", width=2)
