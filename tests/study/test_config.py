"""Resolution of a run's settings: layers, refusals, digests. Nothing here starts Snakemake."""

import copy
import dataclasses
import functools
import hashlib
import random
import re
import subprocess
import sys
from pathlib import Path

import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st
from snakemake.cli import parse_config
from snakemake.utils import update_config

from selfdistill.errors import UserError
from selfdistill.files import sha256_file
from selfdistill.schemas import schema
from selfdistill.study.matrix import BASE
from selfdistill.study.study import config_hash, load_study
from selfdistill.training.local.settings import LocalSettings

ROOT = Path(__file__).parents[2]
REGISTRIES = [ROOT / "config" / f"{name}.yaml" for name in ("defaults", "models", "methods", "tasks")]
DEMO = ROOT / "config" / "demo.yaml"
ABLATIONS = ROOT / "config" / "ablations.yaml"
TASKS = ("arithmetic", "knights")
AS_PUBLISHED = "overrides: {all: {preset: as_published}}"


def merged(*texts: str, files=(*REGISTRIES, DEMO)) -> dict:
    """The config as Snakemake merges it: files, then more YAML on top."""
    config = {}
    for text in [*(Path(file).read_text() for file in files), *texts]:
        update_config(config, copy.deepcopy(_parsed(text)))
    return config


@functools.cache
def _parsed(text: str) -> dict:
    return yaml.safe_load(text)


def resolved(*texts: str, variant="rlcsd", task="arithmetic", seed=0) -> dict:
    return load_study(merged(*texts)).resolve(task, "tiny_qwen3", variant, seed)


def refusal(*texts: str) -> str:
    with pytest.raises(UserError) as caught:
        load_study(merged(*texts))
    return str(caught.value)


LAYERS = [
    ("defaults: {optimizer: {weight_decay: 0.10}}", 0.10),
    ("presets: {corrected: {all: {optimizer: {weight_decay: 0.11}}}}", 0.11),
    ("methods: {rlcsd: {optimizer: {weight_decay: 0.12}}}", 0.12),
    ("presets: {corrected: {implementations: {rlcsd: {optimizer: {weight_decay: 0.125}}}}}", 0.125),
    ("tasks: {arithmetic: {run: {optimizer: {weight_decay: 0.13}}}}", 0.13),
    ("models: {tiny_qwen3: {run: {optimizer: {weight_decay: 0.14}}}}", 0.14),
    ("overrides: {all: {optimizer: {weight_decay: 0.15}}}", 0.15),
    ("overrides: {tasks: {arithmetic: {optimizer: {weight_decay: 0.16}}}}", 0.16),
    ("overrides: {methods: {rlcsd: {optimizer: {weight_decay: 0.17}}}}", 0.17),
    ("variants: {probe: {method: rlcsd, set: {optimizer: {weight_decay: 0.18}}}}", 0.18),
]


@pytest.mark.parametrize("stronger", range(1, len(LAYERS)))
def test_each_layer_beats_all_weaker_ones(stronger):
    texts = ["variants: {probe: {method: rlcsd}}", *(text for text, _ in LAYERS[: stronger + 1])]
    assert resolved(*texts, variant="probe")["optimizer"]["weight_decay"] == LAYERS[stronger][1]


def flat(settings: dict, prefix: str = "") -> dict:
    """Dotted key -> value."""
    result = {}
    for key, value in settings.items():
        result |= flat(value, f"{prefix}{key}.") if isinstance(value, dict) else {f"{prefix}{key}": value}
    return result


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
ROLLOUT_MEAN = {"update.aggregation": ("tokens", "rollouts")}  # spec D8: of all losses but grpo's
LIVE = {"teacher.kind": ("initial", "live")}  # spec D1
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


@pytest.mark.parametrize("task", TASKS)
@pytest.mark.parametrize("variant", FOR_ONE)
def test_the_presets_differ_in_the_published_switches_and_in_nothing_else(variant, task):
    corrected = flat(resolved(variant=variant, task=task))
    published = flat(resolved(AS_PUBLISHED, variant=variant, task=task))
    differing = {key: (corrected[key], published[key]) for key in corrected if corrected[key] != published[key]}
    assert differing == FOR_ALL | FOR_ONE[variant]


