"""Tensors of the objectives have the shapes and kinds that their annotations say; the library itself checks none."""

import functools
import importlib
import inspect
import pkgutil
import subprocess
import sys
from dataclasses import fields, is_dataclass
from types import FunctionType

import pytest
import torch

import selfdistill.objectives
from selfdistill.objectives import advantages, aggregation, contrast
from selfdistill.objectives.batch import Batch, Student, Targets, TokenLoss
from selfdistill.objectives.methods import METHODS, build_method, micro_batch_loss

jaxtyping = pytest.importorskip("jaxtyping")  # not in verl's environment, which collects these tests too
jaxtyped = jaxtyping.jaxtyped

MODULES = [
    importlib.import_module(f"selfdistill.objectives.{each.name}")
    for each in pkgutil.iter_modules(selfdistill.objectives.__path__)
]
KINDS = {name: getattr(jaxtyping, name) for name in ("Bool", "Float", "Int", "Shaped")}


def shape_of(annotation: object, module: object) -> object:
    """What a tensor's annotation stands for; None where it is about no shape."""
    if not isinstance(annotation, str) or not annotation.startswith(tuple(f"{kind}[" for kind in KINDS)):
        return None
    return eval(annotation, {**vars(module), **KINDS})


def check(value: object, annotation: object, module: object, name: str) -> None:
    """Holds a tensor against its annotation; axes of one name have one length within one context."""
    shape = shape_of(annotation, module)
    if shape is not None and isinstance(value, torch.Tensor):
        assert isinstance(value, getattr(shape, "__args__", (shape,))[0]), (
            f"{name}: {tuple(value.shape)}, {value.dtype}"
        )


def check_fields(value: object) -> None:
    for each in fields(value):
        check(
            getattr(value, each.name), each.type, inspect.getmodule(type(value)), f"{type(value).__name__}.{each.name}"
        )


def checked(function: FunctionType) -> FunctionType:
    """The function, whose tensors are held against its annotations at every call."""
    module, signature = inspect.getmodule(function), inspect.signature(function)

    @functools.wraps(function)
    def call(*args, **kwargs):
        with jaxtyped("context"):
            given = signature.bind(*args, **kwargs).arguments
            for name, value in given.items():
                check(value, signature.parameters[name].annotation, module, f"{function.__name__}({name})")
            result = function(*args, **kwargs)
            check(result, signature.return_annotation, module, f"{function.__name__} returns")
            if is_dataclass(result):
                check_fields(result)
        return result

    return call


@pytest.fixture
def watched(monkeypatch):
    """Every function and method of the objectives, checked wherever it is called by name; how many have shapes."""
    count = 0
    for module in MODULES:
        own = {name: x for name, x in vars(module).items() if inspect.isfunction(x)}
        for name, function in own.items():
            if function.__module__.startswith("selfdistill.objectives"):
                monkeypatch.setattr(module, name, checked(function))
                home = inspect.getmodule(function)
                count += any(shape_of(p.annotation, home) for p in inspect.signature(function).parameters.values())
        for kind in [x for x in vars(module).values() if inspect.isclass(x) and x.__module__ == module.__name__]:
            for name, function in list(vars(kind).items()):
                if inspect.isfunction(function) and not name.startswith("__") and not is_dataclass(kind):
                    monkeypatch.setattr(kind, name, checked(function))
    return count


@pytest.mark.parametrize("name", METHODS)
def test_tensors_have_the_shapes_of_their_annotations(name, random_case, watched):
    assert watched > 20
    method = build_method(name, {})
    case = random_case(3, method.needs).with_bonus()
    targets = method.targets(case.batch, "tokens")
    student = case.student()
    with jaxtyped("context"):  # B, T, K, S are the same in all of them
        for each in (case.batch, student, targets, method.token_loss(student, case.batch, targets)):
            assert isinstance(each, Batch | Student | Targets | TokenLoss)
            check_fields(each)
    loss, _ = micro_batch_loss(method, student, case.batch, targets, torch.zeros_like(targets.weights))
    assert loss.shape == ()


def test_other_shapes_and_kinds_are_noticed(watched):
    mask = torch.ones(2, 3, dtype=torch.bool)
    with pytest.raises(AssertionError, match=r"token_weights\(mask\): \(2, 3\), torch.float32"):
        aggregation.token_weights(mask.float(), "tokens", 2)
    with pytest.raises(AssertionError, match=r"mean_wrong_logprobs\(wrong_mask\): \(3, 1\)"):
        contrast.mean_wrong_logprobs(torch.zeros(2, 1, 3), torch.ones(3, 1, dtype=torch.bool))
    with pytest.raises(AssertionError, match=r"group_advantages\(groups\)"):
        advantages.group_advantages(torch.ones(4), torch.zeros(3, dtype=torch.int64))


def test_the_library_needs_no_jaxtyping():
    code = (
        "import sys; sys.modules['jaxtyping'] = None; "
        "from selfdistill.objectives.methods import METHODS; print(len(METHODS))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert int(done.stdout) == len(METHODS)
