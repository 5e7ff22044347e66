"""A method of the user's own: its keys and types, its file, and what is refused of it."""

import sys
from pathlib import Path

import pytest
import yaml
from configurations import DEMO, REGISTRIES, merged, refusal, resolved

from selfdistill.errors import UserError
from selfdistill.files import sha256_file
from selfdistill.study import own_methods
from selfdistill.study.study import config_hash, load_study

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


STRONG = "overrides: {methods: {mine: {objective: V}}}"
OWN_LAYERS = [
    "defaults: {objective: V}",
    "presets: {corrected: {all: {objective: V}}}",
    "presets: {corrected: {implementations: {'my_package.my_module:Mine': {objective: V}}}}",
    "tasks: {arithmetic: {run: {objective: V}}}",
    "models: {tiny_qwen3: {run: {objective: V}}}",
    "overrides: {all: {objective: V}}",
    "variants: {milder: {set: {objective: V}}}",
]


UNKNOWN = ": unknown key 'strenght'; the nearest valid key is 'strength' (valid: bound, every, mode, "


@pytest.mark.parametrize(
    ("layer", "value", "said"),
    [
        *((layer, "{strenght: 1}", UNKNOWN) for layer in (STRONG, *OWN_LAYERS)),
        *(
            (layer, "{strength: hard}", ".strength: expected a value of type number, found 'hard'")
            for layer in OWN_LAYERS
        ),
        (STRONG, "{strength: true}", ".strength: expected a value of type number, found True"),
        (STRONG, "{strength: null}", ".strength: expected a value of type number, found None"),
        (STRONG, "{every: 2.5}", ".every: expected a value of type integer, found 2.5"),
        (STRONG, "{soft: 1}", ".soft: expected a value of type boolean, found 1"),
        (STRONG, "{mode: 1}", ".mode: expected a value of type string, found 1"),
        (STRONG, "{bound: none at all}", ".bound: expected a value of type number, null, found 'none at all'"),
    ],
)
def test_unknown_keys_and_wrong_types_of_an_own_method_are_refused_in_every_layer(layer, value, said):
    text = layer.replace("V", value)
    refused = refusal(OWN, "variants: {milder: {method: mine}}", "matrix: {variants: [mine, milder]}", text)
    section = ".".join(_path({"top": yaml.safe_load(layer.replace("V", "{k: 0}"))})[1:])
    assert f"{section}{said}" in refused
    assert "(method mine: its keys and their types are those of its published values)" in refused


def _path(node: dict) -> list[str]:
    """Keys down to the section that holds the last key."""
    key, value = list(node.items())[-1]
    return [key, *_path(value)] if isinstance(value, dict) else []


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


@pytest.mark.parametrize("name", ["builtins:eval", "site:main", "os:system", "zipimport:zipimporter"])
def test_a_module_that_is_built_into_python_is_refused(name):
    said = refusal(OWN, yaml.safe_dump({"methods": {"mine": {"implementation": name}}}))
    assert f"{name}: this module is built into Python and holds no loss; name a class of yours" in said


def test_a_module_that_cannot_be_looked_for_is_refused(tmp_path, monkeypatch):
    assert "__main__ is another module in every job" in refusal(OWN, "methods: {mine: {implementation: '__main__:M'}}")
    (tmp_path / "broken_package").mkdir()
    (tmp_path / "broken_package" / "__init__.py").write_text("raise RuntimeError('in its package')")
    monkeypatch.syspath_prepend(tmp_path)
    said = refusal(OWN, "methods: {mine: {implementation: 'broken_package.loss:Mine'}}")
    assert "broken_package.loss:Mine: cannot find this module (RuntimeError: in its package)" in said


WHOLE = """
import torch
from dataclasses import dataclass

from selfdistill.methods.setting import setting
from selfdistill.objectives.grpo import GRPO


@dataclass(frozen=True)
class Whole(GRPO):
    published = {"teacher": {"kind": "snapshot"}, "hints": {"source": "gt_cot"}, "update": {"kl_coef": 0.5}}

    strength: float = setting(0.5, "How much.", above=0)
    plain: int = 3
"""


@pytest.fixture
def whole(tmp_path, monkeypatch):
    """A method that is one file, on the path."""
    (tmp_path / "whole_method.py").write_text(WHOLE)
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    return "methods: {mine: {implementation: 'whole_method:Whole'}}\nmatrix: {variants: [mine]}"


def test_a_method_of_ones_own_is_one_file(whole, tmp_path, monkeypatch):
    run = resolved(whole, variant="mine")
    expected = {"epsilon_low": 0.2, "epsilon_high": 0.2, "dual_clip": 3.0, "strength": 0.5, "plain": 3}
    assert run["objective"] == expected
    assert (run["teacher"]["kind"], run["hints"]["source"], run["update"]["kl_coef"]) == ("snapshot", "gt_cot", 0.5)
    assert "whole_method" not in sys.modules
    monkeypatch.setattr(own_methods, "_asked", None)  # what the class said is kept
    own_methods._kept.cache_clear()
    changed = resolved(whole, "overrides: {methods: {mine: {objective: {strength: '1e-3'}}}}", variant="mine")
    assert changed["objective"] == expected | {"strength": 0.001}
    same = resolved(whole, "methods: {mine: {teacher: {kind: ema}}}", variant="mine")
    assert (same["teacher"]["kind"], same["objective"]) == ("ema", expected)
    for value, said in (
        ("strength: 0", "more than 0, found 0"),
        ("plain: 0.5", "type integer"),
        ("strngth: 1", "'strength'"),
    ):
        assert said in refusal(whole, f"overrides: {{methods: {{mine: {{objective: {{{value}}}}}}}}}")


@pytest.mark.parametrize(
    ("source", "said"),
    [
        ("raise RuntimeError('no license')", "whole_method:Whole: cannot be imported: RuntimeError: no license"),
        ("class Other: pass", "whole_method:Whole: cannot be imported: AttributeError: "),
        ("class Whole: pass", "whole_method:Whole: is no dataclass"),
        (
            "import dataclasses\n@dataclasses.dataclass\nclass Whole:\n    must: int",
            "whole_method:Whole: field 'must' has no default",
        ),
        (
            "import dataclasses\n@dataclasses.dataclass\nclass Whole:\n    published = {'teecher': {'kind': 'ema'}}",
            "methods.mine: unknown key 'teecher'; the nearest valid key is 'teacher'",
        ),
        (None, "methods.mine: whole_method:Whole: no such module here, and its entry has no `objective`"),
    ],
)
def test_a_class_that_says_nothing_of_its_method_is_refused(whole, tmp_path, source, said):
    file = tmp_path / "whole_method.py"
    file.write_text(source) if source else file.unlink()
    assert said in refusal(whole)


def test_a_shipped_loss_under_another_name_has_its_published_values():
    run = resolved("methods: {twin: {implementation: opsd, update: {kl_coef: 0.25}}}", variant="twin")
    assert run["teacher"]["kind"] == "initial"
    assert (run["optimizer"]["max_grad_norm"], run["update"]["kl_coef"]) == (0.1, 0.25)
