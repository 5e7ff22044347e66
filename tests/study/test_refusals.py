"""What is refused, by place and key."""

import copy
import os
import re

import pytest
import yaml
from configurations import DEMO, NAMES, REGISTRIES, VERL, in_layer, merged, refusal, resolved

from selfdistill.errors import UserError
from selfdistill.schemas import schema
from selfdistill.study.config_files import ConfigFiles
from selfdistill.study.layer_order import LAYERS
from selfdistill.study.setting_places import about, with_place
from selfdistill.study.study import load_study


@pytest.mark.parametrize("layer", LAYERS, ids=lambda layer: ".".join(layer.at))
def test_an_unknown_key_is_refused_in_every_layer(layer):
    said = refusal("variants: {probe: {method: rlcsd}}", in_layer(layer, {"weight_dekay": 1}))
    section = ".".join((*layer.path(NAMES), "optimizer"))
    assert f"{section}: unknown key 'weight_dekay'; the nearest valid key is 'weight_decay'" in said


def test_an_unknown_objective_key_is_refused():
    said = refusal("methods: {rlcsd: {objective: {tua: 0.03}}}", "matrix: {variants: [rlcsd]}")
    assert "methods.rlcsd.objective: unknown key 'tua'; the nearest valid key is 'tau'" in said


def test_an_objective_key_of_another_method_is_refused_and_the_method_named():
    said = refusal("overrides: {all: {objective: {tau: 0.03}}}")
    assert "overrides.all.objective: unknown key 'tau'" in said
    assert "method grpo" in said


def test_a_method_must_name_all_its_objective_keys():
    mine = "methods: {mine: {implementation: grpo, objective: {epsilon_low: 0.2, epsilon_high: 0.2}}}"
    assert re.search(r"methods\.mine\.objective.*'dual_clip'", refusal(mine))


