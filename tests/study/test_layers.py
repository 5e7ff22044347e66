"""How the settings of a run are resolved: layers, presets, named variants, their order and hash."""

import random
import re

import pytest
import yaml
from configurations import REGISTRIES, ROOT, VERL, flat, in_layer, merged, refusal, resolved
from hypothesis import given, settings
from hypothesis import strategies as st
from snakemake.cli import parse_config

from selfdistill.study.layer_order import LAYERS
from selfdistill.study.study import config_hash, load_study


@pytest.mark.parametrize("stronger", range(1, len(LAYERS)))
def test_each_layer_beats_all_weaker_ones(stronger):
    texts = [in_layer(layer, {"weight_decay": 0.1 + 0.01 * i}) for i, layer in enumerate(LAYERS[: stronger + 1])]
    found = resolved("variants: {probe: {method: rlcsd}}", *texts, variant="probe")
    assert found["optimizer"]["weight_decay"] == 0.1 + 0.01 * stronger


AS_PUBLISHED = "overrides: {all: {preset: as_published}}"


#: Spec methods.md 14, switch by switch: (corrected, as_published).
FOR_ALL = {
    "rollout.importance_threshold": (2.0, None),
    "teacher.clock": ("training_steps", "optimizer_steps"),
    "optimizer.master_dtype": ("float32", "bfloat16"),
    "hints.lone_targets": ("keep", "drop"),
    "hints.truncation": ("hint_body", "left"),
    "reward.first_role_counts": (False, True),
    "preset": ("corrected", "as_published"),
}


ROLLOUT_MEAN = {"update.aggregation": ("tokens", "rollouts")}  # docs/departures.md D8: of all losses but grpo's


LIVE = {"teacher.kind": ("initial", "live")}  # docs/departures.md D1


FOR_ONE = {
    "grpo": {},
    "opsd": ROLLOUT_MEAN | LIVE,
    "sdpo": ROLLOUT_MEAN,
    "srpo": ROLLOUT_MEAN | {"objective.routing": ("verifier", "advantage_sign")},
    "rlsd": ROLLOUT_MEAN,
    "rlcsd": ROLLOUT_MEAN,
    "opsd_ectr": ROLLOUT_MEAN | LIVE,
    "rlsd_ectr": ROLLOUT_MEAN,
    "rlsd_add": ROLLOUT_MEAN,
    "rlsd_hybrid": ROLLOUT_MEAN,
    "opsd-own_rollout": ROLLOUT_MEAN | LIVE,
    "rlcsd-gt_cot": ROLLOUT_MEAN,
}


@pytest.mark.parametrize(("variant", "more"), [*((variant, "{}") for variant in FOR_ONE), ("opsd", VERL)])
def test_the_presets_differ_in_the_published_switches_and_in_nothing_else(variant, more):
    corrected, published = (flat(resolved(more, preset, variant=variant)) for preset in ("{}", AS_PUBLISHED))
    differing = {key: (corrected[key], published[key]) for key in corrected if corrected[key] != published[key]}
    assert differing == FOR_ALL | FOR_ONE[variant]


def test_the_preset_of_another_release_changes_nothing_of_official_sdpo():
    corrected, published = (flat(resolved(*texts, variant="sdpo_official")) for texts in ((), (AS_PUBLISHED,)))
    differing = {key for key in corrected if corrected[key] != published[key]}
    assert differing == {"preset", "reward.first_role_counts"}


LATER = ["tasks: {arithmetic: {run: S}}", "overrides: {all: S}", "variants: {v: {set: S}}"]


