"""The audit's checks. A new one is a function in a module here and a line in `CHECKS`."""

from __future__ import annotations

from collections.abc import Callable, Iterator

from harness.claims.checks import causes, counts, gates, metrics, probes, relations, repeats, scheme, splits, structure
from harness.claims.findings import Finding
from harness.claims.groups import View

Check = Callable[[View], Iterator[Finding]]

CHECKS: tuple[tuple[str, Check, str], ...] = (
    ("macro-mean", metrics.macro_means, "mIoU = mean of class IoUs; likewise macro F1 and class accuracy"),
    ("f1-from-iou", metrics.f1_macro_from_ious, "macro F1 = mean of 2 IoU / (1 + IoU)"),
    ("iou-from-precision-recall", metrics.f1_from_iou, "F1 = 2 IoU / (1 + IoU); IoU = PR / (P + R - PR)"),
    ("iou-bound", metrics.recall_bounds_iou, "IoU <= recall, precision, F1"),
    ("micro-iou", metrics.micro_iou, "micro IoU = acc / (2 - acc)"),
    ("accuracy-from-recalls", metrics.accuracy_between_recalls, "accuracy = sum of prevalence x recall"),
    ("binary", metrics.binary_identities, "two IoUs fix TP, TN, FP+FN, accuracy; recall adds prevalence, precision, FPR"),
    ("given-twice", repeats.given_twice, "one quantity, one number"),
    ("stated-arithmetic", relations.stated_arithmetic, "printed differences, ratios, sums, products, percentages"),
    ("stated-words", relations.stated_words, "'higher', 'negligible' and the like beside the figures"),
    ("class-weights", relations.class_weights, "inverse-frequency weights imply a prevalence"),
    ("sweep-counts", counts.sweep_counts, "recall = k / n in whole pixels; recall never rises with the threshold"),
    ("tile-counts", counts.tile_counts, "tile rows give TP in whole pixels and agree with the sweep"),
    ("best-threshold", counts.best_threshold, "best row by each metric; chosen and reported on one set"),
    ("stated-prevalence", counts.stated_prevalence, "label pixels / pixels"),
    ("trivial-baseline", counts.trivial_baselines, "all-zeros and all-ones beside the headline"),
    ("lora-parameters", structure.lora_parameters, "r x blocks x sum of (in + out)"),
    ("bytes", structure.bytes_from_parameters, "file size = parameters x bytes of one"),
    ("decoder-parameters", structure.decoder_parameters, "parameters, or state with batch-norm buffers"),
    ("base-parameters", structure.base_parameters, "stated base against the built encoder and its file"),
    ("parameters-or-bytes", structure.parameters_or_bytes, "one number as a count or as a size"),
    ("split-parents", splits.split_parents, "chips = parents x chips per parent"),
    ("split-clusters", splits.split_clusters, "independent scenes, and what interval they support"),
    ("gate", gates.gates, "the author's own rules"),
    ("probe-sum", probes.probe_sums, "class counts add up to the chip"),
    ("probe-bounds", probes.probe_bounds, "rows against bounds as commented and as coded"),
    ("probe-dominant", probes.probe_dominant, "dominant class, and what constant maps pass"),
    ("overlapping-chips", probes.overlapping_chips, "chips that share pixels"),
    ("stated-cause", causes.stated_cause, "a stated cause against the prevalence effect"),
    ("gain-by-class", causes.gain_by_class, "which class a gain comes from"),
    ("class-scheme", scheme.class_scheme, "which index means which class"),
)
"""Name, function, identity or question in one line."""
