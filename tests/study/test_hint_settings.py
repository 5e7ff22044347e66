import pytest

from selfdistill.study.hint_settings import CONTRASTS, PLUGINS, has_contrast
from selfdistill.study.matrix import Run


def runs(*variants, model="tiny"):
    return [Run("sums", model, variant, 0, variant.split("-")[0]) for variant in variants]


@pytest.mark.parametrize(
    "variants",
    [
        ("opsd", "opsd_ectr"),
        ("rlsd-own_rollout", "rlsd_ectr"),
        ("rlcsd-one_sided_solution", "grpo", "rlcsd"),
        ("rlcsd-v2", "rlcsd-v2-one_sided"),
    ],
)
def test_both_sides_of_one_method_make_a_contrast(variants):
    assert has_contrast(runs(*variants))


@pytest.mark.parametrize("variants", [("opsd", "rlsd_ectr"), ("opsd_ectr",), ("rlcsd", "grpo"), ()])
def test_one_side_alone_does_not(variants):
    assert not has_contrast(runs(*variants))


def test_sides_on_two_models_are_no_contrast():
    assert not has_contrast([*runs("opsd"), *runs("opsd_ectr", model="other")])


def test_one_sided_variants_come_first():
    shown = CONTRASTS[1].shown(["rlsd_ectr", "grpo", "rlsd-own_rollout", "rlsd"])
    assert shown == ["rlsd", "rlsd-own_rollout", "rlsd_ectr"]


def test_contrasts_are_the_hint_settings():
    assert [(*contrast.one_sided, contrast.contrastive) for contrast in CONTRASTS] == [each for _, each in PLUGINS]
    assert [contrast.metrics[0] for contrast in CONTRASTS] == ["actor/entropy", *["response/length_mean"] * 2] * 2