@pytest.mark.parametrize(
    ("method", "switch", "layer"),
    [("rlcsd", switch, LATER[i % 3]) for i, switch in enumerate(FOR_ALL) if switch != "preset"]
    + [("rlcsd", "update.aggregation", layer) for layer in LATER]
    + [("opsd", "teacher.kind", LATER[0]), ("srpo", "objective.routing", LATER[1])],
)
def test_a_later_layer_sets_one_switch_of_a_preset_back_and_no_other(method, switch, layer):
    section, key = switch.split(".")
    value = (FOR_ALL | FOR_ONE[method])[switch][0]
    text = layer.replace("S", yaml.safe_dump({section: {key: value}}, default_flow_style=True).strip())
    probe = f"{{matrix: {{tasks: [arithmetic], variants: [v]}}, variants: {{v: {{method: {method}}}}}}}"
    before, after = (flat(resolved(AS_PUBLISHED, probe, more, variant="v")) for more in ("{}", text))
    assert after[switch] == value
    assert {name for name in before if before[name] != after[name]} == {switch}


def test_published_values_win_over_what_a_preset_says_of_all_methods():
    kept = "methods: {rlcsd: {hints: {lone_targets: keep}}}"
    assert resolved(AS_PUBLISHED, kept)["hints"]["lone_targets"] == "keep"
    assert resolved(AS_PUBLISHED, kept, variant="opsd_ectr")["hints"]["lone_targets"] == "drop"


def test_any_layer_but_a_method_may_choose_the_preset_and_the_strongest_does():
    back = "variants: {v: {method: rlcsd, set: {preset: corrected}}}"
    assert resolved(AS_PUBLISHED, back, variant="v") == resolved(back, variant="v")
    ones = "overrides: {methods: {opsd: {preset: as_published}}}"
    assert resolved(ones, variant="opsd")["teacher"]["kind"] == "live"
    assert resolved(ones, variant="opsd_ectr")["teacher"]["kind"] == "initial"


@pytest.mark.parametrize("method", ["rlsd_add", "rlsd_hybrid"])
def test_published_values_reach_the_runs_that_the_papers_matrix_does_not_have(method):
    """Without the demo's overrides."""
    config = merged(files=REGISTRIES) | {"matrix": {"tasks": ["knights"], "models": ["tiny_qwen3"], "seeds": [0]}}
    config["matrix"]["variants"] = [method]
    run = flat(load_study(config).resolve("knights", "tiny_qwen3", method, 0))
    keys = ("teacher.kind", "hints.source", "hints.k_max", "optimizer.max_grad_norm", "update.kl_coef", "steps")
    assert [run[key] for key in keys] == ["snapshot", "gt_cot", 4, 1.0, 0.0, 480]


#: Spec methods.md 15: variant -> method, and all in which it differs from it.
VARIANTS = {
    "rlcsd-gt_cot": ("rlcsd", {"hints.source": "gt_cot"}),
    "rlcsd-one_sided_solution": ("rlcsd", {"objective.one_sided": True, "hints.source": "gt_cot"}),
    "opsd-own_rollout": ("opsd", {"hints.source": "self_rollout"}),
    "rlsd-own_rollout": ("rlsd", {"hints.source": "self_rollout"}),
    "rlcsd-one_sided_own_rollout": ("rlcsd", {"objective.one_sided": True}),
    "rlcsd-one_wrong_hint": ("rlcsd", {"hints.k_max": 1}),
    "rlcsd-self_hint": ("rlcsd", {"hints.allow_self": True}),
    "rlcsd-no_anchor": ("rlcsd", {"objective.anchor": False}),
    "rlcsd-single_path": ("rlcsd", {"objective.single_path": True}),
    "rlcsd-lr5e6": ("rlcsd", {"optimizer.learning_rate": 5e-6}),
    "grpo-lr5e6": ("grpo", {"optimizer.learning_rate": 5e-6}),
}


@pytest.mark.parametrize("variant", VARIANTS)
def test_a_variant_changes_what_its_name_says_and_nothing_else(variant):
    method, changes = VARIANTS[variant]
    plain, changed = flat(resolved(variant=method)), flat(resolved(variant=variant))
    assert {key: changed[key] for key in plain if plain[key] != changed[key]} == changes | {"variant": variant}