@pytest.mark.parametrize("layer", ["tasks: {arithmetic: {run: S}}", "overrides: {all: S}", "variants: {v: {set: S}}"])
@pytest.mark.parametrize(
    ("method", "switch"),
    [("rlcsd", switch) for switch in FOR_ALL if switch != "preset"]
    + [("rlcsd", "update.aggregation"), ("opsd", "teacher.kind"), ("srpo", "objective.routing")],
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


GRPO = {"epsilon_low": 0.2, "epsilon_high": 0.2, "dual_clip": 3.0}
JSD = {"alpha": 0.5, "is_clip": 2.0, "top_k": 100, "tail": True}
FORWARD_KL = {"beta": 0.0, "token_clip": 0.05, "top_k": 100, "tail": True}
ANNEALED = {"epsilon_low": 0.2, "epsilon_high": 0.2, "lam": 0.5, "lam_decay_steps": 50}
RESIDUAL = {"tau": 0.02, "beta": 1.0, "lam": 0.5, "delta": 0.02, "eta": 1.0}
CLIPS = {"epsilon": 0.2, "residual_clip_low": -2.0, "residual_clip_high": 2.0}
PLAIN = {"one_sided": False, "anchor": True, "single_path": False}
#: Objective; teacher; source and k_max of hints (4 where no wrong hints are read); gradient clip; KL coefficient.
PUBLISHED = {
    "grpo": (GRPO, "none", "none", 4, 1.0, 0.001),
    "opsd": (FORWARD_KL | {"full_distribution": True}, "initial", "gt_cot", 4, 0.1, 0.0),
    "sdpo": (JSD | {"full_distribution": True}, "ema", "gt_cot", 4, 1.0, 0.0),
    "srpo": (JSD | {"entropy_beta": 1.0, "routing": "verifier"} | GRPO, "ema", "gt_cot", 4, 1.0, 0.0),
    "rlsd": (ANNEALED | {"epsilon_w": 0.2, "form": "interpolated"}, "snapshot", "gt_cot", 4, 1.0, 0.0),
    "rlcsd": (RESIDUAL | CLIPS | PLAIN, "snapshot", "self_rollout", 4, 1.0, 0.0),
    "opsd_ectr": (
        FORWARD_KL | {"ectr_alpha": 0.5, "log_w_floor": -5.0, "cw_tau": 1.0},
        *("initial", "self_rollout", 1, 0.1, 0.001),
    ),
    "rlsd_ectr": (ANNEALED | {"epsilon_w": 0.2}, "snapshot", "self_rollout", 1, 1.0, 0.001),
    "rlsd_add": (ANNEALED | {"evidence_clip": 2.0}, "snapshot", "gt_cot", 4, 1.0, 0.0),
    "rlsd_hybrid": (
        ANNEALED | {"epsilon_w": 0.2, "alpha": 0.7, "beta": 0.3, "evidence_clip": 2.0},
        *("snapshot", "gt_cot", 4, 1.0, 0.0),
    ),
}


@pytest.mark.parametrize("method", PUBLISHED)
def test_published_values_reach_a_run(method):
    """Without the demo's overrides; the values of the released run configs of arXiv 2606.11709 and of the note."""
    config = merged(files=REGISTRIES) | {"matrix": {"tasks": ["knights"], "models": ["tiny_qwen3"], "seeds": [0]}}
    config["matrix"]["variants"] = [method]
    run = load_study(config).resolve("knights", "tiny_qwen3", method, 0)
    objective, teacher, source, k_max, max_grad_norm, kl_coef = PUBLISHED[method]
    assert run["objective"] == objective
    assert (run["teacher"]["kind"], run["hints"]["source"], run["hints"]["k_max"]) == (teacher, source, k_max)
    assert (run["optimizer"]["max_grad_norm"], run["update"]["kl_coef"]) == (max_grad_norm, kl_coef)
    assert (run["teacher"]["sync_interval"], run["teacher"]["ema_decay"]) == (10, 0.95)
    assert (run["hints"]["mode"], run["optimizer"]["warmup_steps"], run["steps"]) == ("solution_answer", 50, 480)


def test_every_method_of_the_registry_is_held_to_its_published_values():
    assert set(PUBLISHED) == set(merged(files=REGISTRIES)["methods"]) == set(schema("objectives")["properties"])


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
    assert {name: entry["method"] for name, entry in merged()["variants"].items()} == {
        name: method for name, (method, _) in VARIANTS.items()
    }


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


@pytest.mark.parametrize(
    ("text", "layer"), [(text.replace("weight_decay", "weight_dekay"), text) for text, _ in LAYERS]
)
def test_an_unknown_key_is_refused_in_every_layer(text, layer):
    said = refusal(text)
    section = ".".join(_path(yaml.safe_load(text)))
    assert f"{section}: unknown key 'weight_dekay'; the nearest valid key is 'weight_decay'" in said


def _path(node: dict) -> list[str]:
    """Keys down to the section that holds the last key."""
    key, value = list(node.items())[-1]
    return [key, *_path(value)] if isinstance(value, dict) else []


@pytest.mark.parametrize(
    ("text", "section"),
    [
        ("methods: {rlcsd: {objective: {tua: 0.03}}}", "methods.rlcsd.objective"),
        ("overrides: {methods: {rlcsd: {objective: {tua: 0.03}}}}", "overrides.methods.rlcsd.objective"),
        ("variants: {rlcsd-gt_cot: {set: {objective: {tua: 0.03}}}}", "variants.rlcsd-gt_cot.set.objective"),
    ],
)
def test_an_unknown_objective_key_is_refused(text, section):
    texts = (text, "matrix: {variants: [rlcsd, rlcsd-gt_cot]}")
    assert f"{section}: unknown key 'tua'; the nearest valid key is 'tau'" in refusal(*texts)


def test_an_objective_key_of_another_method_is_refused_and_the_method_named():
    said = refusal("overrides: {all: {objective: {tau: 0.03}}}")
    assert "overrides.all.objective: unknown key 'tau'" in said
    assert "method grpo" in said


def test_a_method_must_name_all_its_objective_keys():
    config = merged()
    del config["methods"]["grpo"]["objective"]["dual_clip"]
    with pytest.raises(UserError, match=r"methods\.grpo\.objective.*'dual_clip'"):
        load_study(config)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        (
            "matrix: {tasks: [arithmetik]}",
            "matrix.tasks: unknown task 'arithmetik'; the nearest known one is 'arithmetic'",
        ),
        ("matrix: {models: [tiny]}", "matrix.models: unknown model 'tiny'; the nearest known one is 'tiny_qwen3'"),
        ("matrix: {variants: [rlcds]}", "matrix.variants: unknown variant 'rlcds'; the nearest known one is 'rlcsd'"),
        ("variants: {x: {method: gpro}}", "variants.x.method: unknown method 'gpro'; the nearest known one is 'grpo'"),
        ("overrides: {methods: {gpro: {steps: 1}}}", "overrides.methods: unknown method 'gpro'"),
        ("overrides: {tasks: {knigths: {steps: 1}}}", "overrides.tasks: unknown task 'knigths'"),
        (
            "methods: {rlcsd: {implementation: rlcds}}",
            "unknown implementation 'rlcds'; the nearest known one is 'rlcsd'",
        ),
        (
            "presets: {as_published: {implementations: {spro: {steps: 1}}}}",
            "presets.as_published.implementations: unknown implementation 'spro'; the nearest known one is 'srpo'",
        ),
        (
            "presets: {as_published: {teecher: {kind: live}}}",
            "presets.as_published: unknown key 'teecher'; the nearest valid key is",
        ),
        (
            "overrides: {methods: {sdpo: {objective: {full_distribution: false}}}}",
            "run arithmetic/tiny_qwen3/sdpo: objective.full_distribution false needs objective.alpha 1, found 0.5",
        ),
        (
            "overrides: {methods: {opsd: {objective: {beta: 1.5}}}}",
            "opsd.objective.beta: expected at most 1, found 1.5",
        ),
        (
            "overrides: {methods: {srpo: {objective: {routing: sign}}}}",
            "expected one of verifier, advantage_sign, found",
        ),
        (
            "overrides: {all: {teacher: {kind: frozen}}}",
            "expected one of none, initial, live, snapshot, ema, trust_region",
        ),
        ("overrides: {all: {guards: {null_contrast_rollouts: -1}}}", "null_contrast_rollouts: expected at least 0"),
        ("metrix: 1", "top level: unknown key 'metrix'; the nearest valid key is 'matrix'"),
        ("overrides: {all: {steps: many}}", "overrides.all.steps: expected a value of type integer, found 'many'"),
        ("overrides: {all: {steps: 0}}", "overrides.all.steps: expected at least 1, found 0"),
        ("overrides: {all: {rollout: {engine: vllm}}}", "expected one of own, transformers, found 'vllm'"),
        ("overrides: {all: {rollout: {prompts_per_step: 15}}}", "15 is no multiple of update.prompts_per_update"),
        ("tasks: {knights: {draws: 0}}", "tasks.knights.draws: expected at least 1"),
        ("tasks: {arithmetic: {draws: 3}}", "metric mean@12 does not fit draws 3"),
        (
            "tasks: {arithmetic: {data: {source: no/such/folder}}}",
            "no/such/folder/arithmetic_3to8/train.parquet: no such file",
        ),
        ("tasks: {arithmetic: {benchmarks: {chain-4: {distribution: in}}}}", "chain-4: generated problems need 'size'"),
        ("models: {tiny_qwen3: {sha256: {knights: abc}}}", "expected 64 hexadecimal digits, found 'abc'"),
        ("variants: {true: {method: grpo}}", "variants.True: keys must be text"),
    ],
)
def test_wrong_values_are_refused_by_section_and_key(text, said):
    assert said in refusal(text)


