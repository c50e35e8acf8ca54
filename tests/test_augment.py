"""Augmentations: against torchvision's, by the shares that they promise, and what is no arm.

Images that code their own coordinates and number make every draw visible in the result.
"""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats
from torchvision.transforms import v2
from torchvision.transforms.v2 import functional as tv

from kdlib import KdlibError, augment
from kdlib.augment import AugmentError

FEW = settings(max_examples=30, deadline=None)
seeds = st.integers(0, 2**32 - 1)
counts = st.integers(1, 40)

MEAN, STD = torch.tensor([0.49, 0.48, 0.45]), torch.tensor([0.25, 0.24, 0.26])
ARMS = [
    (), ("crop_flip",), ("cutout",), ("mixup",), ("cutmix",), ("crop_flip", "cutout"), ("crop_flip", "mixup"),
    ("crop_flip", "cutmix"), ("cutout", "mixup"), ("crop_flip", "cutout", "cutmix"), ("mixup", "cutout"),
]  # fmt: skip


def generator(seed):
    return torch.Generator().manual_seed(seed)


def photos(n=16, seed=0):
    """uint8 (n, 32, 32, 3), noise without black."""
    return torch.randint(1, 256, (n, 32, 32, 3), generator=generator(seed), dtype=torch.uint8)


def coded(n):
    """uint8 (n, 32, 32, 3): each pixel holds its row + 1, its column + 1 and 100 + its image's number."""
    row, column = torch.meshgrid(torch.arange(1, 33), torch.arange(1, 33), indexing="ij")
    number = 100 + torch.arange(n).view(n, 1, 1).expand(n, 32, 32)
    return torch.stack([row.expand(n, 32, 32), column.expand(n, 32, 32), number], dim=3).to(torch.uint8)


def numbered(n):
    """float32 (n, 3, 32, 32), all pixels of an image its number + 1, and as labels the numbers."""
    number = torch.arange(n)
    return (number + 1.0).view(n, 1, 1, 1).expand(n, 3, 32, 32).contiguous(), number


def crops(n, seed):
    """The offsets and flips that crop_flip draws: lists of (top, left, mirrored)."""
    out, _ = augment.crop_flip(coded(n), torch.arange(n), generator(seed))
    centre, right = out[:, 16, 16].long(), out[:, 16, 17].long()
    mirrored = right[:, 1] < centre[:, 1]
    top = centre[:, 0] - 1 - 16 + 4
    left = torch.where(mirrored, centre[:, 1] - 1 - 15, centre[:, 1] - 1 - 16) + 4
    return list(zip(top.tolist(), left.tolist(), mirrored.tolist(), strict=True))


def rectangle(mask):
    """Top, bottom (exclusive), left, right (exclusive) of a boolean mask (H, W), which must be one full rectangle."""
    rows, columns = mask.any(1).nonzero().flatten().tolist(), mask.any(0).nonzero().flatten().tolist()
    box = rows[0], rows[-1] + 1, columns[0], columns[-1] + 1
    assert mask[box[0] : box[1], box[2] : box[3]].all() and mask.sum() == (box[1] - box[0]) * (box[3] - box[2])
    return box


def is_uniform(values, categories):
    observed = torch.bincount(torch.as_tensor(values).int(), minlength=categories).numpy()
    return len(observed) == categories and stats.chisquare(observed).pvalue > 1e-3


# --- crop and flip ---


@FEW
@given(seeds, counts)
def test_crop_flip_is_torchvisions_pad_crop_and_flip(seed, n):
    images = photos(n, seed)
    out, labels = augment.crop_flip(images, torch.arange(n), generator(seed))
    assert out.dtype == torch.uint8 and out.shape == images.shape and torch.equal(labels, torch.arange(n))
    for image, result, (top, left, mirrored) in zip(images, out, crops(n, seed), strict=True):
        expected = tv.crop(tv.pad(image.permute(2, 0, 1), [4], fill=0), top, left, 32, 32)
        expected = tv.horizontal_flip(expected) if mirrored else expected
        assert torch.equal(result.permute(2, 0, 1), expected)


