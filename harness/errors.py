"""The one tree of errors. A message says what happened, where, and what to do."""

from __future__ import annotations


class HarnessError(Exception):
    """Base of every error that the harness raises on purpose.

    The console script prints its message without a traceback and exits with `exit_code`.
    """

    exit_code = 2
    """Exit status of the console script: 2 usage or input, 3 a source or device failed."""


class RegistryError(HarnessError):
    """A file under eval/ (claims, schemes, families, runs) does not follow its schema.

    The message names file, line and field.
    """


class PrintedValueError(HarnessError):
    """A printed figure cannot be read as a number, a range or an approximation."""


class ModelCardError(HarnessError):
    """A Hugging Face model card cannot be drafted into a registry."""


class ReportError(HarnessError):
    """A report cannot be rendered from what the registry and the runs hold."""


class StaleReportError(ReportError):
    """Committed reports differ from what the registry renders today."""

    exit_code = 1
