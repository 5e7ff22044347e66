"""Snakemake's terminal in one line a job: `snakemake --logger selfdistill`, as profiles/local has it.

Snakemake finds a logger by the name of its package, and imports it at each start: nothing heavy is imported here.
.snakemake/log has what Snakemake itself would have said.

It is imported before anything is read, so here a --configfile that cannot be read gets one line that names it, where
Snakemake 9 shows a traceback, or names no file; and so does a --config that is not KEY=VALUE.
"""

import sys
from collections.abc import Sequence
from logging import LogRecord
from typing import Any

from snakemake.settings import types
from snakemake_interface_common.exceptions import WorkflowError
from snakemake_interface_logger_plugins.base import LogHandlerBase

__all__ = ["LogHandler"]

_load_configfile = types.load_configfile


def _load_or_name(path: Any) -> dict[str, Any]:
    """Load a file of --configfile as Snakemake does."""
    try:
        return _load_configfile(path)
    except Exception:
        from selfdistill.errors import UserError
        from selfdistill.study.yaml_text import read_settings

        try:
            read_settings(str(path))
        except UserError as error:
            raise WorkflowError(f"--configfile: {error}") from None
        except OSError as error:
            raise WorkflowError(
                f"--configfile: {path}: {error.strerror}; name a file of settings in YAML; targets stand behind a --"
            ) from None
        raise


def _parse_or_name(entries: Sequence[str] | None) -> dict[str, Any]:
    """Parse the words of --config as Snakemake does."""
    for entry in entries or ():
        try:
            _parse_config([entry])
        except ValueError:
            raise WorkflowError(
                f"--config: {entry}: expected KEY=VALUE, with a key of the top level and no dots in it; keys below it "
                "stand in the value: 'matrix={seeds: [0, 1]}'"
            ) from None
    return _parse_config(entries)


types.load_configfile = _load_or_name
if (_cli := sys.modules.get("snakemake.cli")) is not None:
    _parse_config = _cli.parse_config
    _cli.parse_config = _parse_or_name


class LogHandler(LogHandlerBase):
    """Says which jobs are at work, which are done, and all there is to know of those that failed."""

    def __post_init__(self) -> None:
        self._said = None
        if not self._lists_jobs:
            from selfdistill.runs.terminal import Terminal

            self._said = Terminal(to_stdout=self.common_settings.stdout)

    def emit(self, record: LogRecord) -> None:
        """Print what the record has to say, if anything."""
        try:
            if self._said is None:
                from selfdistill.runs.terminal import advice

                print(self.format(record) + advice(record.getMessage()), file=self._stream())
            else:
                self._said.hear(record)
        except Exception:  # a logger that raises would end the thread that all messages come through
            self.handleError(record)

    def close(self) -> None:
        """End the display. Snakemake calls this more than once."""
        if getattr(self, "_said", None) is not None:
            self._said.close()
        super().close()

    def _stream(self):
        return sys.stdout if self.common_settings.stdout else sys.stderr

    @property
    def _lists_jobs(self) -> bool:
        """A dry run is there to be read, and says what Snakemake says."""
        return self.common_settings.dryrun

    @property
    def writes_to_stream(self) -> bool:
        return True

    @property
    def writes_to_file(self) -> bool:
        return False

    @property
    def has_filter(self) -> bool:
        return not self._lists_jobs

    @property
    def has_formatter(self) -> bool:
        return not self._lists_jobs

    @property
    def needs_rulegraph(self) -> bool:
        return False
