"""Made-up studies that several tests read; none of them changes one."""

from collections.abc import Callable

import pytest
from made_up_study import CROWD, Study, make_study


@pytest.fixture(scope="session")
def study(tmp_path_factory: pytest.TempPathFactory) -> Study:
    """base, grpo and rlcsd with one seed, as in the demo."""
    return make_study(tmp_path_factory.mktemp("study"), ["base", "grpo", "rlcsd"])


@pytest.fixture(scope="session")
def seeded_study(tmp_path_factory: pytest.TempPathFactory) -> Study:
    """Two seeds, two models, and a variant beside its method."""
    return make_study(
        tmp_path_factory.mktemp("seeded"),
        ["base", "grpo", "rlcsd", "rlcsd-gt_cot"],
        seeds=(0, 1),
        models=("tiny-a", "tiny-b"),
    )


@pytest.fixture(scope="session")
def crowded_study(tmp_path_factory: pytest.TempPathFactory) -> Study:
    """The matrix of the ablations, one seed."""
    return make_study(tmp_path_factory.mktemp("crowded"), CROWD)


@pytest.fixture
def new_study() -> Callable[..., Study]:
    """`make_study`, for tests that need their own."""
    return make_study
