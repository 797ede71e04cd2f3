"""Run records: what one run measured, where and how. Written once, rendered many times."""

from harness.records.load import BatchNormRecord, FileRecord, LoadAudit, PlaceRecord, StructureRow, TensorRecord
from harness.records.quantity import Averaging, Measurement, Quantity, ScenesNeeded, Strict, Text
from harness.records.run import AdapterRun, ChipScore, RunRecord, SweepRow, read_runs, write_run

__all__ = [
    "AdapterRun",
    "Averaging",
    "BatchNormRecord",
    "ChipScore",
    "FileRecord",
    "LoadAudit",
    "Measurement",
    "PlaceRecord",
    "Quantity",
    "RunRecord",
    "ScenesNeeded",
    "Strict",
    "StructureRow",
    "SweepRow",
    "TensorRecord",
    "Text",
    "read_runs",
    "write_run",
]