def test_no_variant_of_the_registry_is_left_out_of_these_tests():
    """Those of other studies are held by tests/workflow: test_paper_v2, test_sdpo_study, test_rlsd_study."""
    others = re.compile(r".*-v2|grpo-sdpo|sdpo_official-|.*-rlsd|rlsd-(paper|released)")
    named = {name: entry["method"] for name, entry in merged()["variants"].items() if not others.match(name)}
    assert named == {name: method for name, (method, _) in VARIANTS.items()}


def test_the_hint_settings_are_one_sided_on_a_solution_on_an_own_rollout_and_contrastive():
    one = [resolved(variant=name) for name in ("opsd", "rlsd", "rlcsd-one_sided_solution")]
    two = [resolved(variant=name) for name in ("opsd-own_rollout", "rlsd-own_rollout", "rlcsd-one_sided_own_rollout")]
    three = [resolved(variant=name) for name in ("opsd_ectr", "rlsd_ectr", "rlcsd")]
    assert {run["hints"]["source"] for run in one} == {"gt_cot"}
    assert {run["hints"]["source"] for run in (*two, *three)} == {"self_rollout"}
    assert not any(run["hints"]["allow_self"] for run in (*one, *two, *three))
    assert [run["objective"].get("one_sided") for run in (*one, *two, *three)] == [None, None, True] * 2 + [
        None,
        None,
        False,
    ]


COMMAND_LINE = [
    ("methods={rlcsd: {objective: {tau: 0.03}}}", ("objective", "tau"), 0.03),
    ("overrides={all: {optimizer: {learning_rate: 1e-4}}}", ("optimizer", "learning_rate"), 1e-4),
    ("overrides={all: {steps: 7}}", ("steps",), 7),
    ("overrides={all: {hints: {allow_self: true}}}", ("hints", "allow_self"), True),
    ("overrides={all: {rollout: {importance_threshold: null}}}", ("rollout", "importance_threshold"), None),
    ("overrides={methods: {rlcsd: {objective: {one_sided: true}}}}", ("objective", "one_sided"), True),
    ("defaults={rollout: {temperature: 1}}", ("rollout", "temperature"), 1.0),
    ("tasks={arithmetic: {run: {validation: {every: 5}}}}", ("validation", "every"), 5),
]


@pytest.mark.parametrize(("word", "path", "value"), COMMAND_LINE)
def test_every_layer_takes_values_from_the_command_line(word, path, value):
    """Snakemake hands everything nested over as text."""
    text = yaml.safe_dump(parse_config([word]))
    found = resolved(text) if "every" not in word else _without_override(text)
    for key in path:
        found = found[key]
    assert found == value
    assert type(found) is type(value)


def _without_override(text: str) -> dict:
    config = merged(text)
    del config["overrides"]["all"]["validation"]
    return load_study(config).resolve("arithmetic", "tiny_qwen3", "rlcsd", 0)


def _shuffled(node, rng: random.Random):
    if not isinstance(node, dict):
        return node
    items = [(key, _shuffled(value, rng)) for key, value in node.items()]
    rng.shuffle(items)
    return dict(items)


@settings(max_examples=4, deadline=None)
@given(seed=st.integers(0, 10**6))
def test_the_order_of_keys_changes_neither_settings_nor_hash(seed):
    config = merged()
    # Benchmarks name the validation file in their order, so theirs is kept.
    kept = {task: entry["benchmarks"] for task, entry in config["tasks"].items()}
    mixed = _shuffled(config, random.Random(seed))
    for task, benchmarks in kept.items():
        mixed["tasks"][task]["benchmarks"] = benchmarks
        if mixture := mixed["tasks"][task]["data"].get("mixture"):
            mixture["benchmarks"] = {name: mixture["benchmarks"][name] for name in benchmarks}
    runs = [load_study(c).resolve("knights", "tiny_qwen3", "rlcsd", 0) for c in (config, mixed)]
    assert repr(runs[0]) == repr(runs[1])  # Snakemake compares params as text
    assert config_hash(runs[0]) == config_hash(runs[1])


