"""Models out of Python packages, and warm starts of pretrained ones: what they are known by, and who makes them."""

import re
from collections import Counter
from pathlib import Path

import pytest
import yaml
from snakemake.utils import update_config

from selfdistill.errors import UserError
from selfdistill.planning.dry_run import Job
from selfdistill.planning.plan import make_plan
from selfdistill.study.study import Study, config_hash, load_study

ROOT = Path(__file__).parents[2]
BOTH = "matrix: {tasks: [sums, knaves], models: [smollm2_135m, smollm2_135m_plain], variants: [base, grpo], seeds: [0]}"


def a_study(*texts: str) -> Study:
    config: dict = {}
    for name in ("defaults", "models", "methods", "tasks"):
        update_config(config, yaml.safe_load((ROOT / f"config/{name}.yaml").read_text()))
    for text in (BOTH, *texts):
        update_config(config, yaml.safe_load(text))
    return load_study(config)


def digest(*texts: str, model: str = "smollm2_135m", task: str = "sums") -> str:
    return a_study(*texts).resolve(task, model, "grpo", 0)["base_model"]["digest"]


def test_a_warm_started_model_is_one_a_task_and_a_plain_one_for_all():
    study = a_study()
    folders = {
        (model, task): study.base_model_folder(model, task)
        for model in ("smollm2_135m", "smollm2_135m_plain")
        for task in ("sums", "knaves")
    }
    assert folders == {
        ("smollm2_135m", "sums"): "results/models/smollm2_135m/sums",
        ("smollm2_135m", "knaves"): "results/models/smollm2_135m/knaves",
        ("smollm2_135m_plain", "sums"): "results/models/smollm2_135m_plain",
        ("smollm2_135m_plain", "knaves"): "results/models/smollm2_135m_plain",
    }
    assert study.pretrained_model("smollm2_135m") == study.pretrained_model("smollm2_135m_plain")


def test_package_and_recipe_decide_a_warm_started_model_and_the_package_alone_a_plain_one():
    recipe = "models: {smollm2_135m: {warm_start: {sums: {training: {steps: 999}}}}}"
    assert digest(recipe) != digest()
    assert digest(recipe, task="knaves") == digest(task="knaves") != digest()
    for key, value in (("version", "0.2"), ("sha256", "0" * 64), ("file", "other.gguf"), ("end", "</s>")):
        package = f"{{package: {{{key}: '{value}'}}}}"
        changed = f"models: {{smollm2_135m: {package}, smollm2_135m_plain: {package}}}"
        for model in ("smollm2_135m", "smollm2_135m_plain"):
            assert digest(changed, model=model) != digest(model=model), key
    plain = {digest(model="smollm2_135m_plain", task=task) for task in ("sums", "knaves")}
    assert len(plain) == 1
    assert digest() not in plain


def test_a_folders_model_may_be_warm_started_too(tmp_path):
    texts = {"config.json": '{"model_type": "llama"}', "tokenizer.json": "{}", "tokenizer_config.json": "{}"}
    texts["chat_template.jinja"] = "{{ messages }}"
    for name, text in (texts | {"model.safetensors": "weights"}).items():
        (tmp_path / name).write_text(text)
    elsewhere = f"models: {{smollm2_135m: {{source: {tmp_path}}}}}"
    study = a_study(elsewhere)
    settings = study.base_model("smollm2_135m", "sums")
    assert set(settings) == {"source", "files", "warm_start", "chat"}
    assert set(settings["files"]) == {*texts, "model.safetensors"}
    assert list(settings["warm_start"]) == ["sums"]
    before = digest(elsewhere)
    (tmp_path / "model.safetensors").write_bytes(b"other weights")
    assert digest(elsewhere) != before


@pytest.mark.parametrize(
    ("text", "said"),
    [
        (
            "matrix: {tasks: [knights]}",
            "models.smollm2_135m.warm_start has nothing for task 'knights' (it has: sums, kn",
        ),
        ("matrix: {tasks: [knights], variants: [base]}", "smollm2_135m.warm_start has nothing for task 'knights'"),
        ("models: {mine: {parameters: 1, source: package}}", "models.mine: source 'package' needs `package`"),
        ("models: {mine: {parameters: 1, source: package, package: {name: x}}}", "key 'version' is missing"),
        ("models: {smollm2_135m: {package: {sha256: abc}}}", "expected 64 hexadecimal digits, found 'abc'"),
        ("models: {smollm2_135m: {package: {name: '--pre x'}}}", "expected the name of a package, found '--pre x'"),
        ("models: {smollm2_135m: {package: {version: '>=1'}}}", "expected the version of a package, found '>=1'"),
        ("models: {smollm2_135m: {package: {files: x}}}", "unknown key 'files'; the nearest valid key is 'file'"),
        ("models: {smollm2_135m: {architecture: {}}}", "unknown key 'architecture'"),
        ("models: {mine: {parameters: 1, source: trained}}", "models.mine: source 'trained' needs `trained`"),
        (
            "models: {a: {parameters: 1, source: trained, trained: &a {model: b, variant: grpo, seed: 0}}, b: "
            "{parameters: 1, source: trained, trained: {model: a, variant: grpo, seed: 0}}}",
            "models.a.trained: it is trained from itself (a -> b -> a)",
        ),
        (
            "{models: {a: {parameters: 1, source: trained, trained: {model: smollm2_135m, variant: opd, seed: 0}}}, "
            "overrides: {methods: {opd: {teacher: {model: a}}}}, matrix: {variants: [opd]}}",
            "models.a.trained: it is trained from itself (a -> a)",
        ),
        (
            "models: {a: {parameters: 1, source: trained, trained: {model: qwen, variant: grpo, seed: 0}}}",
            "models.a.trained.model: unknown model 'qwen'",
        ),
        (
            "models: {a: {parameters: 1, source: trained, trained: {model: qwen3_4b, variant: base, seed: 0}}}",
            "models.a.trained.variant: 'base' is the untrained model; name one that is trained",
        ),
    ],
)
def test_what_is_wrong_is_named(text, said):
    with pytest.raises(UserError, match=re.escape(said)) as raised:
        a_study(text)
    assert str(raised.value).count("models.a.trained: ") <= 1  # the place is told once


