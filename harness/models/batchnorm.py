"""Running statistics of batch norms, counted anew where a decoder file has none."""

from __future__ import annotations

from collections.abc import Iterable

from torch import nn

from harness.chips.tensors import Inputs
from harness.errors import WeightsError
from harness.models.audit import Loaded, batch_norm_record
from harness.models.ensemble import Ensemble


def recompute(ensemble: Ensemble, task: str, chips: Iterable[Inputs]) -> None:
    """Count the decoder's running statistics on chips: plain means over them, in one pass.

    Layers see each other's batch statistics while this runs, as in training; what was published
    came from other chips and an exponential mean, so figures got this way are not the published
    model's, and the load audit says `recomputed`.

    Args:
        ensemble: Whose adapter it is.
        task: Adapter id.
        chips: What to count on; at least one.

    Raises:
        WeightsError: There are no chips, or the file had its statistics.
    """
    loaded = ensemble.adapters[task]
    if loaded.audit.batch_norm.in_file:
        raise WeightsError(f"{task}: the decoder file has running statistics; nothing to recompute")
    layers = [m for m in loaded.model.modules() if isinstance(m, nn.modules.batchnorm._BatchNorm)]
    before = [layer.momentum for layer in layers]
    seen = 0
    for layer in layers:
        layer.reset_running_stats()
        layer.momentum = None  # a plain mean over all batches
        layer.train()
    try:
        for inputs in chips:
            ensemble.predict(inputs, [task])
            seen += 1
    finally:
        for layer, momentum in zip(layers, before, strict=True):
            layer.momentum = momentum
            layer.eval()
    if not seen:
        raise WeightsError(f"{task}: no chips to count batch-norm statistics on")
    fresh = [t.name for t in loaded.audit.tensors if t.state in ("initial", "recomputed")]
    tensors = [t.model_copy(update={"state": "recomputed"}) if t.name in fresh else t for t in loaded.audit.tensors]
    record = batch_norm_record(loaded.model, fresh, "recomputed")
    audit = loaded.audit.model_copy(update={"batch_norm": record, "tensors": tensors})
    ensemble.adapters[task] = Loaded(loaded.model, loaded.topology, audit)