@pytest.mark.parametrize("name", ["../up", "a b", "-x", "a/b", "a\n", "$(id)", ""])
@pytest.mark.parametrize("section", ["variants: {N: {method: grpo}}", "tasks: {arithmetic: {data: {dataset: N}}}"])
def test_names_that_could_leave_their_folder_or_reach_a_shell_are_refused(name, section):
    said = refusal(section.replace("N", yaml.dump(name, default_style='"').strip()))
    assert "expected a name of letters, digits and _ . + -" in said


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("matrix: {seeds: [0, 1, 0]}", "matrix.seeds: 0 is listed twice"),
        ("matrix: {variants: [grpo, grpo]}", "matrix.variants: 'grpo' is listed twice"),
        ("matrix: {tasks: [knights, knights]}", "matrix.tasks: 'knights' is listed twice"),
        ("variants: {rlcsd: {method: grpo}}", "variants.rlcsd: 'rlcsd' already names the method"),
        ("variants: {base: {method: grpo}}", "variants.base: 'base' already names the untrained model"),
    ],
)
def test_two_runs_with_one_name_are_refused(text, said):
    assert said in refusal(text)
    assert "one name" in refusal(text)


def test_a_key_that_stands_twice_in_a_file_is_refused(tmp_path):
    mine = tmp_path / "mine.yaml"
    mine.write_text("variants:\n  mild: {method: grpo}\n  mild: {method: rlcsd}\n")
    with pytest.raises(UserError, match=r"mine\.yaml, line 3: variants\.mild stands twice"):
        load_study(merged(), [mine])


def test_two_tasks_with_different_data_of_one_name_are_refused():
    other = copy.deepcopy(merged()["tasks"]["arithmetic"])
    other["data"]["generator"]["train"]["problems"] += 1
    assert "tasks.arithmetic and tasks.other give different data" in refusal(
        yaml.safe_dump({"tasks": {"other": other}})
    )


def test_a_refusal_names_the_file_that_is_wrong(tmp_path):
    mine = tmp_path / "mine.yaml"
    mine.write_text("overrides: {all: {stpes: 3}}")
    config = merged(mine.read_text())
    with pytest.raises(UserError, match=r"mine\.yaml: overrides\.all: unknown key 'stpes'"):
        load_study(config, [mine, *REGISTRIES])
    with pytest.raises(UserError, match=r"^--config: overrides\.all: unknown key 'stpes'"):
        load_study(config, REGISTRIES)


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


def test_the_matrix_takes_values_from_the_command_line():
    config = merged()
    update_config(config, parse_config(["matrix={seeds: [0, 3], variants: [grpo]}"]))
    runs = load_study(config).runs()
    assert [(run.task, run.variant, run.seed) for run in runs] == [
        ("arithmetic", "grpo", 0),
        ("arithmetic", "grpo", 3),
        ("knights", "grpo", 0),
        ("knights", "grpo", 3),
    ]


def test_the_matrix_expands_to_runs_with_their_folders():
    runs = load_study(merged("matrix: {seeds: [0, 1]}")).runs()
    assert len(runs) == 2 * 1 * 9 * 2 == len({run.folder for run in runs})
    assert runs[0].folder == "results/runs/arithmetic/tiny_qwen3/base/seed0"
    assert runs[-1].draws_folder == "results/draws/knights/tiny_qwen3/rlsd_ectr/seed1"
    assert {run.method for run in runs if run.variant == BASE} == {BASE}


def _shuffled(node, rng: random.Random):
    if not isinstance(node, dict):
        return node
    items = [(key, _shuffled(value, rng)) for key, value in node.items()]
    rng.shuffle(items)
    return dict(items)


@settings(max_examples=20, deadline=None)
@given(seed=st.integers(0, 10**6))
def test_the_order_of_keys_changes_neither_settings_nor_hash(seed):
    config = merged()
    # Benchmarks name the validation file in their order, so theirs is kept.
    kept = {task: entry["benchmarks"] for task, entry in config["tasks"].items()}
    mixed = _shuffled(config, random.Random(seed))
    for task, benchmarks in kept.items():
        mixed["tasks"][task]["benchmarks"] = benchmarks
    runs = [load_study(c).resolve("knights", "tiny_qwen3", "rlcsd", 0) for c in (config, mixed)]
    assert repr(runs[0]) == repr(runs[1])  # Snakemake compares params as text
    assert config_hash(runs[0]) == config_hash(runs[1])


def test_a_number_has_one_hash_however_it_is_written():
    ways = ["1", "1.0", "'1'", "1e0"]
    texts = [f"overrides: {{methods: {{rlcsd: {{objective: {{beta: {way}}}}}}}}}" for way in ways]
    assert len({config_hash(resolved(text)) for text in texts}) == 1


def test_every_part_of_a_run_changes_its_hash():
    study = load_study(merged("matrix: {seeds: [0, 1]}"))
    cells = [("arithmetic", v, s) for v in ("grpo", "rlcsd", "rlcsd-gt_cot") for s in (0, 1)] + [("knights", "grpo", 0)]
    hashes = {config_hash(study.resolve(task, "tiny_qwen3", variant, seed)) for task, variant, seed in cells}
    assert len(hashes) == len(cells)


def test_the_data_digest_follows_the_data_and_nothing_else():
    digest = resolved()["data"]["digest"]
    more = "tasks: {arithmetic: {data: {generator: {train: {problems: 1281}}}}}"
    assert resolved(more)["data"]["digest"] != digest
    fewer = "tasks: {arithmetic: {benchmarks: {chain-3: {problems: 99}}}}"
    assert resolved(fewer)["data"]["digest"] != digest
    counted = "tasks: {arithmetic: {benchmarks: {chain-3: {counted: false}}, draws: 4, metric: mean@4}}"
    assert resolved(counted)["data"]["digest"] == digest