OF_RUN = """
models:
  learned: {parameters: 2.3e+5, source: trained, trained: {model: tiny_qwen3, variant: grpo, seed: 3}}
  worded:
    parameters: 2.3e+5
    source: trained
    trained: {model: tiny_qwen3, variant: grpo, seed: 3}
    warm_start: {knights: {exercise: knights, sizes: {"2": 1}, wording: {a: b}, mix: &mix {hinted: 0, wrong_hints: 0,
      direct: 0, direct_hinted: 0}, training: {steps: 9, batch_size: 2, learning_rate: 1.0e-3, warmup_steps: 1,
      weight_decay: 0, max_grad_norm: 1, seed: 0}}}
matrix: {tasks: [knights], models: [learned, worded], variants: [base, opd], seeds: [0]}
overrides: {all: {steps: 7}, methods: {opd: {teacher: {model: worded}}}}
"""


def test_a_runs_model_is_known_by_the_runs_settings():
    """And what is trained from it, or by it as a teacher, by these: a change of the run is one of all of them."""
    study = a_study(OF_RUN)
    settings = study.base_model("learned", "knights")
    run = study.resolve("knights", "tiny_qwen3", "grpo", 3)
    assert settings == {
        "source": "trained",
        "trained": {"model": "tiny_qwen3", "variant": "grpo", "seed": 3, "settings": config_hash(run)},
    }
    assert set(study.base_model("worded", "knights")) == {"source", "trained", "warm_start", "chat"}
    assert study.base_model_folder("learned", "knights") == "results/models/learned/knights"
    assert study.external_models("knights", "learned", "opd") == {"teacher": "worded"}
    before = study.resolve("knights", "learned", "opd", 0)
    longer = a_study(OF_RUN, "overrides: {methods: {grpo: {steps: 8}}}").resolve("knights", "learned", "opd", 0)
    assert before["base_model"] != longer["base_model"]
    assert before["external_models"]["teacher"]["digest"] != longer["external_models"]["teacher"]["digest"]


def test_what_runs_train_is_made_by_rules_of_its_own(tmp_path, furnished):
    (tmp_path / "more.yaml").write_text(OF_RUN)
    targets = ("results/models/worded/knights", "results/models/learned/knights")
    planned = furnished.planned("--configfile", str(tmp_path / "more.yaml"), "--", *targets)
    for job in ("train knights/grpo", "trained_model knights", "trained_model_to_warm_start knights"):
        assert planned[job] == 1, planned


def test_models_that_are_made_count_as_float32():
    jobs = [Job("model_to_warm_start", {"model": "smollm2_135m"}), Job("pretrained_model", {"model": "qwen3_4b"})]
    jobs += [Job("warm_started_model", {"model": "smollm2_135m", "task": task}) for task in ("sums", "knaves")]
    assert make_plan(a_study(), jobs).fetched_bytes == 3 * 4 * 1.345e8 + 2 * 4.02e9
    assert make_plan(a_study(), [Job("pretrained_model", {"model": "smollm2_135m_plain"})]).fetched_bytes == 4 * 1.345e8


def test_each_is_made_by_its_own_rules(furnished):
    jobs = furnished.planned(
        *("--", "results/models/smollm2_135m/sums", "results/models/smollm2_135m_plain"),
        *("results/models/tiny_qwen3/knights", "results/models/qwen3_4b"),
    )
    expected = ["model_to_warm_start", "warm_started_model sums", "base_model knights", "pretrained_model"]
    assert jobs == Counter([*expected, "pretrained_model"])


def test_a_longer_warm_start_is_made_again_from_the_same_pretrained_model(tmp_path, furnished):
    workshop = furnished.copy_to(tmp_path)
    targets = ("--", "results/models/smollm2_135m/sums", "results/models/smollm2_135m/knaves")
    assert workshop.snakemake(*targets).returncode == 0
    assert workshop.planned(*targets) == Counter()
    longer = "models={smollm2_135m: {warm_start: {sums: {training: {steps: 999}}}}}"
    assert workshop.planned("--config", longer, *targets) == Counter(["warm_started_model sums"])
    other = "models={smollm2_135m: {package: {end: '</s>'}}}"
    again = ["model_to_warm_start", "warm_started_model sums", "warm_started_model knaves"]
    assert workshop.planned("--config", other, *targets) == Counter(again)
