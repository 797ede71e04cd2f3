"""The audit's checks. A new one is a function in a module here and a line in `CHECKS`."""

from __future__ import annotations

from collections.abc import Callable, Iterator

from harness.claims.checks import (
    binary,
    causes,
    counts,
    gates,
    metrics,
    probes,
    relations,
    repeats,
    scheme,
    splits,
    structure,
)
from harness.claims.findings import Finding
from harness.claims.groups import View

Check = Callable[[View], Iterator[Finding]]

CHECKS: tuple[tuple[Check, dict[str, str]], ...] = (
    (metrics.macro_means, {"macro-mean": "mIoU is the mean of the class IoUs; likewise macro F1 and class accuracy"}),
    (metrics.f1_macro_from_ious, {"f1-from-iou": "F1 = 2 IoU / (1 + IoU)"}),
    (
        metrics.precision_recall,
        {"iou-from-precision-recall": "IoU = PR / (P + R - PR)", "f1-from-precision-recall": "F1 = 2PR / (P + R)"},
    ),
    (metrics.recall_bounds_iou, {"iou-bound": "IoU is at most recall, precision and F1"}),
    (metrics.micro_iou, {"micro-iou": "micro IoU = acc / (2 - acc)"}),
    (metrics.prevalence_sum, {"prevalence-sum": "class shares add up to 1"}),
    (metrics.accuracy_between_recalls, {"accuracy-from-recalls": "accuracy = sum of prevalence x recall"}),
    (
        binary.binary_identities,
        {
            "binary-accuracy": "two IoUs fix the accuracy",
            "binary-closure": "two IoUs and two recalls account for every error",
            "binary-prevalence": "two IoUs and a recall fix the prevalence",
            "binary-fractions": "TP, TN, FP+FN, prevalence, precision and FPR of the card",
        },
    ),
    (binary.binary_joint, {"binary-joint": "one two-class matrix prints all figures at once"}),
    (repeats.given_twice, {"given-twice": "one quantity, one number"}),
    (
        relations.stated_arithmetic,
        {
            "stated-difference": "printed differences",
            "stated-ratio": "printed ratios",
            "stated-sum": "printed totals",
            "stated-product": "printed products",
            "stated-mean": "printed means",
            "stated-share": "printed percentages",
            "modelled-energy": "an energy that is a latency times a constant",
        },
    ),
    (
        relations.stated_words,
        {
            "stated-greater": "'higher' needs one quantity",
            "stated-words": "words such as 'negligible' beside their figures",
        },
    ),
    (relations.class_weights, {"class-weights": "inverse-frequency weights imply a prevalence"}),
    (
        counts.sweep_counts,
        {"sweep-counts": "recall = k / n in whole pixels", "sweep-monotone": "recall never rises with the threshold"},
    ),
    (
        counts.tile_counts,
        {
            "tile-counts": "tile IoUs in whole pixels",
            "tiles-pooled": "pooled IoU from tile rows",
            "tiles-against-sweep": "tile rows and sweep describe the same pixels",
        },
    ),
    (
        counts.best_threshold,
        {
            "best-threshold": "best row by each metric",
            "threshold-chosen-on-test": "chosen and reported on one set",
            "stated-collapse": "a row called a failure, by each metric",
        },
    ),
    (counts.stated_prevalence, {"stated-prevalence": "label pixels / pixels"}),
    (counts.trivial_baselines, {"trivial-baseline": "all-zeros and all-ones beside the headline"}),
    (
        structure.lora_parameters,
        {"lora-parameters": "r x blocks x sum of (in + out)", "blocks": "stated blocks against LoRA parameters"},
    ),
    (structure.bytes_from_parameters, {"bytes": "file size = parameters x bytes of one"}),
    (structure.decoder_parameters, {"decoder-parameters": "parameters, or state with batch-norm buffers"}),
    (structure.base_parameters, {"base-parameters": "stated base against the built encoder and its file"}),
    (structure.parameters_or_bytes, {"parameters-or-bytes": "one number as a count or as a size"}),
    (splits.split_parents, {"split-parents": "chips = parents x chips per parent"}),
    (splits.split_clusters, {"split-clusters": "independent scenes, and what interval they support"}),
    (gates.gates, {"gate": "the author's own rules"}),
    (probes.probe_sums, {"probe-sum": "class counts add up to the chip"}),
    (probes.probe_bounds, {"probe-bounds": "rows against bounds as commented and as coded"}),
    (probes.probe_dominant, {"probe-dominant": "dominant class, and what constant maps pass"}),
    (probes.overlapping_chips, {"overlapping-chips": "chips that share pixels"}),
    (causes.stated_cause, {"stated-cause": "a stated cause against the prevalence effect"}),
    (causes.gain_by_class, {"gain-by-class": "which class a gain comes from"}),
    (
        scheme.class_scheme,
        {"class-scheme": "which index means which class", "index-or-name": "one name at two indices"},
    ),
)
"""Function, and the name and identity (or question) of each check that it yields."""

MEANING: dict[str, str] = {name: text for _, names in CHECKS for name, text in names.items()} | {
    "source-note": "what source code and documents show"
}
"""Every check name with its identity in one line."""
