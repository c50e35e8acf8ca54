"""Every id of the study and what it is called on a page, each once.

An id is what specs, files and frames hold (`crop_flip`, `lenet`, `batchmean`); a name is what a reader sees. Ids that
this file does not know, such as those of extensions, are their own names.
"""

from collections.abc import Iterable

from kdlib.causes import PROTOCOL

BASELINE = "none"
AUGMENTATIONS = {
    "none": "none (baseline)",
    "crop_flip": "crop and flip",
    "cutout": "Cutout",
    "mixup": "MixUp",
    "cutmix": "CutMix",
}
CONTROLS = {
    "alone": "no teacher",
    "smoothed": "no teacher, labels smoothed",
    "random": "random teacher",
    "uniform": "uniform teacher",
}
NETWORKS = {"resnet18": "ResNet-18", "lenet": "LeNet", "alexnet": "AlexNet"}
LOSSES = {"batchmean": "formula", "mean": "released code"}  # the forms of the distillation loss
TEST_SETS = {  # ours, by data set and split
    ("cifar10", "test"): "CIFAR-10",
    ("cifar10", "shifted"): "CINIC-10",
    ("mnist", "test"): "MNIST",
    ("digits", "test"): "digits",
    ("digits", "shifted"): "corrupted digits",
}
PAPER_TEST_SETS = {"cifar10": "CIFAR-10", "cinic10": "CINIC-10", "mnist": "MNIST"}  # by their id in paper.csv
COLUMNS = {"test_set": "Test set", "teacher_augmentation": "Teacher's augmentation"}  # not called as they are named


def augmentation_name(augmentation: str) -> str:
    """How an augmentation, or a control in its place, is called on a page.

    >>> augmentation_name("crop_flip+cutmix"), augmentation_name("alone")
    ('crop and flip + CutMix', 'no teacher')
    """
    whole = AUGMENTATIONS | CONTROLS
    return whole.get(augmentation) or " + ".join(whole.get(part, part) for part in augmentation.split("+"))


def change_name(change: str) -> str:
    """How a change of a student's training is called on a page.

    >>> change_name("epochs=12+targets=one_scale"), change_name("")
    ('epochs 12, targets one_scale', 'as it is')
    >>> change_name(f"{PROTOCOL}+reduction=mean")
    'released protocol, reduction mean'
    """
    return change.replace(PROTOCOL, "released protocol").replace("+", ", ").replace("=", " ") or "as it is"


def network_name(network: str) -> str:
    return NETWORKS.get(network, network)


def loss_name(loss: str) -> str:
    """How a form of the loss is called in a sentence.

    >>> loss_name("mean")
    "the released code's loss"
    """
    return f"the {LOSSES[loss]}'s loss" if loss in LOSSES else f"the loss {loss}"


def test_set_name(dataset: str, split: str) -> str:
    """How a test set of ours is called: `split` is `test` or `shifted`."""
    return TEST_SETS.get((dataset, split), f"{dataset}, {split} set")


def change_titles(changes: Iterable[str], networks: Iterable[str]) -> list[str]:
    """The names of changes, each after its network's where there are several.

    >>> change_titles(["", "epochs=12"], ["lenet", "alexnet"])
    ['LeNet, as it is', 'AlexNet, epochs 12']
    """
    pairs = list(zip(changes, networks, strict=True))
    several = len({network for _, network in pairs}) > 1
    return [f"{network_name(network)}, {change_name(one)}" if several else change_name(one) for one, network in pairs]


def listing(items: Iterable) -> str:
    """Items as a sentence lists them.

    >>> listing([0, 1, 2])
    '0, 1 and 2'
    """
    *first, last = map(str, items)
    return f"{', '.join(first)} and {last}" if first else last