def test_a_number_has_one_hash_however_it_is_written():
    ways = ["1", "1.0", "'1'", "1e0"]
    texts = [f"overrides: {{methods: {{rlcsd: {{objective: {{beta: {way}}}}}}}}}" for way in ways]
    assert len({config_hash(resolved(text)) for text in texts}) == 1


@pytest.mark.parametrize(
    ("section", "key", "default", "other"),
    [("reward", "deviation", "sample", "population"), ("objective", "zero_advantage", "stays", "shifts")],
)
def test_a_setting_that_came_later_is_in_a_run_only_where_it_is_not_at_its_default(section, key, default, other):
    """So runs of before it keep their hashes, and their states."""
    text = f"overrides: {{methods: {{rlcsd: {{{section}: {{{key}: VALUE}}}}}}}}"
    plain, written, turned = resolved(), *(resolved(text.replace("VALUE", value)) for value in (default, other))
    assert key not in plain[section]
    assert written == plain
    assert turned[section][key] == other
    assert config_hash(turned) != config_hash(plain)


def test_every_part_of_a_run_changes_its_hash():
    study = load_study(merged("matrix: {seeds: [0, 1]}"))
    cells = [("arithmetic", v, s) for v in ("grpo", "rlcsd", "rlcsd-gt_cot") for s in (0, 1)] + [("knights", "grpo", 0)]
    hashes = {config_hash(study.resolve(task, "tiny_qwen3", variant, seed)) for task, variant, seed in cells}
    assert len(hashes) == len(cells)


def test_the_readme_says_which_presets_set_which_key():
    table = (ROOT / "config" / "README.md").read_text().split("### Presets")[1].split("### ")[0]
    switches = {key for part in (FOR_ALL, *FOR_ONE.values()) for key in part} - {"preset"}
    assert set(re.findall(r"`(\w+\.\w+): ", table)) == switches


def test_the_readme_lists_the_layers_in_their_order():
    readme = (ROOT / "config" / "README.md").read_text()
    passage = readme.split("## A run's settings and their layers")[1].split("\nThe result")[0]
    listed = re.findall(r"`((?:defaults|(?:presets|methods|tasks|models|overrides|variants)\.)[^`]*)`", passage)
    names = {name: f"<{name}>" for name in ("task", "model", "variant", "method", "preset")}
    names["implementation"] = "<implementation of the method>"
    assert listed == [".".join(layer.path(names)) for layer in LAYERS]


def test_an_edited_template_of_ones_own_is_another_run(tmp_path):
    path = tmp_path / "own.yaml"
    own, hashes = f"overrides: {{all: {{hints: {{template: '{path}'}}}}}}", set()
    for body in ("'{prompt}{solution}{answer}'", "'{prompt} {solution}{answer}'"):
        path.write_text(f"body: {body}\nsolution: '{{solution}}'\nanswer: '{{answer}}'")
        hashes.add(resolved(own)["hint_template_sha256"])
    assert len(hashes) == 2
    assert "hint_template_sha256" not in resolved()
    path.unlink()
    assert "own.yaml: cannot be read (No such file or directory)" in refusal(own)


def test_settings_of_a_grader_reach_evaluation_and_run_and_change_nothing_where_there_are_none():
    grading = "tasks: {arithmetic: {grader: code, grading: {feedback: case, memory_mb: 256, allow_unisolated: true}}}"
    expected = {"feedback": "case", "memory_mb": 256, "allow_unisolated": True}
    assert load_study(merged(grading)).evaluation("arithmetic")["grading"] == expected
    run = resolved(grading)
    assert (run["grader"], run["grading"], run["prompt"]) == ("code", expected, "own")
    assert "prompt" not in resolved(grading.replace("grader: code", "grader: code, prompt: boxed"))
    assert resolved("tasks: {arithmetic: {prompt: own}}") == {**resolved(), "prompt": "own"}
    assert {"grading", "prompt"}.isdisjoint(load_study(merged()).evaluation("arithmetic").keys() | resolved().keys())
    assert "memory_mb" in refusal("tasks: {arithmetic: {grading: {memory_gb: 1}}}")