def test_data_of_a_folder_are_digested_by_content_not_by_place(tmp_path):
    digests = []
    for place, content in (("one", b"rows"), ("two", b"rows"), ("three", b"other rows")):
        for dataset, split in (("mine", "train"), ("chain-3+chain-5+chain-8+chain-10", "val")):
            file = tmp_path / place / dataset / f"{split}.parquet"
            file.parent.mkdir(parents=True)
            file.write_bytes(content)
        text = f"tasks: {{arithmetic: {{data: {{source: {tmp_path / place}, dataset: mine}}}}}}"
        study = load_study(merged(text))
        assert study.data("arithmetic")["train"] == {"sha256": hashlib.sha256(content).hexdigest()}
        assert study.source_file("arithmetic", "train") == str(tmp_path / place / "mine" / "train.parquet")
        digests.append(study.data_digest("arithmetic"))
    assert digests[0] == digests[1] != digests[2]


def test_the_base_model_digest_is_that_of_weights_or_recipe():
    sha = merged()["models"]["tiny_qwen3"]["sha256"]["arithmetic"]
    assert resolved()["base_model"]["digest"] == sha
    rebuilt = resolved("models: {tiny_qwen3: {rebuild: true}}")["base_model"]["digest"]
    assert rebuilt != sha
    longer = "models: {tiny_qwen3: {rebuild: true, warm_start: {arithmetic: {training: {steps: 10}}}}}"
    assert resolved(longer)["base_model"]["digest"] != rebuilt
    other_task = "models: {tiny_qwen3: {rebuild: true, warm_start: {knights: {training: {steps: 10}}}}}"
    assert resolved(other_task)["base_model"]["digest"] == rebuilt


CELL = ("arithmetic", "tiny_qwen3")
QUIET = {"thinking": False, "date": "2026-01-01"}


@pytest.mark.parametrize(
    ("text", "variant", "found"),
    [
        ("overrides: {all: {chat: {thinking: false}}}", "base", QUIET),
        ("overrides: {all: {chat: {thinking: false}}}", "grpo", QUIET),
        ("models: {tiny_qwen3: {run: {chat: {thinking: false}}}}", "base", QUIET),
        ("overrides: {methods: {grpo: {chat: {thinking: false}}}}", "grpo", QUIET),
        ("overrides: {methods: {grpo: {chat: {thinking: false}}}}", "base", {"thinking": True, "date": "2026-01-01"}),
        (
            "overrides: {tasks: {arithmetic: {chat: {date: 2027-08-09}}}}",
            "base",
            {"thinking": True, "date": "2027-08-09"},
        ),
    ],
)
def test_prompts_of_an_evaluation_are_rendered_as_the_runs(text, variant, found):
    """A day without quotes is a date to YAML, and text here."""
    study, plain = load_study(merged(text)), load_study(merged())
    assert study.chat(*CELL, variant) == found
    same = found == plain.chat(*CELL, variant)
    assert (study.evaluation_hash(*CELL, variant, 0) == plain.evaluation_hash(*CELL, variant, 0)) == same
    if variant != "base":
        assert study.resolve(*CELL, variant, 0)["chat"] == found


def test_a_warm_start_depends_on_how_prompts_are_rendered():
    rebuilt = "models: {tiny_qwen3: {rebuild: true}}"
    quiet = "overrides: {all: {chat: {thinking: false}}}"
    assert load_study(merged(rebuilt, quiet)).base_model("tiny_qwen3", "arithmetic")["chat"] == QUIET
    digests = [resolved(*texts)["base_model"]["digest"] for texts in ((rebuilt,), (rebuilt, quiet), (), (quiet,))]
    assert digests[0] != digests[1]
    assert digests[2] == digests[3]  # shipped weights are what they are


@pytest.mark.parametrize("date", ["2026-13-01", "1 January", "2026"])
def test_a_date_must_be_one(date):
    said = refusal(f"overrides: {{all: {{chat: {{date: '{date}'}}}}}}")
    assert f"overrides.all.chat.date: expected a day as YYYY-MM-DD, found '{date}'" in said


def test_a_task_without_base_model_is_refused():
    config = merged()
    del config["models"]["tiny_qwen3"]["sha256"]["knights"]
    with pytest.raises(UserError, match=r"models\.tiny_qwen3\.sha256 has nothing for task 'knights'"):
        load_study(config)


def test_evaluation_settings_hold_only_what_makes_draws_stale():
    draws = load_study(merged()).evaluation("arithmetic")
    assert draws["benchmarks"] == ["chain-3", "chain-5", "chain-8", "chain-10"]
    shown = "tasks: {arithmetic: {metric: pass@1, benchmarks: {chain-10: {counted: false, distribution: in}}}}"
    assert load_study(merged(shown)).evaluation("arithmetic") == draws
    hotter = "tasks: {arithmetic: {evaluation: {temperature: 1.0}}}"
    assert load_study(merged(hotter)).evaluation("arithmetic") != draws


def test_objective_schemas_name_the_settings_of_the_implemented_methods():
    from selfdistill.objectives.methods import METHODS

    fields = {name: [field.name for field in dataclasses.fields(kind)] for name, kind in METHODS.items()}
    listed = {name: list(part["properties"]) for name, part in schema("objectives")["properties"].items()}
    assert {name: sorted(keys) for name, keys in listed.items()} == {
        name: sorted(keys) for name, keys in fields.items()
    }


DEMO_VARIANTS = ["base", "grpo", "opsd", "sdpo", "srpo", "rlsd", "rlcsd", "opsd_ectr", "rlsd_ectr"]
HINT_SETTINGS = [
    *("opsd", "rlsd", "rlcsd-one_sided_solution"),
    *("opsd-own_rollout", "rlsd-own_rollout", "rlcsd-one_sided_own_rollout"),
    *("opsd_ectr", "rlsd_ectr", "rlcsd"),
]
ABLATED = ["rlcsd-one_wrong_hint", "rlcsd-self_hint", "rlcsd-no_anchor", "rlcsd-single_path"]
MATRICES = {"demo": DEMO_VARIANTS, "ablations": ["base", "grpo", *HINT_SETTINGS, *ABLATED]}
MERGED_FILES = {"demo": (*REGISTRIES, DEMO), "ablations": (*REGISTRIES, DEMO, ABLATIONS)}


@pytest.mark.parametrize("name", MATRICES)
def test_the_shipped_matrices_hold_what_they_promise_on_both_tasks_with_one_seed(name):
    runs = load_study(merged(files=MERGED_FILES[name])).runs()
    expected = [(task, variant, 0) for task in TASKS for variant in MATRICES[name]]
    assert [(run.task, run.variant, run.seed) for run in runs] == expected


