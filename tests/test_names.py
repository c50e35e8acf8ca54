"""Names: every id of the profiles has one, nothing else is called like it, what is unknown is its own name."""

import pytest

from kdlib import extensions, study
from kdlib.results import names
from kdlib.results.frame import COLUMNS


@pytest.mark.parametrize("profile", study.PROFILES)
def test_every_id_of_a_profile_has_a_name(profile):
    settings = study.settings("students", profile)
    assert {"+".join(a) or "none" for a in settings.augmentations} <= set(names.AUGMENTATIONS)
    assert {settings.teacher, *settings.students} <= set(names.NETWORKS)
    assert set(settings.reductions) <= set(names.LOSSES)
    assert (settings.dataset, "test") in names.TEST_SETS


def test_no_two_ids_are_called_alike():
    for known in (names.AUGMENTATIONS | names.CONTROLS, names.NETWORKS, names.LOSSES, names.TEST_SETS):
        assert len(set(known.values())) == len(known)


def test_composed_and_unknown_ids():
    assert names.augmentation_name("crop_flip+mixup") == "crop and flip + MixUp"
    assert names.augmentation_name("invert") == "invert"
    assert names.network_name("tiny") == "tiny" and names.loss_name("own") == "the loss own"
    assert names.test_set_name("shapes", "shifted") == "shapes, shifted set"


def test_the_columns_that_have_titles_are_columns():
    shown = {*COLUMNS, "measure", "test_set", "by"}
    assert set(names.COLUMNS) <= shown


def test_no_extension_can_take_the_name_of_a_control():
    assert set(extensions.RESERVED) == {names.BASELINE, *names.CONTROLS}