def test_crop_flip_draws_each_offset_and_side_for_each_image_alike():
    top, left, mirrored = zip(*crops(150, 1), *crops(150, 2), *crops(150, 3), *crops(150, 4), strict=True)
    assert is_uniform(top, 9) and is_uniform(left, 9) and is_uniform(mirrored, 2)
    assert is_uniform([3 * (t // 3) + s // 3 for t, s in zip(top, left, strict=True)], 9)  # independent of each other


# --- Cutout ---


def holes(n, seed):
    images = torch.ones(n, 3, 32, 32)
    out, _ = augment.cutout(images, torch.arange(n), generator(seed))
    assert torch.equal(out[:, 0], out[:, 1]) and torch.equal(out[:, 0], out[:, 2])
    return [rectangle(hole) for hole in out[:, 0] == 0]


@FEW
@given(seeds)
def test_cutout_makes_one_hole_of_16_pixels_clipped_at_the_border(seed):
    for top, bottom, left, right in holes(20, seed):
        for start, end in ((top, bottom), (left, right)):
            assert end - start == 16 or (8 <= end - start < 16 and (start == 0 or end == 32))


def test_cutouts_centres_are_uniform_and_each_images_own():
    found = holes(1600, 0)
    assert is_uniform([top + 8 if top else bottom - 8 for top, bottom, _, _ in found], 32)
    assert is_uniform([left + 8 if left else right - 8 for _, _, left, right in found], 32)
    assert len(set(found)) > 600


def test_cutout_fills_with_the_mean_colour_and_changes_nothing_else():
    images, labels = photos(20), torch.arange(20)
    out, same = augment.augment(images, labels, ("cutout",), MEAN, STD, generator(0))
    plain = augment.normalise(images, MEAN, STD)
    hole = (out == 0).all(1, keepdim=True)
    assert hole.any() and torch.equal(out, torch.where(hole, 0.0, plain))
    assert same is labels
    shown = out.permute(0, 2, 3, 1) * STD + MEAN  # pixel values in 0..1
    assert torch.equal(shown[hole[:, 0]], MEAN.expand(int(hole.sum()), 3))


# --- MixUp ---


@FEW
@given(seeds, counts)
def test_mixup_blends_each_image_with_its_partner(seed, n):
    images, labels = torch.randn(n, 3, 32, 32, generator=generator(seed)), torch.arange(n)
    out, (y_a, y_b, lam) = augment.mixup(images, labels, generator(seed))
    assert lam.shape == () and 0 <= lam <= 1
    assert torch.equal(y_a, labels) and torch.equal(y_b.sort().values, labels)
    torch.testing.assert_close(out, images[y_b] + lam * (images - images[y_b]), rtol=0, atol=1e-5)


def test_mixups_share_is_beta_1_1():
    images, labels = numbered(2)
    shares = [float(augment.mixup(images, labels, generator(seed))[1][2]) for seed in range(500)]
    assert stats.kstest(shares, stats.beta(1, 1).cdf).pvalue > 1e-3


# --- CutMix ---


def pasted(n, seed):
    """The box (32, 32) that holds other images' pixels (all of it where each image has another partner), and lam."""
    images, labels = numbered(n)
    out, (y_a, y_b, lam) = augment.cutmix(images, labels, generator(seed))
    assert torch.equal(y_a, labels) and torch.equal(y_b.sort().values, labels)
    others = y_a != y_b
    foreign = out != images
    expected = foreign[others][0, 0] if others.any() else torch.zeros(32, 32, dtype=torch.bool)
    assert torch.equal(foreign[others], expected.expand(int(others.sum()), 3, 32, 32))  # one box a batch
    assert torch.equal(out[:, :, expected], images[y_b][:, :, expected])
    return expected, lam, bool(others.any())


@settings(max_examples=80, deadline=None)
@given(seeds, st.integers(2, 12))
def test_released_code_bug_lambda_is_one_minus_the_pasted_area(seed, n):
    """Not the share that was drawn: the box is whole pixels and clipped at the border."""
    box, lam, visible = pasted(n, seed)
    if visible:
        assert lam.dtype == torch.float32 and float(lam) == 1 - int(box.sum()) / 1024


@FEW
@given(seeds)
def test_cutmixs_box_has_the_drawn_side_and_is_clipped(seed):
    drawn = float(torch.rand((), generator=generator(seed)))  # 1 - lam, the first draw
    box, _, visible = pasted(8, seed)
    half = int(32 * drawn**0.5) // 2
    if visible and box.any():
        top, bottom, left, right = rectangle(box)
        for start, end in ((top, bottom), (left, right)):
            assert end - start == 2 * half or (half <= end - start < 2 * half and (start == 0 or end == 32))
    else:
        assert not visible or half == 0


def test_cutmix_mixes_every_batch_and_its_boxes_lie_everywhere():
    found = [pasted(8, seed)[:2] for seed in range(400)]
    assert sum(float(lam) == 1 for _, lam in found) < 8  # a box under two pixels wide is empty: 1 in 256
    covered = torch.stack([box for box, _ in found]).float().mean(0)
    assert covered.min() > 0.05 and covered[16, 16] > covered[0, 0]
    shares = [1 - float(lam) for _, lam in found]
    assert 0.25 < sum(shares) / len(shares) < 0.45  # half is drawn, a part of it lost at the border


# --- compositions ---


@pytest.mark.parametrize("arm", ARMS, ids=augment.label)
def test_every_arm_gives_a_network_its_input(arm):
    images, labels = photos(), torch.arange(16)
    before = images.clone()
    x, y = augment.augment(images, labels, arm, MEAN, STD, generator(0))
    assert x.shape == (16, 3, 32, 32) and x.dtype == torch.float32 and x.isfinite().all()
    assert torch.equal(images, before) and torch.equal(labels, torch.arange(16))
    if {"mixup", "cutmix"} & set(arm):
        y_a, y_b, lam = y
        assert torch.equal(y_a, labels) and torch.equal(y_b.sort().values, labels) and 0 <= lam <= 1
    else:
        assert torch.equal(y, labels)


@pytest.mark.parametrize("arm", ARMS[1:], ids=augment.label)
def test_a_generators_seed_decides_the_batch_and_nothing_else_does(arm):
    def batch(seed):
        return augment.augment(photos(), torch.arange(16), arm, MEAN, STD, generator(seed))[0]

    torch.manual_seed(1)
    first = batch(7)
    torch.manual_seed(2)
    assert torch.equal(first, batch(7)) and not torch.equal(first, batch(8))


def test_no_augmentation_is_normalisation():
    images = photos()
    x, _ = augment.augment(images, torch.arange(16), (), MEAN, STD, generator(0))
    reference = v2.Compose([v2.ToDtype(torch.float32, scale=True), v2.Normalize(MEAN.tolist(), STD.tolist())])
    torch.testing.assert_close(x, reference(images.permute(0, 3, 1, 2)), rtol=0, atol=1e-5)


def test_crop_flip_then_cutmix_pastes_cropped_images():
    n, black = 12, torch.zeros(3)
    unit = torch.full((3,), 1 / 255)  # normalised values are the pixels' own
    x, (_, y_b, lam) = augment.augment(coded(n), torch.arange(n), ("crop_flip", "cutmix"), black, unit, generator(3))
    number = x[:, 2].round().long() - 100
    seen = number >= 0  # black came in elsewhere
    other = (y_b != torch.arange(n))[:, None, None]
    own = number == torch.arange(n)[:, None, None]
    foreign = seen & ~own
    assert (foreign == (seen & (number == y_b[:, None, None]) & other)).all() and foreign.any()
    top, bottom, left, right = rectangle(foreign.any(0))
    assert float(lam) == 1 - (bottom - top) * (right - left) / 1024
    assert not torch.equal(x[0, :2], x[1, :2])  # cropped each in its own way


def test_cutout_then_mixup_blends_the_holes():
    images = torch.ones(8, 3, 32, 32)
    draws = generator(5)
    cut, labels = augment.cutout(images, torch.arange(8), draws)
    x, (_, y_b, lam) = augment.mixup(cut, labels, draws)
    hole = cut[:, :1] == 0
    share = lam * ~hole + (1 - lam) * ~hole[y_b]
    torch.testing.assert_close(x, share.expand_as(x), rtol=0, atol=1e-6)


def test_cutout_after_mixup_keeps_the_mixed_labels():
    x, (y_a, y_b, lam) = augment.augment(photos(), torch.arange(16), ("mixup", "cutout"), MEAN, STD, generator(0))
    assert ((x == 0).all(1).flatten(1).sum(1) >= 64).all()  # at least a quarter of the hole, in each blended image


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs CUDA")
@pytest.mark.parametrize("arm", ARMS, ids=augment.label)
def test_no_arm_waits_for_the_gpu(arm):
    images, labels, mean, std = photos().cuda(), torch.arange(16).cuda(), MEAN.cuda(), STD.cuda()
    draws = torch.Generator("cuda").manual_seed(0)
    torch.cuda.set_sync_debug_mode("error")
    try:
        augment.augment(images, labels, arm, mean, std, draws)
    finally:
        torch.cuda.set_sync_debug_mode("default")


# --- names ---


@given(st.sampled_from(ARMS))
def test_an_arms_text_names_it(arm):
    assert augment.parse(augment.label(arm)) == arm


@pytest.mark.parametrize(
    "text, says",
    [
        ("cutmx", "no augmentation is called 'cutmx'"),
        ("", "no augmentation is called ''"),
        ("crop_flip+", "no augmentation is called ''"),
        ("Cutout", "no augmentation is called 'Cutout'"),
        ("none+cutmix", "no augmentation is called 'none'"),
        ("cutout+cutout", "names one augmentation twice"),
        ("mixup+cutmix", "mixes twice"),
        ("cutout+crop_flip", "must come first"),
    ],
)
def test_what_is_no_arm_is_refused_in_one_sentence(text, says):
    with pytest.raises(AugmentError) as fault:
        augment.parse(text)
    assert says in str(fault.value) and "\n" not in str(fault.value) and isinstance(fault.value, KdlibError)