@pytest.mark.parametrize("name", MATRICES)
def test_the_shipped_matrices_are_scaled_to_the_toy(name):
    """16 of 103 ids with tail, lambda gone after 20 steps, a sync every 5; the rest as published."""
    study = load_study(merged(files=MERGED_FILES[name]))
    for run in (study.resolve(*(r.task, r.model, r.variant, r.seed)) for r in study.runs() if r.variant != BASE):
        objective = run["objective"]
        assert (run["steps"], run["optimizer"]["warmup_steps"], run["teacher"]["sync_interval"]) == (30, 4, 5)
        assert objective.get("top_k", 16) == 16
        assert objective.get("tail", True)
        assert objective.get("lam_decay_steps", 20) == 20


def test_the_ablations_share_their_reference_runs_with_the_demo_and_are_refused_without_it():
    studies = [load_study(merged(files=files)) for files in MERGED_FILES.values()]
    for variant in set(MATRICES["demo"]) & set(MATRICES["ablations"]) - {BASE}:
        demo, ablations = (study.resolve("knights", "tiny_qwen3", variant, 0) for study in studies)
        assert demo == ablations
    with pytest.raises(UserError, match="matrix: key 'tasks' is missing"):
        load_study(merged(files=(*REGISTRIES, ABLATIONS)))


@pytest.mark.parametrize("preset", ["corrected", "as_published"])
@pytest.mark.parametrize(("name", "variant"), [(name, v) for name, vs in MATRICES.items() for v in vs if v != BASE])
def test_the_local_trainer_takes_every_run_of_the_shipped_matrices(name, variant, preset):
    from selfdistill.objectives.methods import build_method

    config = merged(f"overrides: {{all: {{preset: {preset}}}}}", files=MERGED_FILES[name])
    for task in TASKS:
        taken = LocalSettings.from_config(load_study(config).resolve(task, "tiny_qwen3", variant, 0))
        assert taken.rollout.prompts_per_step % taken.update.prompts_per_update == 0
        assert taken.hints.max_tokens >= taken.rollout.max_response_tokens
        needs = build_method(taken.implementation, taken.objective).needs
        assert needs.correct_hint == (taken.hints.source != "none") == (taken.teacher.kind != "none")
        assert needs.wrong_hints == (variant not in ONE_SIDED and variant != "grpo")


ONE_SIDED = {"sdpo", "srpo", *HINT_SETTINGS[:6]}


OWN = """
methods:
  mine:
    implementation: my_package.my_module:Mine
    objective: {strength: 0.5, every: 2, soft: true, mode: gentle, bound: null, rate: 1e-4}
    teacher: {kind: initial}
    hints: {source: gt_cot}
matrix: {variants: [mine]}
"""


def test_a_method_of_ones_own_needs_an_entry_and_nothing_else():
    run = resolved(OWN, variant="mine")
    assert run["implementation"] == "my_package.my_module:Mine"
    expected = {"bound": None, "every": 2, "mode": "gentle", "rate": 1e-4, "soft": True, "strength": 0.5}
    assert run["objective"] == expected
    assert [type(value) for value in run["objective"].values()] == [type(value) for value in expected.values()]
    assert run["teacher"]["kind"] == "initial"
    stripped = OWN.replace(
        "objective: {strength: 0.5, every: 2, soft: true, mode: gentle, bound: null, rate: 1e-4}", "objective: {}"
    )
    assert resolved(stripped, variant="mine")["objective"] == {}
    said = refusal(stripped, "overrides: {methods: {mine: {objective: {strength: 1}}}}")
    assert "overrides.methods.mine.objective: unknown key 'strength'; no key is valid here" in said


@pytest.mark.parametrize(
    ("value", "taken"),
    [
        ("{strength: 1}", 1.0),
        ("{strength: '1e-3'}", 0.001),
        ("{every: 3.0}", 3),
        ("{every: '3'}", 3),
        ("{soft: false}", False),
        ("{soft: 'false'}", False),
        ("{mode: harsh}", "harsh"),
        ("{mode: 'off'}", "off"),
        ("{bound: 2}", 2.0),
        ("{bound: null}", None),
        ("{bound: 'null'}", None),
        ("{rate: 0.1}", 0.1),
    ],
)
def test_later_layers_change_the_keys_of_an_own_method_within_their_types(value, taken):
    """Text where a number belongs is what --config hands over."""
    (key,) = yaml.safe_load(value)
    found = resolved(OWN, f"overrides: {{methods: {{mine: {{objective: {value}}}}}}}", variant="mine")["objective"][key]
    assert found == taken
    assert type(found) is type(taken)


OWN_LAYERS = [
    "defaults: {objective: V}",
    "presets: {corrected: {all: {objective: V}}}",
    "presets: {corrected: {implementations: {'my_package.my_module:Mine': {objective: V}}}}",
    "tasks: {arithmetic: {run: {objective: V}}}",
    "models: {tiny_qwen3: {run: {objective: V}}}",
    "overrides: {all: {objective: V}}",
    "overrides: {methods: {mine: {objective: V}}}",
    "variants: {milder: {set: {objective: V}}}",
]


@pytest.mark.parametrize("layer", OWN_LAYERS)
@pytest.mark.parametrize(
    ("value", "said"),
    [
        ("{strenght: 1}", ": unknown key 'strenght'; the nearest valid key is 'strength' (valid: bound, every, mode, "),
        ("{strength: hard}", ".strength: expected a value of type number, found 'hard'"),
        ("{strength: true}", ".strength: expected a value of type number, found True"),
        ("{strength: null}", ".strength: expected a value of type number, found None"),
        ("{every: 2.5}", ".every: expected a value of type integer, found 2.5"),
        ("{soft: 1}", ".soft: expected a value of type boolean, found 1"),
        ("{mode: 1}", ".mode: expected a value of type string, found 1"),
        ("{bound: none at all}", ".bound: expected a value of type number, null, found 'none at all'"),
    ],
)
def test_unknown_keys_and_wrong_types_of_an_own_method_are_refused_in_every_layer(layer, value, said):
    text = layer.replace("V", value)
    refused = refusal(OWN, "variants: {milder: {method: mine}}", "matrix: {variants: [mine, milder]}", text)
    section = ".".join(_path({"top": yaml.safe_load(layer.replace("V", "{k: 0}"))})[1:])
    assert f"{section}{said}" in refused
    assert "(method mine: its keys and their types are those of its published values)" in refused


