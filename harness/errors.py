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


class RecipeError(HarnessError):
    """A recipe under eval/recipes/ is wrong, or cannot be applied to a chip; names knob and chip."""


class ChipError(HarnessError):
    """A chip's files are missing, unreadable or not what the folder form asks for; names the file."""


class UnitError(ChipError):
    """Pixels are in another unit than declared or asked for; names file, unit asked for and likely unit."""


class WeightsError(HarnessError):
    """Weights are refused: a tensor unaccounted for, a wrong shape, hash or file; names the cause."""


class TopologyError(HarnessError):
    """No such topology or backbone, or it cannot be built from what the family says."""


class StackError(HarnessError):
    """The torch stack is missing or cannot be imported."""

    exit_code = 3


class DeviceError(HarnessError):
    """A device is not there, failed its self-test, or ran out of memory at batch 1."""

    exit_code = 3


class UnscoredError(HarnessError):
    """A run ended with chips that could not be scored; the record says which and why."""

    exit_code = 3


class SourceError(HarnessError):
    """A catalogue, store, label service or hub did not answer, or answered with what cannot be used.

    The message names service, question and answer, never a token or a proxy's password.
    """

    exit_code = 3


class UnreachableError(SourceError):
    """A service did not answer at all: no connection, no name, or nothing but errors after all retries."""


class BundleError(HarnessError):
    """A bundle is refused: altered, not of the schema, or with figures that do not follow from what it holds."""

    exit_code = 1


class SelfCheckError(HarnessError):
    """The harness does not find in the simulated city what is known to be there."""

    exit_code = 1
