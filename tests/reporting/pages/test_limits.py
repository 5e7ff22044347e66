from selfdistill.reporting.pages.limits import limits
from selfdistill.reporting.read.runs import RunFiles


def runs(**seeds):
    return [RunFiles("sums", "tiny", name, seed, name, {}) for name, count in seeds.items() for seed in range(count)]


def test_seeds_are_counted_by_variant():
    found = limits(runs(grpo=3, rlcsd=1), demonstration=False)
    assert (found["fewest_seeds"], found["most_seeds"]) == (1, 3)


def test_methods_that_may_collapse_are_named_where_they_were_run():
    assert limits(runs(grpo=1, sdpo=2, opsd=1), demonstration=True)["as_they_are"] == ["opsd", "sdpo"]