@pytest.mark.parametrize(
    ("file", "words", "key", "taken"),
    [
        ("methods: {mine: {objective: {strength: 1}}}", "{}", "strength", 1.0),
        ("{}", "methods: {mine: {objective: {strength: '1'}}}", "strength", 1.0),
        ("methods: {mine: {objective: {mode: 'off'}}}", "{}", "mode", "off"),
        ("methods: {mine: {objective: {bound: 3}}}", "{}", "strength", 0.5),
    ],
)
@pytest.mark.parametrize("definition", ["registry", "earlier file"])
def test_types_are_those_of_the_entry_whatever_is_merged_over_it(tmp_path, file, words, key, taken, definition):
    """A registry, a config file over it, and --config: all reach the same section."""
    config, files = _over_own_entry(tmp_path, file, words)
    if definition == "earlier file":  # of two on the command line, the later one is the stronger one
        files = [files[-1], *files[:-1]]
    found = load_study(config, files).resolve("knights", "tiny_qwen3", "mine", 0)["objective"][key]
    assert repr(found) == repr(taken)


@pytest.mark.parametrize(
    ("file", "words", "said"),
    [
        (
            "methods: {mine: {objective: {modes: harsh}}}",
            "{}",
            r"mine\.yaml: methods\.mine\.objective: unknown key 'modes'; the nearest valid key is 'mode'",
        ),
        (
            "{}",
            "methods: {mine: {objective: {every: '0.5'}}}",
            r"^--config: methods\.mine\.objective\.every: expected a value of type integer, found 0\.5",
        ),
    ],
)
def test_what_is_merged_over_an_own_methods_entry_is_held_to_it(tmp_path, file, words, said):
    with pytest.raises(UserError, match=said):
        load_study(*_over_own_entry(tmp_path, file, words))


def _over_own_entry(folder: Path, file: str, words: str) -> tuple[dict, list[Path]]:
    registry, mine = folder / "methods.yaml", folder / "mine.yaml"
    registry.write_text(OWN)
    mine.write_text(file)
    return merged(words, files=(*REGISTRIES, DEMO, registry, mine)), [mine, *REGISTRIES, registry]


def test_the_order_of_an_own_methods_keys_changes_nothing():
    turned = OWN.replace("{strength: 0.5, every: 2, ", "{every: 2, strength: 0.5, ")
    assert turned != OWN
    assert repr(resolved(turned, variant="mine")) == repr(resolved(OWN, variant="mine"))


@pytest.mark.parametrize(
    "name", ["my module:Mine", "mine:", ":Mine", "my/module:Mine", "my..module:Mine", "m:A:B", "m:A\n"]
)
def test_an_implementation_that_cannot_be_a_class_is_refused(name):
    said = refusal(OWN, yaml.safe_dump({"methods": {"mine": {"implementation": name}}}))
    assert "methods.mine.implementation: expected the name of a shipped loss, or package.module:Class" in said


def test_an_unknown_implementation_is_told_how_an_own_one_is_written():
    said = refusal(OWN, "methods: {mine: {implementation: Mine}}")
    assert "unknown implementation 'Mine'" in said
    assert "one of your own is package.module:Class" in said


@pytest.mark.parametrize("value", ["[1, 2]", "{low: 1}"])
def test_a_published_value_must_be_a_single_one(value):
    said = refusal(OWN, f"methods: {{mine: {{objective: {{extra: {value}}}}}}}")
    assert "methods.mine.objective.extra: expected a value of type boolean, number, string, null" in said


def test_every_key_is_explained_in_the_readme():
    readme = (ROOT / "config" / "README.md").read_text()

    def keys(node: dict) -> set[str]:
        own = node.get("properties", {})
        inner = [*own.values(), node.get("additionalProperties"), node.get("items")]
        return set(own).union(*(keys(sub) for sub in inner if isinstance(sub, dict)))

    names = set().union(*(keys(schema(name)) for name in ("config", "run", "objectives", "tasks", "models", "methods")))
    assert sorted(name for name in names if not re.search(rf"[`.]{name}[`.]", readme)) == []
    for section, part in schema("run")["properties"].items():
        for key in part.get("properties", {}):
            assert f"`{section}.{key}`" in readme


def test_every_objective_key_is_explained_for_each_method_that_has_it():
    readme = (ROOT / "config" / "README.md").read_text()
    table = readme.split("| `objective` of |")[1].split("\n\n")[0]
    explained = set()
    for row in table.splitlines()[2:]:
        methods, keys = (re.findall(r"`(\w+)`", cell) for cell in row.split("|")[1:3])
        explained |= {(method, key) for method in methods for key in keys}
    parts = schema("objectives")["properties"]
    assert explained == {(method, key) for method, part in parts.items() for key in part["properties"]}


def test_the_readme_says_which_presets_set_which_key():
    table = (ROOT / "config" / "README.md").read_text().split("### Presets")[1].split("### ")[0]
    switches = {key for part in (FOR_ALL, *FOR_ONE.values()) for key in part} - {"preset"}
    assert set(re.findall(r"`(\w+\.\w+): ", table)) == switches


def test_planning_loads_nothing_heavy(tmp_path):
    """It is done for every plan and by every job; a class of the user's own is imported by the training only."""
    (tmp_path / "config.yaml").write_text(yaml.safe_dump(merged(OWN, "matrix: {variants: [grpo, rlcsd, mine]}")))
    code = (
        "import sys, yaml; from selfdistill.study.study import load_study; "
        f"study = load_study(yaml.safe_load(open({str(tmp_path / 'config.yaml')!r}))); "
        "[study.resolve('knights', 'tiny_qwen3', v, 0) for v in ('grpo', 'rlcsd', 'mine')]; "
        "print(*(m for m in ('torch', 'transformers', 'pandas', 'my_package') if m in sys.modules))"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=900, cwd=ROOT
    )
    assert done.stdout.strip() == ""


def test_an_edited_file_of_ones_own_changes_the_runs_of_its_method_and_no_others(tmp_path, monkeypatch):
    module = tmp_path / "mine_to_edit.py"
    module.write_text("raise RuntimeError('not imported while planning')\n")
    monkeypatch.syspath_prepend(tmp_path)
    text = """
    methods: {mine: {implementation: "mine_to_edit:Mine", objective: {weight: 1.0}}}
    """
    study = load_study(merged(text))
    before = [study.resolve("knights", "tiny_qwen3", variant, 0) for variant in ("mine", "grpo")]
    assert before[0]["implementation_sha256"] == sha256_file(module)
    module.write_text("# edited: longer than before\n" * 3)
    study = load_study(merged(text))  # a study keeps what it has worked out: it is one moment's plan
    after = [study.resolve("knights", "tiny_qwen3", variant, 0) for variant in ("mine", "grpo")]
    assert config_hash(before[0]) != config_hash(after[0])
    assert before[1] == after[1]
    elsewhere = load_study(merged(text.replace("mine_to_edit:", "nowhere.to_be_found:")))
    assert elsewhere.resolve("knights", "tiny_qwen3", "mine", 0)["implementation_sha256"] is None


# ------------------------------------------------------------------------------------------------ blocks of the matrix