@pytest.mark.parametrize(
    ("text", "said"),
    [
        (
            "matrix: {variants: [opd]}",
            "run arithmetic/tiny_qwen3/opd: teacher.kind is 'external' and teacher.model '': the kind external needs",
        ),
        (
            "tasks: {arithmetic: {second_grader: judge}}",
            "tasks.arithmetic: second_grader is 'judge', and `judge` is missing; a judge needs both",
        ),
        (
            "tasks: {arithmetic: {judge: {url: 'http://a/v1', model: m}}}",
            "tasks.arithmetic: second_grader is None, and `judge` is there; a judge needs both",
        ),
        (
            "tasks: {arithmetic: {judge: {url: 'http://a/v1?key=b', model: m}}}",
            "tasks.arithmetic.judge.url: expected http:// or https:// and an address without a key in it",
        ),
        (
            "{matrix: {variants: [opd]}, overrides: {all: {teacher: {model: tiny_qwen2}}}}",
            "teacher.model: unknown model 'tiny_qwen2'; the nearest known one is 'tiny_qwen3'",
        ),
        (
            "overrides: {all: {rollout: {group_size: 1}}}",
            "rollout.group_size is 1, but method grpo compares the rollouts of a group: expected 2 or more; raise it",
        ),
        (
            "{matrix: {variants: [sdpo_official]}, overrides: {all: {hints: {source: none, feedback: always}}}}",
            "tiny_qwen3/sdpo_official: hints.feedback is 'always' with hints.source 'none', but the grader maths "
            "says nothing of failures: set hints.source",
        ),
        (
            "{matrix: {tasks: [wrong_facts], variants: [sdpo_official]}, overrides: {all: {hints: {feedback: always}, "
            "reward: {feedback_level: none}}}}",
            "the grader chain says nothing of failures; ask for more in grading.feedback: set",
        ),
        (
            "{matrix: {tasks: [wrong_facts], variants: [sdpo_official]}, "
            "overrides: {all: {hints: {template: reference}}}}",
            "run wrong_facts/tiny_qwen3/sdpo_official: hints.template: reference: has no section for feedback",
        ),
        (
            "{matrix: {variants: [sdpo_official]}, overrides: {all: {hints: {source: none, feedback: never}}}}",
            "hints.source is 'none' and hints.feedback 'never', but the teacher of method sdpo_official reads hints",
        ),
        (
            "{matrix: {variants: [opd]}, overrides: {all: {teacher: {kind: none}}}}",
            "teacher.kind is 'none', but method opd needs a teacher; name one",
        ),
        (
            "{matrix: {variants: [opd]}, "
            "overrides: {all: {teacher: {model: tiny_qwen3}, objective: {extrapolation: 1.25}}}}",
            "objective.extrapolation is 1.25, which starts from teacher.reference, and that is 'none'",
        ),
        (
            "overrides: {all: {reward: {feedback_level: value}}}",
            "reward.feedback_level: 'value' is no level of grader maths; it says nothing of failures: remove it",
        ),
        (
            "{matrix: {variants: [sdpo_official]}, "
            "overrides: {all: {hints: {feedback: never, shuffle_feedback: true}}}}",
            "hints.shuffle_feedback is on, but hints.feedback is 'never'",
        ),
        (
            "{matrix: {tasks: [wrong_facts], variants: [sdpo_official]}, overrides: {all: {"
            "hints: {shuffle_feedback: true}, rollout: {prompts_per_step: 1}, update: {prompts_per_update: 1}}}}",
            "hints.shuffle_feedback takes feedback of other prompts, but rollout.prompts_per_step is 1",
        ),
        (
            "tasks: {tool_use: {grading: {feedback: value}}}",
            "tasks.tool_use.grading.feedback: 'value' is no level of grader tool_use; expected one of none, names",
        ),
        (
            "tasks: {wrong_facts: {preflight: {contexts: {place: {feedback: plaice}}}}}",
            "preflight.contexts.place.feedback: 'plaice' is no level of grader chain",
        ),
        (
            "matrix: {tasks: [arithmetik]}",
            "matrix.tasks: unknown task 'arithmetik'; the nearest known one is 'arithmetic'",
        ),
        ("matrix: {models: [tiny]}", "matrix.models: unknown model 'tiny'; the nearest known one is 'tiny_qwen3'"),
        ("matrix: {variants: [rlcds]}", "matrix.variants: unknown variant 'rlcds'; the nearest known one is 'rlcsd'"),
        ("matrix: {variants: [rlscd]}", "matrix.variants: unknown variant 'rlscd'; the nearest known one is 'rlcsd'"),
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
        (
            "overrides: {methods: {opsd: {controls: {evidence: noise}}}}",
            "controls.evidence: a control of a hinted teacher's evidence of the sampled tokens, which method opsd does "
            "not read: take one of rlcsd, rlsd",
        ),
        (
            "overrides: {methods: {rlcsd: {controls: {evidence: shuffled}}}}",
            "controls.evidence: expected one of kept, permuted_in_rollouts",
        ),
        ("seeds: [0]", "top level: unknown key 'seeds'; it is a key of 'matrix'"),
        ("metrix: 1", "top level: unknown key 'metrix'; the nearest valid key is 'matrix'"),
        ("overrides: {all: {steps: many}}", "overrides.all.steps: expected a value of type integer, found 'many'"),
        ("overrides: {all: {steps: 0}}", "overrides.all.steps: expected at least 1, found 0"),
        ("overrides: {all: {rollout: {engine: vllm}}}", "expected one of own, transformers, found 'vllm'"),
        ("overrides: {all: {rollout: {prompts_per_step: 15}}}", "15 is no multiple of update.prompts_per_update"),
        ("tasks: {knights: {draws: 0}}", "tasks.knights.draws: expected at least 1"),
        ("tasks: {arithmetic: {draws: 3}}", "metric mean@12 does not fit draws 3"),
        (
            "tasks: {arithmetic: {data: {source: no/such/folder}}}",
            "tasks.arithmetic.data.source: no/such/folder/arithmetic_3to8/train.parquet: no such file; expected",
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


@pytest.mark.parametrize(
    ("text", "said"),
    [
        (
            "{matrix: {variants: [mine]}, variants: {mine: {method: grpo, set: {rollout: {group_size: 1}}}}}",
            r"^mine\.yaml: run .*rollout\.group_size is 1, .* \(set by variants\.mine\.set\.rollout\.group_size\)$",
        ),
        (
            "overrides: {all: {rollout: {prompts_per_step: 15}}}",
            r"^mine\.yaml: .*\(set by overrides\.all\.rollout\.prompts_per_step, "
            r"tasks\.arithmetic\.run\.update\.prompts_per_update in config/tasks\.yaml\)$",
        ),
        ("tasks: {math: {draws: 3}}", r"^mine\.yaml: tasks\.math: metric mean@\d+ does not fit draws 3"),
        (
            "tasks: {knights: {data: {source: no/such}}}",
            r"^mine\.yaml: tasks\.knights\.data\.source: no/such/.*expected",
        ),
        (
            "{matrix: {models: [qwen3_4b]}, models: {qwen3_4b: {source: no/such}}}",
            r"^mine\.yaml: models\.qwen3_4b\.source: no/such: no such folder",
        ),
        (
            "models: {tiny_qwen3: {run: {chat: {template: no.txt}}}}",
            r"^mine\.yaml: .*no\.txt: cannot be read",
        ),
        ("discovery: {sets: {}, variant: grpo}", r"^mine\.yaml: discovery\.sets: expected one or more"),
        ("methods: {m: {implementation: 'os:system', objective: {}}}", r"^mine\.yaml: methods\.m\.implementation: os"),
    ],
)
def test_a_refusal_names_the_file_of_the_setting_whatever_layer_holds_it(text, said, tmp_path):
    mine = tmp_path / "mine.yaml"
    mine.write_text(text)
    with pytest.raises(UserError) as caught:
        load_study(merged(text), [mine, DEMO, *REGISTRIES])
    place = os.path.relpath(mine)
    assert str(caught.value).startswith(f"{place}: ")
    assert re.search(said, str(caught.value).replace(place, "mine.yaml")), caught.value


def test_the_place_of_a_refusal_is_that_of_its_keys_whatever_its_words_name(tmp_path):
    mine = tmp_path / "mine.yaml"
    mine.write_text("overrides: {all: {steps: 3}}")
    config, files = merged(mine.read_text()), ConfigFiles([mine, *REGISTRIES])
    error = UserError("of tasks.arithmetic.draws, defaults.preset", keys=["steps", "rollout.top_p"])
    with pytest.raises(UserError), about("arithmetic", "tiny_qwen3", "rlcsd"):
        raise error
    place, registry = os.path.relpath(mine), os.path.relpath(REGISTRIES[0])
    assert with_place(error, config, files) == (
        f"{place}: {error} (set by overrides.all.steps, defaults.rollout.top_p in {registry})"
    )
    # A key leads into the settings of a run, or into the configuration: never into both.
    assert not schema("run")["properties"].keys() & schema("config")["properties"].keys()


LOGIC = "matrix: {tasks: [logic], models: [qwen3_4b], variants: [grpo]}"


@pytest.mark.parametrize(
    ("text", "said"),
    [
        (
            "models: {qwen3_4b: {source: no/such}}",
            "models.qwen3_4b.source: no/such: no such folder; expected 'hub'",
        ),
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


TAKEN = ("data.train_batch_size=1", "++data.train_batch_size=1", "~trainer.nnodes=1")
NO_WORDS = ("x=a b", "-trainer.x=1", "a..b=1", "", "+++a=1")


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("rollout: {engine: own}", "rollout.engine with trainer verl: expected vllm, found 'own'"),
        ("rollout: {old_logprobs: sampler}", "rollout.old_logprobs with trainer verl: expected recompute"),
        ("rollout: {temperature: 0.9}", "rollout.temperature 0.9 with trainer verl needs rollout.top_p 1"),
        ("verl: {rollout_tensor_parallel: 3}", "verl.rollout_tensor_parallel 3 does not divide the run's 8 GPUs"),
        ("verl: {overrides: [trainer.save_freq=3]}", "names trainer.save_freq, which the run's other settings decide"),
        ("verl: {overrides: ['+selfdistill.hints={}']}", "names selfdistill.hints"),
        ("verl: {overrides: ['data={}']}", "names data.train_files"),
        ("verl: {overrides: ['trainer.x = 3']}", "expected name.path=value"),
        ("verl: {overrides: ['a.b=\"c\"']}", "expected name.path=value"),
        ("verl: {overrides: [trainer]}", "expected name.path=value"),
        *((f"verl: {{overrides: ['{word}']}}", "which the run's other settings decide") for word in TAKEN),
        *((f"verl: {{overrides: ['{word}']}}", "expected name.path=value") for word in NO_WORDS),
        ("verl: {dtype: float16}", "expected one of bfloat16, float32"),
    ],
)
def test_what_verl_cannot_run_is_refused_while_planning(text, said):
    assert said in refusal(VERL, f"overrides: {{all: {{{text}}}}}", "matrix: {variants: [rlcsd], tasks: [arithmetic]}")


def test_a_temperature_without_a_cut_distribution_is_taken():
    resolved(VERL, "overrides: {all: {rollout: {temperature: 0.9, top_p: 1, top_k: 0}}}")


#: What YAML or --config may hold for a number or a word -> what is said.
ODD = [
    ("defaults: {rollout: {top_p: .nan}}", "defaults.rollout.top_p: expected a finite number, .* found nan"),
    ("overrides: {all: {optimizer: {learning_rate: .inf}}}", "overrides.all.optimizer.learning_rate: .* found inf"),
    (
        "overrides: {all: {optimizer: {learning_rate: '1e400'}}}",
        "rate: expected a finite number, .* found inf",
    ),
    ("overrides: {all: {update: {kl_coef: 'nan'}}}", "update.kl_coef: expected a finite number, .* found nan"),
    ("methods: {grpo: {objective: {epsilon_low: -.inf}}}", "methods.grpo.objective.epsilon_low: expected"),
    ("tasks: {knights: {evaluation: {temperature: .inf}}}", "tasks.knights.evaluation.temperature: expected a finite"),
    (
        "overrides: {all: {steps: 9223372036854775808}}",
        "all.steps: expected a finite number, whole ones of 64",
    ),
    (f"overrides: {{all: {{steps: '{'9' * 5000}'}}}}", "overrides.all.steps: expected"),
    ("matrix: {seeds: [1.0]}", r"matrix.seeds.0: expected a whole number, found 1.0; write 1"),
    ("matrix: {seeds: ['1e2']}", r"matrix.seeds.0: expected a whole number, found 100.0; write 100"),
    (
        "matrix: {seeds: ['010']}",
        r"matrix.seeds.0: .* found '010', which YAML reads as 8, in base 8; write 10, or",
    ),
    ("matrix: {seeds: ['1:30']}", r"matrix.seeds.0: .* found '1:30', which YAML reads as 90, in base 60; write the"),
    ("matrix: {seeds: [-1]}", "matrix.seeds.0: expected at least 0, found -1"),
    ("matrix: {seeds: null}", "matrix.seeds: expected a value of type list, found None"),
    ("overrides: {all: {teacher: {kind: on}}}", r"teacher.kind: .* found True \(YAML reads an unquoted yes, no, on"),
    ("tasks: {logic: {data: {hub: {revision: no}}}}", r"hub.revision: .* found False \(YAML reads an unquoted"),
    ("tasks: {logic: {data: {hub: {revision: 1234567}}}}", r"hub.revision: .* found 1234567 \(quote what is text\)"),
    ("matrix: {tasks: [null]}", r"matrix.tasks.0: .* found None \(YAML reads null, ~ and nothing at all so\)"),
    (f"overrides: {{all: {{steps: {'x' * 10_000}}}}}", r"found 'xxx.* \[\.\.\. 9802 characters left out \.\.\.\]"),
    (f"overrides: {{all: {{{'x' * 1_000}: 1}}}}", "unknown key 'xxx"),
    (f"matrix: {{tasks: [{'x' * 10_000}]}}", "unknown task 'xxx"),
    (f"matrix: {{seeds: [0, {', '.join(map(str, range(600)))}]}}", "matrix.seeds: 0 is listed twice"),
    (f"matrix: {{seeds: [{', '.join(map(str, range(6_000)))}]}}", "2 tasks x 1 models x 9 variants x 6,000 seeds are"),
]


@pytest.mark.parametrize(("text", "said"), ODD, ids=[text[:60] for text, _ in ODD])
def test_odd_numbers_and_words_are_refused_in_a_short_message(text, said):
    message = refusal(text)
    assert re.search(said, message), message
    assert len(message) < 700
    assert "\n" not in message


def test_a_whole_number_with_a_point_is_whole_where_it_names_nothing():
    assert resolved("overrides: {all: {steps: 7.0}}") == resolved("overrides: {all: {steps: '7e0'}}")
    draws = load_study(merged("tasks: {knights: {draws: 4.0, metric: pass@1}}")).evaluation("knights")["draws"]
    assert repr(draws) == "4"
