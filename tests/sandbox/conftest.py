"""The sandbox as it is found on this machine."""

import pytest

from selfdistill.errors import UserError
from selfdistill.sandbox.isolation import Isolation
from selfdistill.sandbox.trial import isolation


@pytest.fixture(scope="session")
def isolated() -> Isolation:
    """The way that is used here; skips where none holds."""
    try:
        return isolation()
    except UserError as error:
        pytest.skip(str(error))