def cells_of(*texts: str) -> list[tuple]:
    config = merged(*texts, files=REGISTRIES)
    return [(run.task, run.model, run.variant, run.seed) for run in load_study(config).runs()]


BLOCKS = """
matrix:
  seeds: [0, 1]
  models: [tiny_qwen3]
  blocks:
    main: {tasks: [knights], variants: [base, grpo]}
    more: {tasks: [arithmetic, knights], variants: [rlcsd, grpo], seeds: [1]}
"""


def test_blocks_are_united_run_by_run_in_the_order_in_which_things_are_named():
    tiny = "tiny_qwen3"
    assert cells_of(BLOCKS) == [
        *[("knights", tiny, variant, seed) for variant in ("base", "grpo") for seed in (0, 1)],
        ("knights", tiny, "rlcsd", 1),
        *[("arithmetic", tiny, variant, 1) for variant in ("grpo", "rlcsd")],
    ]


def test_one_block_is_the_plain_matrix():
    plain = "matrix: {tasks: [knights, arithmetic], models: [tiny_qwen3], variants: [rlcsd, grpo], seeds: [3, 0]}"
    assert cells_of(plain) == cells_of(f"matrix: {{blocks: {{all: {plain.removeprefix('matrix: ')}}}}}")


def test_what_all_blocks_leave_to_the_matrix_can_be_changed_for_all():
    assert {cell[3] for cell in cells_of(BLOCKS, "matrix: {seeds: [7]}")} == {7, 1}


def test_tables_get_the_tasks_of_all_blocks():
    study = load_study(merged(BLOCKS, files=REGISTRIES))
    assert list(study.reporting()) == ["knights", "arithmetic"]
    assert study.generated_only


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("matrix: {blocks: {more: {variants: [rlcds]}}}", "matrix.blocks.more.variants: unknown variant 'rlcds'"),
        ("matrix: {blocks: {more: {seeds: [1, 1]}}}", "matrix.blocks.more.seeds: 1 is listed twice"),
        (
            "matrix: {blocks: {more: {taks: [knights]}}}",
            "matrix.blocks.more: unknown key 'taks'; the nearest valid key",
        ),
        (
            "matrix: {blocks: {third: {tasks: [knights]}}}",
            "matrix.blocks.third: key 'variants' is missing, here and in",
        ),
        ("matrix: {tasks: [knights]}", "matrix.tasks: every block names its own tasks, so this list would be read by"),
        ("matrix: {tasks: [knigths]}", "matrix.tasks: every block names its own tasks"),
    ],
)
def test_wrong_blocks_are_refused(text, said):
    with pytest.raises(UserError, match=re.escape(said)):
        load_study(merged(BLOCKS, text, files=REGISTRIES))


# ------------------------------------------------------------------------------------------ data and models of the hub

LOGIC = "matrix: {tasks: [logic], models: [qwen3_4b], variants: [grpo]}"
MATHS = "matrix: {tasks: [math], models: [qwen3_1_7b, qwen3_4b, qwen3_8b], variants: [grpo]}"


def of(text: str, task: str, model: str) -> dict:
    return load_study(merged(text)).resolve(task, model, "grpo", 0)


def test_the_training_set_is_the_models_own_where_it_names_one():
    study = load_study(merged(MATHS))
    names = {model: study.dataset("math", "train", model) for model in ("qwen3_1_7b", "qwen3_4b", "qwen3_8b")}
    assert len(set(names.values())) == 3
    for model, name in names.items():
        assert study.data_file("math", "train", model) == f"results/data/{name}/train.parquet"
        assert study.data("math", model)["train"]["file"] == f"{name}/train.parquet"
        assert study.datasets()[name, "train"][0] == "math"
        assert study.dataset("logic", "train", model) == "kk_4to8"
    assert len({of(MATHS, "math", model)["data"]["digest"] for model in names}) == 3
    assert ("amc23+aime24+aime25", "val") in study.datasets()


def test_a_models_own_training_set_is_generated_under_its_own_name():
    own = "models: {tiny_qwen3: {datasets: {arithmetic: other_chains}}}"
    study = load_study(merged(own))
    assert study.data("arithmetic", "tiny_qwen3")["train"]["dataset"] == "other_chains"
    assert study.datasets()["other_chains", "train"] == ("arithmetic", "tiny_qwen3")
    assert resolved(own)["data"] != resolved()["data"]
    assert resolved(own, task="knights")["data"] == resolved(task="knights")["data"]


def test_a_training_set_that_nobody_names_is_refused():
    said = refusal(MATHS, "matrix: {models: [tiny_qwen3]}")
    assert "tasks.math.data has no `dataset`, and models.tiny_qwen3.datasets has nothing for task 'math'" in said


def test_what_is_on_the_hub_is_known_by_repository_revision_and_file():
    before = of(LOGIC, "logic", "qwen3_4b")
    commit = "tasks: {logic: {data: {hub: {revision: 0123abc}}}}"
    other = of(f"{LOGIC}\n{commit}", "logic", "qwen3_4b")
    assert before["data"] != other["data"]
    assert before["base_model"] == other["base_model"]
    commit = "models: {qwen3_4b: {hub: {revision: 0123abc}}}"
    other = of(f"{LOGIC}\n{commit}", "logic", "qwen3_4b")
    assert before["data"] == other["data"]
    assert before["base_model"] != other["base_model"]


def test_a_pretrained_model_is_one_for_all_tasks_and_a_shipped_one_is_not():
    study = load_study(merged())
    assert {study.base_model_folder("qwen3_4b", task) for task in ("math", "logic")} == {"results/models/qwen3_4b"}
    assert study.base_model_folder("tiny_qwen3", "knights") == "results/models/tiny_qwen3/knights"
    assert study.base_model_digest("qwen3_4b", "math") == study.base_model_digest("qwen3_4b", "logic")


def test_a_folder_in_place_of_the_hub_is_known_by_its_files_not_by_its_place(tmp_path):
    digests = {}
    made = {
        "one": (b"x" * 9, "{}"),
        "two": (b"x" * 9, "{}"),
        "larger": (b"x" * 10, "{}"),
        "changed": (b"x" * 9, "{ }"),
        "replaced": (b"x" * 8 + b"y", "{}"),
    }
    for place, (weights, text) in made.items():
        folder = tmp_path / place
        folder.mkdir()
        (folder / "config.json").write_text(text)
        (folder / "model.safetensors").write_bytes(weights)
        (folder / "notes.md").write_text(place)
        digests[place] = of(f"{LOGIC}\nmodels: {{qwen3_4b: {{source: {folder}}}}}", "logic", "qwen3_4b")["base_model"]
    assert digests["one"] == digests["two"]
    assert len({str(digest) for digest in digests.values()}) == 4


