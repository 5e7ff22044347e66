"""What a run's provenance.json says."""

import json
from typing import Any

from selfdistill.errors import UserError
from selfdistill.reporting.read.runs import RunFiles


def provenance_of(run: RunFiles) -> dict[str, Any] | None:
    """The provenance of a run's training; None where it has none. Raises UserError: a file that cannot be read."""
    if run.provenance is None:
        return None
    try:
        return json.loads(run.provenance.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError) as error:
        raise UserError(f"{run.provenance}: cannot read it ({error}); make this run again") from None
    except json.JSONDecodeError as error:
        raise UserError(f"{run.provenance}: not JSON ({error.msg}); make this run again") from None
