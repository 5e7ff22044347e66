"""A value of a setting is checked by the same code wherever it enters."""

import math
from dataclasses import dataclass, field

import pytest
from configurations import refusal, resolved

from selfdistill.errors import UserError
from selfdistill.methods.catalogue import shipped
from selfdistill.methods.setting import Settings, defaults, fields, from_mapping, json_schema, setting, without_added
from selfdistill.objectives.methods import METHODS, build_method
from selfdistill.objectives.rlcsd import RLCSD


@dataclass(frozen=True)
class Inner(Settings):
    at = ("inner",)
    share: float = setting(0.5, "A share.", minimum=0, below=1)
    bound: float | None = setting(None, "A bound.", above=0)
    later: float = setting(2.0, "Came later.", added=True)


@dataclass(frozen=True)
class Outer(Settings):
    inner: Inner = field(default_factory=Inner)
    count: int = setting(3, "A number.", minimum=1)
    words: list[str] = setting(["a"], "Words.", pattern=("one letter", "^[a-z]$"))
    mode: str = setting("soft", "A mode.", choices=("soft", "hard"))
    needed: str = field(kw_only=True)


@pytest.mark.parametrize(
    ("value", "said"),
    [
        (0.0, "objective.tau: expected more than 0, found 0.0"),
        (-1, "objective.tau: expected more than 0, found -1"),
        (math.nan, "objective.tau: expected a finite number"),
        (math.inf, "objective.tau: expected a finite number"),
        (True, "objective.tau: expected a value of type number, found True"),
        ("narrow", "objective.tau: expected a value of type number, found 'narrow'"),
        (None, "objective.tau: expected a value of type number, found None"),
    ],
)
def test_a_value_is_refused_alike_from_yaml_and_python(value, said):
    written = {None: "null", True: "true"}.get(value, value) if not isinstance(value, float) else f"{value}"
    written = {"nan": ".nan", "inf": ".inf"}.get(written, written)
    assert said in refusal(f"overrides: {{methods: {{rlcsd: {{objective: {{tau: {written}}}}}}}}}")
    for build in (lambda: RLCSD(tau=value), lambda: build_method("rlcsd", {"tau": value})):
        with pytest.raises(UserError) as caught:
            build()
        assert said in str(caught.value)


@pytest.mark.parametrize(("given", "taken"), [("1e-3", 0.001), (1, 1.0), ("2", 2.0)])
def test_a_number_is_read_alike_from_yaml_and_python(given, taken):
    assert repr(resolved(f"methods: {{rlcsd: {{objective: {{tau: {given!r}}}}}}}")["objective"]["tau"]) == repr(taken)
    assert repr(RLCSD(tau=given).tau) == repr(taken)


@pytest.mark.parametrize(
    ("values", "said"),
    [
        ({}, "run config: top level: key 'needed' is missing"),
        ({"needed": "x", "inner": {"share": 1}}, "run config: inner.share: expected less than 1, found 1"),
        ({"needed": "x", "inner": {"shar": 1}}, "inner: unknown key 'shar'; the nearest valid key is 'share'"),
        ({"needed": "x", "inner": {"bound": 0}}, "inner.bound: expected more than 0, found 0"),
        ({"needed": "x", "words": ["ab"]}, "words.0: expected one letter, found 'ab'"),
        ({"needed": "x", "mode": "sfot"}, "mode: expected one of soft, hard, found 'sfot'"),
        ({"needed": "x", "count": 1.5}, "count: expected a value of type integer, found 1.5"),
    ],
)
def test_settings_from_a_mapping_are_refused_by_key(values, said):
    with pytest.raises(UserError) as caught:
        from_mapping(Outer, values)
    assert said in str(caught.value)


def test_a_later_setting_is_no_part_of_a_run_at_its_default():
    """So that runs from before it keep their hashes."""
    at_default = {"inner": {"share": 0.5, "later": 2.0}, "count": 3}
    assert without_added(Outer, at_default) == {"inner": {"share": 0.5}, "count": 3}
    changed = {"inner": {"share": 0.5, "later": 2.5}, "count": 3}
    assert without_added(Outer, changed) == changed


def test_settings_from_a_mapping_have_their_defaults_elsewhere():
    taken = from_mapping(Outer, {"needed": "x", "inner": {"bound": 2}, "count": 4.0})
    assert taken == Outer(Inner(0.5, 2.0, 2.0), 4, ["a"], needed="x")
    assert defaults(Outer) == {
        "inner": {"share": 0.5, "bound": None, "later": 2.0},
        "count": 3,
        "words": ["a"],
        "mode": "soft",
    }
    assert json_schema(Outer)["properties"]["inner"]["properties"]["share"] == {
        "type": "number",
        "minimum": 0,
        "exclusiveMaximum": 1,
    }


@pytest.mark.parametrize("name", shipped())
def test_every_shipped_method_is_whole(name):
    """A file more in selfdistill/methods is a method more: nothing lists them."""
    kind = shipped()[name]
    assert issubclass(METHODS[name], kind)
    assert kind.look
    assert {"optimizer", "update"} <= set(kind.published)
    assert all(each.metadata["meaning"].endswith(".") for each in fields(kind))
