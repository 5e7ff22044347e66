"""config/findings.yaml: each control takes one thing away and leaves the rest, and the page asks for what there is."""

import pytest
from configurations import REGISTRIES, ROOT, flat, merged

from selfdistill.files import sha256_file
from selfdistill.study.study import load_study

STUDY = load_study(merged(files=(*REGISTRIES, ROOT / "config" / "findings.yaml")))
#: variant -> what it has otherwise than rlcsd, or than grpo.
CHANGES = {
    "rlcsd-permuted": {"controls.evidence": "permuted_in_rollouts"},
    "rlcsd-permuted_in_batch": {"controls.evidence": "permuted_in_batch"},
    "rlcsd-random_signs": {"controls.random_signs": True},
    "rlcsd-random_tokens": {"controls.evidence": "permuted_in_rollouts", "controls.random_signs": True},
    "rlcsd-noise": {"controls.evidence": "noise"},
    "rlcsd-misaligned": {"controls.misaligned_rows": 8},
    "rlcsd-other_problems": {"controls.wrong_hints": "other_problems"},
    "rlcsd-wrong_as_correct": {"controls.correct_hint": "wrong"},
    "rlcsd-empty_hints": {"controls.empty_hints": True},
    "rlcsd-live": {"teacher.kind": "live"},
    "rlcsd-k1": {"hints.k_max": 1},
    "rlcsd-k2": {"hints.k_max": 2},
    "rlcsd-shuffled": {"reward.shuffle": True},
    "grpo-shuffled": {"reward.shuffle": True},
    "rlcsd-lr_x5": {"optimizer.learning_rate": 3e-4},
    "grpo-lr_x5": {"optimizer.learning_rate": 3e-4},
    "rlcsd-single_path": {"objective.single_path": True},
    "rlcsd-permuted-single_path": {"controls.evidence": "permuted_in_rollouts", "objective.single_path": True},
    "rlcsd-tau1.3": {"objective.tau": 1.3},
    "rlcsd-eta0.5": {"objective.eta": 0.5},
    "rlcsd-initial": {"teacher.kind": "initial"},
    "rlcsd-gt_cot": {"hints.source": "gt_cot"},
    "rlcsd-shifts": {"objective.zero_advantage": "shifts"},
    "rlcsd-population": {"reward.deviation": "population"},
    "rlcsd-rollout_means": {"update.aggregation": "rollouts"},
}


@pytest.mark.parametrize("variant", CHANGES)
def test_a_control_changes_what_it_is_named_for_alone(variant):
    method = variant.partition("-")[0]
    plain, changed = (flat(STUDY.resolve("slips", "tiny_qwen3", name, 0)) for name in (method, variant))
    different = {name for name in plain.keys() | changed.keys() if plain.get(name) != changed.get(name)} - {"variant"}
    assert {name: changed[name] for name in different if not name.startswith("teacher.sync")} == CHANGES[variant]


def test_the_parts_are_all_that_version_2_has_otherwise_than_version_1():
    plain, second = (flat(STUDY.resolve("slips", "tiny_qwen3", name, 0)) for name in ("rlcsd", "rlcsd-v2"))
    different = {name for name in plain.keys() | second.keys() if plain.get(name) != second.get(name)} - {"variant"}
    parts = ("tau1.3", "eta0.5", "initial", "gt_cot", "shifts", "population", "rollout_means")
    asked = {name: value for part in parts for name, value in CHANGES[f"rlcsd-{part}"].items()}
    assert {name: second[name] for name in different if not name.startswith("teacher.sync")} == asked


def test_the_five_times_rate_is_five_times_the_rate():
    rates = [
        STUDY.resolve("slips", "tiny_qwen3", name, 0)["optimizer"]["learning_rate"] for name in ("grpo", "grpo-lr_x5")
    ]
    assert rates[1] == pytest.approx(5 * rates[0])


def test_every_run_waits_for_the_gate_and_both_bases_are_as_recorded():
    assert {(each.task, each.variant) for each in STUDY.preflights.cells()} == {
        ("slips", "base"),
        ("slips_unread", "base"),
    }
    model = STUDY.config["models"]["tiny_qwen3"]
    for task in ("slips", "slips_unread"):
        for variant in ("grpo", "rlcsd"):
            assert len(STUDY.preflights.awaited(task, "tiny_qwen3", variant)) == 1
        assert sha256_file(ROOT / model["folder"] / task / "model.safetensors") == model["sha256"][task]


def test_the_same_variants_run_on_another_base_by_config_alone():
    """On the 135M model's sums a control still changes what it is named for; rates are five times the task's."""
    files = (*REGISTRIES, ROOT / "config" / "findings.yaml", ROOT / "config" / "findings_small.yaml")
    study = load_study(merged(files=files))
    assert {(run.task, run.model) for run in study.runs()} == {("sums", "smollm2_135m")}
    assert {run.variant for run in study.runs()} == {run.variant for run in STUDY.runs()}
    for variant, changes in CHANGES.items():
        plain, changed = (
            flat(study.resolve("sums", "smollm2_135m", name, 0)) for name in (variant.partition("-")[0], variant)
        )
        for name, value in changes.items():
            if name == "optimizer.learning_rate":
                assert changed[name] == pytest.approx(5 * plain[name])
            else:
                assert changed[name] == value