def test_no_link_out_of_a_models_folder_is_followed(tmp_path):
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "config.json").write_text("{}")
    (tmp_path / "mine" / "added.json").symlink_to("/proc/self/environ")
    with pytest.raises(UserError, match=r"added\.json: a link to /proc/.*/environ, outside of the model's folder"):
        of(f"{LOGIC}\nmodels: {{qwen3_4b: {{source: {tmp_path / 'mine'}}}}}", "logic", "qwen3_4b")


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("models: {qwen3_4b: {source: no/such}}", "no/such: no config.json; a model's `source` is 'hub', 'package' or"),
        ("models: {mine: {parameters: 1, source: hub}}", "models.mine: source 'hub' needs `hub` with id and revision"),
        ("models: {mine: {parameters: 1, source: hub, hub: {id: a/b}}}", "models.mine.hub: key 'revision' is missing"),
        ("models: {qwen3_4b: {hub: {id: Qwen}}}", "expected owner/name of a repository on the hub, found 'Qwen'"),
        ("models: {qwen3_4b: {hub: {revision: ../x}}}", "expected a branch, tag or commit of it, found '../x'"),
        ("models: {qwen3_4b: {rebuild: true}}", "unknown key 'rebuild'"),
        ("models: {mine: {parameters: 1, folder: x}}", "models.mine: key 'sha256' is missing"),
        ("models: {qwen3_4b: {datasets: {maths: x}}}", "models.qwen3_4b.datasets: unknown task 'maths'; the nearest"),
        ("tasks: {arithmetic: {data: {source: hub}}}", "tasks.arithmetic.data: source 'hub' needs `hub` with id"),
    ],
)
def test_wrong_places_of_data_and_models_are_refused(text, said):
    assert said in refusal(LOGIC, text)


# -------------------------------------------------------------------------------------------------------- trainer verl

VERL = "overrides: {all: {trainer: verl, rollout: {engine: vllm, old_logprobs: recompute}}}"


def test_a_run_of_verl_has_its_section_and_any_other_run_has_not():
    local, verl = resolved(), resolved(VERL)
    assert "verl" not in local
    assert resolved("overrides: {all: {verl: {dtype: float32}}}") == local
    keys = set(schema("run")["properties"]["verl"]["properties"])
    assert set(verl["verl"]) == keys - {"nodes", "gpus_per_node"}
    assert resolved(VERL, "overrides: {all: {verl: {dtype: float32}}}") != verl


def test_the_machine_is_no_part_of_a_run():
    more = "overrides: {all: {verl: {nodes: 2, gpus_per_node: '4'}}}"
    assert resolved(VERL, more) == resolved(VERL)
    cell = ("arithmetic", "tiny_qwen3", "rlcsd")
    assert load_study(merged(VERL)).machine(*cell) == {"nodes": 1, "gpus": 8}
    assert load_study(merged(VERL, more)).machine(*cell) == {"nodes": 2, "gpus": 4}
    assert load_study(merged(more)).machine(*cell) == {"nodes": 1, "gpus": 0}
    assert load_study(merged(VERL, more, "defaults: {verl: {device: cpu}}")).machine(*cell) == {"nodes": 2, "gpus": 0}


def test_a_models_layer_may_ask_for_more_machines():
    larger = "models: {tiny_qwen3: {run: {verl: {nodes: 2}}}}"
    assert load_study(merged(VERL, larger)).machine("knights", "tiny_qwen3", "grpo") == {"nodes": 2, "gpus": 8}


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("rollout: {engine: own}", "rollout.engine with trainer verl: expected vllm, found 'own'"),
        ("rollout: {old_logprobs: sampler}", "rollout.old_logprobs with trainer verl: expected recompute"),
        ("teacher: {kind: trust_region}", "teacher.kind trust_region needs the logits of two models at once"),
        ("rollout: {temperature: 0.9}", "rollout.temperature 0.9 with trainer verl needs rollout.top_p 1"),
        ("verl: {rollout_tensor_parallel: 3}", "verl.rollout_tensor_parallel 3 does not divide the run's 8 GPUs"),
        ("verl: {overrides: [trainer.save_freq=3]}", "names trainer.save_freq, which the run's other settings decide"),
        ("verl: {overrides: ['+selfdistill.hints={}']}", "names selfdistill.hints"),
        ("verl: {overrides: ['data={}']}", "names data.train_files"),
        ("verl: {overrides: ['trainer.x = 3']}", "expected name.path=value"),
        ("verl: {overrides: ['a.b=\"c\"']}", "expected name.path=value"),
        ("verl: {overrides: [trainer]}", "expected name.path=value"),
        ("verl: {dtype: float16}", "expected one of bfloat16, float32"),
    ],
)
def test_what_verl_cannot_run_is_refused_while_planning(text, said):
    assert said in refusal(VERL, f"overrides: {{all: {{{text}}}}}", "matrix: {variants: [rlcsd], tasks: [arithmetic]}")


def test_a_temperature_without_a_cut_distribution_is_taken():
    resolved(VERL, "overrides: {all: {rollout: {temperature: 0.9, top_p: 1, top_k: 0}}}")


def test_presets_hold_with_verl_too():
    corrected, published = flat(resolved(VERL, variant="opsd")), flat(resolved(VERL, AS_PUBLISHED, variant="opsd"))
    differing = {key: (corrected[key], published[key]) for key in corrected if corrected[key] != published[key]}
    assert differing == FOR_ALL | FOR_ONE["opsd"]


def test_the_matrix_of_the_cpu_goes_alone_and_fits_its_model():
    study = load_study(merged(files=(*REGISTRIES, ROOT / "config" / "verl_cpu.yaml")))
    assert [run.variant for run in study.runs()] == ["base", "grpo-verl", "rlcsd-verl"]
    run = study.resolve("arithmetic", "tiny_qwen3", "rlcsd-verl", 0)
    assert (run["trainer"], run["verl"]["device"], run["verl"]["dtype"]) == ("verl", "cpu", "float32")
    longest = run["rollout"]["max_prompt_tokens"] + run["rollout"]["max_response_tokens"] + run["hints"]["max_tokens"]
    assert longest <= study.config["models"]["tiny_qwen3"]["architecture"]["max_positions"]


def test_the_engine_of_the_evaluation_is_ours_unless_it_is_named():
    assert load_study(merged()).evaluation("knights")["evaluation"]["engine"] == "own"
    assert load_study(merged()).evaluation("logic")["evaluation"]["engine"] == "vllm"
    assert "expected one of own, transformers, vllm" in refusal("tasks: {knights: {evaluation: {engine: vlm}}}")
