"""A harness that says which claims of a model card hold, which do not, and why not.

>>> from harness import audit_card
>>> audit = audit_card("card.yaml")          # doctest: +SKIP
>>> [f.id for f in audit.of("inconsistent")]  # doctest: +SKIP

>>> from harness import load_family, read_chips
>>> ensemble = load_family("terramind-nyc", "weights", recipe="pretraining")  # doctest: +SKIP
>>> for chip in read_chips("chips"):                                          # doctest: +SKIP
...     ensemble.predict(chip, tasks=["lulc_nyc", "buildings_nyc"])

Predicting is the ensemble's own method, and `harness.score` is the package that scores:

>>> from harness.score.confusion import ConfusionMatrix
>>> from harness.score.metrics import miou
>>> round(miou(ConfusionMatrix(((5, 1), (0, 4)))).value, 3)
0.817
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

from harness.claims.audit import audit_card

if TYPE_CHECKING:
    from harness.chips.assemble import read_chip
    from harness.chips.sources.files import read_chips
    from harness.models.ensemble import load_family

__all__ = ["audit_card", "load_family", "read_chip", "read_chips"]

HEAVY = {
    "load_family": "harness.models.ensemble",
    "read_chip": "harness.chips.assemble",
    "read_chips": "harness.chips.sources.files",
}
"""Names that load torch or rasterio, and only when somebody asks for them."""


def __getattr__(name: str) -> Any:
    if name in HEAVY:
        return getattr(import_module(HEAVY[name]), name)
    raise AttributeError(f"module 'harness' has no attribute {name!r}")
