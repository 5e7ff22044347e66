"""config/sdpo_demo.yaml: which variants there are, what tells them apart, and who waits for the pre-flight."""

from configurations import REGISTRIES, ROOT, flat, merged

from selfdistill.study.preflight import Preflight
from selfdistill.study.study import load_study

STUDY = load_study(merged(files=(*REGISTRIES, ROOT / "config" / "sdpo_demo.yaml")))
#: variant -> (hints.source, hints.feedback, reward.feedback_level, hints.shuffle_feedback)
CONTEXTS = {
    "sdpo-siblings": ("self_rollout", "never", None, False),
    "sdpo-feedback": ("self_rollout", "only_without_solution", None, False),
    "sdpo-both": ("self_rollout", "always", None, False),
    "sdpo-value": ("none", "always", None, False),
    "sdpo-place": ("none", "always", "place", False),
    "sdpo-verdict": ("none", "always", "verdict", False),
    "sdpo-shuffled": ("none", "always", None, True),
}


def settings(variant: str) -> dict:
    return flat(STUDY.resolve("wrong_facts", "tiny_qwen3", variant, 0))


def test_the_variants_differ_in_their_contexts_and_learning_rates_alone():
    assert [run.variant for run in STUDY.runs()] == ["base", "grpo", *CONTEXTS]
    found, others = {}, []
    for variant in CONTEXTS:
        run = settings(variant)
        keys = {"hints.source": None, "hints.feedback": "never", "reward.feedback_level": None}
        found[variant] = tuple(run.pop(key, default) for key, default in keys.items())
        found[variant] += (run.pop("hints.shuffle_feedback", False),)
        others.append({key: value for key, value in run.items() if key not in ("variant", "optimizer.learning_rate")})
    assert found == CONTEXTS
    assert all(other == others[0] for other in others)
    assert (others[0]["objective.alpha"], others[0]["objective.top_k"], others[0]["steps"]) == (0.5, 16, 20)
    assert (others[0]["hints.template"], others[0]["hints.mode"]) == ("sections", "solution")
    assert (others[0]["rollout.top_p"], others[0]["rollout.top_k"]) == (1.0, 0)


def test_what_shows_contexts_waits_for_the_pre_flight():
    cell = ("wrong_facts", "tiny_qwen3")
    asked = {v: STUDY.preflights.awaited(*cell, v) for v in ("grpo", *CONTEXTS)}
    assert asked == {"grpo": []} | {variant: [Preflight(*cell, "base")] for variant in CONTEXTS}
    assert STUDY.preflights.cells() == [Preflight(*cell, "base")]
    assert STUDY.preflights.awaited("arithmetic", "tiny_qwen3", "rlcsd") == []


def test_the_pre_flight_comes_before_the_training_that_waits_for_it(furnished):
    runs = "results/runs/wrong_facts/tiny_qwen3/{}/seed0/metrics.jsonl"
    config = ("--configfile", "config/sdpo_demo.yaml")
    waiting = furnished.planned(runs.format("sdpo-value"), *config)
    assert waiting["preflight wrong_facts/base"] == waiting["train wrong_facts/sdpo-value"] == 1
    assert not any(job.startswith("preflight") for job in furnished.planned(runs.format("grpo"), *config))
