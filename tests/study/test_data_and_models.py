"""What data, base models and evaluations are known by."""

import hashlib
import json
from pathlib import Path

import pytest
from configurations import merged, refusal, resolved

from selfdistill.errors import UserError
from selfdistill.study.model_folder import check_folder
from selfdistill.study.study import load_study


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
        assert study.source_files("arithmetic", "train") == [str(tmp_path / place / "mine" / "train.parquet")]
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
        "one": (b"x" * 9, CONFIG),
        "two": (b"x" * 9, CONFIG),
        "larger": (b"x" * 10, CONFIG),
        "changed": (b"x" * 9, CONFIG + " "),
        "replaced": (b"x" * 8 + b"y", CONFIG),
    }
    for place, (weights, text) in made.items():
        folder = model_folder(tmp_path / place, {"config.json": text, "model.safetensors": weights.decode()})
        (folder / "notes.md").write_text(place)
        digests[place] = of(f"{LOGIC}\nmodels: {{qwen3_4b: {{source: {folder}}}}}", "logic", "qwen3_4b")["base_model"]
    assert digests["one"] == digests["two"]
    assert len({str(digest) for digest in digests.values()}) == 4


#: A folder's files in place of whole ones, None for one that is not there -> what is said of it.
INCOMPLETE = {
    "nothing": (dict.fromkeys(("config.json", "tokenizer.json", "model.safetensors")), "no config.json; no tokenizer"),
    "no tokenizer": ({"tokenizer.json": None}, r"no tokenizer \(tokenizer_config.json with tokenizer.json"),
    "none of its settings": ({"tokenizer_config.json": None}, "no tokenizer"),
    "no chat template": (
        {"chat_template.jinja": None},
        r"no chat template \(chat_template\.jinja, or chat_template in",
    ),
    "an empty one": (
        {"chat_template.jinja": None, "tokenizer_config.json": '{"chat_template": null}'},
        "no chat template",
    ),
    "no weights": ({"model.safetensors": None}, r"no weights as safetensors \(model.safetensors\)"),
    "pickles": ({"model.safetensors": None, "pytorch_model.bin": ""}, "pytorch_model.bin is a pickle, which may run"),
    "one of two": (
        {"model.safetensors.index.json": '{"weight_map": {"a": "model.safetensors", "b": "two.safetensors"}}'},
        r"no weights as safetensors \(two.safetensors\)",
    ),
    "an adapter": ({"adapter_config.json": "{}"}, "LoRA adapter"),
    "an encoder": ({"config.json": '{"model_type": "bert", "architectures": ["BertForMaskedLM"]}'}, "BertForMaskedLM"),
    "its body": (
        {"config.json": '{"model_type": "bert", "architectures": ["BertModel"]}'},
        "names BertModel; expected",
    ),
    "with a decoder": (
        {"config.json": '{"model_type": "t5", "is_encoder_decoder": true}'},
        "an encoder with a decoder",
    ),
    "of something else": ({"config.json": '{"hidden_size": 3}'}, "names no model_type; expected the config of a"),
    "no mapping": ({"config.json": "[]"}, "expected keys and values, found list"),
    "no JSON": ({"config.json": "{"}, "cannot be read as JSON"),
    "quantised": (
        {"config.json": '{"model_type": "llama", "quantization_config": {"quant_method": "awq"}}'},
        r"quantised \(awq\)",
    ),
}
CONFIG = '{"model_type": "llama", "architectures": ["LlamaForCausalLM"]}'


def model_folder(folder: Path, files: dict[str, str | None]) -> Path:
    """A folder with what planning looks for in a model's, and these files in its place."""
    whole = {"config.json": CONFIG, "tokenizer.json": "{}", "tokenizer_config.json": "{}", "model.safetensors": "x"}
    whole["chat_template.jinja"] = "{{ messages }}"
    folder.mkdir()
    for name, text in (whole | files).items():
        if text is not None:
            (folder / name).write_text(text)
    return folder


@pytest.mark.parametrize("case", INCOMPLETE)
def test_a_folder_that_holds_no_whole_language_model_is_refused_while_planning(case, tmp_path):
    files, said = INCOMPLETE[case]
    with pytest.raises(UserError, match=said):
        check_folder(model_folder(tmp_path / "mine", files))
    if case == "no tokenizer":
        message = refusal(LOGIC, f"models: {{qwen3_4b: {{source: {tmp_path / 'mine'}}}}}")
        assert message.startswith(f"models.qwen3_4b.source: {tmp_path / 'mine'}: no tokenizer")


def test_folders_of_language_models_are_taken(tmp_path):
    for number, named in enumerate(
        (["GPT2LMHeadModel"], ["Gemma3ForConditionalGeneration"], ["Own", "MineForCausalLM"], [])
    ):
        config = json.dumps({"model_type": "any", "architectures": named})
        check_folder(model_folder(tmp_path / f"{number}", {"config.json": config}))
    check_folder(model_folder(tmp_path / "words", {"tokenizer.json": None, "vocab.json": "{}"}))
    template = {"chat_template.jinja": None, "tokenizer_config.json": '{"chat_template": "{{ messages }}"}'}
    check_folder(model_folder(tmp_path / "template", template))


def test_no_link_out_of_a_models_folder_is_followed(tmp_path):
    model_folder(tmp_path / "mine", {})
    (tmp_path / "mine" / "added.json").symlink_to("/proc/self/environ")
    said = (
        r"^config: models\.qwen3_4b\.source: .*added\.json: a link to /proc/.*/environ, outside of the model's folder"
    )
    with pytest.raises(UserError, match=said):
        of(f"{LOGIC}\nmodels: {{qwen3_4b: {{source: {tmp_path / 'mine'}}}}}", "logic", "qwen3_4b")


def test_the_engine_of_the_evaluation_is_ours_unless_it_is_named():
    assert load_study(merged()).evaluation("knights")["evaluation"]["engine"] == "own"
    assert load_study(merged()).evaluation("logic")["evaluation"]["engine"] == "vllm"
    assert "expected one of own, transformers, vllm" in refusal("tasks: {knights: {evaluation: {engine: vlm}}}")


def test_teachers_of_runs_are_diagnosed_and_others_where_they_are_named():
    other = "models: {other: {parameters: 1, source: hub, hub: {id: a/b, revision: main}}}"
    teachers = "{matrix: {variants: [base, opd]}, overrides: {methods: {opd: {teacher: {model: tiny_qwen3}}}}}"
    study = load_study(merged(other, teachers, "diagnosis: {teachers: [other], prompts: 3}"))
    cells = [(each.task, each.model, each.teacher) for each in study.diagnoses.cells()]
    assert cells == [
        (task, "tiny_qwen3", teacher) for task in ("arithmetic", "knights") for teacher in ("other", "tiny_qwen3")
    ]
    settings = study.diagnoses.of("arithmetic", "tiny_qwen3", "other")
    assert (settings["prompts"], settings["rollouts"]) == (3, 2)
    assert settings["rollout"]["max_response_tokens"] == 80
    assert settings["student"]["digest"] != settings["teacher_model"]["digest"]
    assert load_study(merged()).diagnoses.cells() == []
    assert "diagnosis.teachers: unknown model 'othr'" in refusal(other, "diagnosis: {teachers: [othr]}")
    assert "diagnosis: unknown key 'promts'; the nearest valid key is 'prompts'" in refusal("diagnosis: {promts: 3}")
