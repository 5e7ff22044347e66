"""Resolution of a run's settings: layers, refusals, digests. Nothing here starts Snakemake."""

import copy
import dataclasses
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

from selfdistill.config import BASE, config_hash, load_study
from selfdistill.errors import UserError
from selfdistill.schemas import schema
from selfdistill.training.local.settings import LocalSettings

ROOT = Path(__file__).parents[2]
REGISTRIES = [ROOT / "config" / f"{name}.yaml" for name in ("defaults", "models", "methods", "tasks")]
DEMO = ROOT / "config" / "demo.yaml"


def merged(*texts: str, files=(*REGISTRIES, DEMO)) -> dict:
    """The config as Snakemake merges it: files, then more YAML on top."""
    config = {}
    for text in [*(Path(file).read_text() for file in files), *texts]:
        update_config(config, yaml.safe_load(text))
    return config


def resolved(*texts: str, variant="rlcsd", task="arithmetic", seed=0) -> dict:
    return load_study(merged(*texts)).resolve(task, "tiny_qwen3", variant, seed)


def refusal(*texts: str) -> str:
    with pytest.raises(UserError) as caught:
        load_study(merged(*texts))
    return str(caught.value)


LAYERS = [
    ("defaults: {update: {kl_coef: 0.11}}", 0.11),
    ("methods: {rlcsd: {update: {kl_coef: 0.12}}}", 0.12),
    ("tasks: {arithmetic: {run: {update: {kl_coef: 0.13}}}}", 0.13),
    ("models: {tiny_qwen3: {run: {update: {kl_coef: 0.14}}}}", 0.14),
    ("overrides: {all: {update: {kl_coef: 0.15}}}", 0.15),
    ("overrides: {tasks: {arithmetic: {update: {kl_coef: 0.16}}}}", 0.16),
    ("overrides: {methods: {rlcsd: {update: {kl_coef: 0.17}}}}", 0.17),
    ("variants: {probe: {method: rlcsd, set: {update: {kl_coef: 0.18}}}}", 0.18),
]


@pytest.mark.parametrize("stronger", range(1, len(LAYERS)))
def test_each_layer_beats_all_weaker_ones(stronger):
    texts = ["variants: {probe: {method: rlcsd}}", *(text for text, _ in LAYERS[: stronger + 1])]
    assert resolved(*texts, variant="probe")["update"]["kl_coef"] == LAYERS[stronger][1]


def test_the_preset_gives_way_to_every_layer_but_defaults():
    as_published = "overrides: {all: {preset: as_published}}"
    assert resolved()["hints"]["lone_targets"] == "keep"
    assert resolved(as_published)["hints"]["lone_targets"] == "drop"
    assert resolved(as_published)["teacher"]["clock"] == "optimizer_steps"
    assert resolved(as_published)["preset"] == "as_published"
    kept = "methods: {rlcsd: {hints: {lone_targets: keep}}}"
    assert resolved(as_published, kept)["hints"]["lone_targets"] == "keep"


def test_published_values_of_the_methods_reach_a_run():
    rlcsd = resolved()["objective"]
    assert (rlcsd["tau"], rlcsd["lam"], rlcsd["delta"], rlcsd["eta"]) == (0.02, 0.5, 0.02, 1.0)
    assert (rlcsd["residual_clip_low"], rlcsd["residual_clip_high"]) == (-2.0, 2.0)
    grpo = resolved(variant="grpo")
    assert grpo["objective"] == {"epsilon_low": 0.2, "epsilon_high": 0.2, "dual_clip": 3.0}
    assert grpo["update"]["kl_coef"] == 0.001
    assert resolved(variant="rlcsd-gt_cot")["hints"]["source"] == "gt_cot"


@pytest.mark.parametrize(("text", "layer"), [(text.replace("kl_coef", "kl_koef"), text) for text, _ in LAYERS])
def test_an_unknown_key_is_refused_in_every_layer(text, layer):
    said = refusal(text)
    section = ".".join(_path(yaml.safe_load(text)))
    assert f"{section}: unknown key 'kl_koef'; the nearest valid key is 'kl_coef'" in said


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
    assert len(runs) == 2 * 1 * 3 * 2 == len({run.folder for run in runs})
    assert runs[0].folder == "results/runs/arithmetic/tiny_qwen3/base/seed0"
    assert runs[-1].draws_folder == "results/draws/knights/tiny_qwen3/rlcsd/seed1"
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


@pytest.mark.parametrize("variant", ["grpo", "rlcsd", "rlcsd-gt_cot"])
@pytest.mark.parametrize("task", ["arithmetic", "knights"])
def test_the_local_trainer_takes_every_resolved_run_of_the_demo(task, variant):
    taken = LocalSettings.from_config(resolved(task=task, variant=variant))
    assert taken.rollout.prompts_per_step % taken.update.prompts_per_update == 0
    assert taken.hints.max_tokens >= taken.rollout.max_response_tokens


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


def test_importing_the_configuration_loads_nothing_heavy():
    """It is imported for every plan and by every job."""
    code = (
        "import sys, selfdistill.config; print(*(m for m in ('torch', 'transformers', 'pandas') if m in sys.modules))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=60)
    assert done.stdout.strip() == ""
