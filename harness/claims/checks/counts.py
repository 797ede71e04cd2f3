"""Whole pixels behind printed rates: threshold sweeps and tile rows."""

from __future__ import annotations

from collections.abc import Iterator
from fractions import Fraction

from harness.claims.findings import Finding, Status
from harness.claims.groups import View, figure
from harness.claims.interval import Interval
from harness.claims.model import Card, Claim
from harness.claims.sweeps import Row, SetKey, Sweep, set_of, solve_sweep, split_pixels, sweep_rows, sweeps, tiles
from harness.score.binary import ALL_ONES, ALL_ZEROS


def _all_claims(sweep: Sweep) -> list[Claim]:
    return [c for row in sweep.rows for c in row.claims.values()]


def sweep_counts(view: View) -> Iterator[Finding]:
    """Recalls of a sweep are k / n with one n; precision then gives TP + FP. See `solve_sweep`."""
    for card in view.registry.cards:
        for (subject, split, variant, _), rows in sweep_rows(card).items():
            yield _monotone(view, f"{card.id}/{subject}.{split}", rows)
            pixels = split_pixels(card, subject, split) if variant == "published" else None
            if pixels is None:
                continue
            claims = [c for row in rows for c in row.claims.values()]
            found = solve_sweep(card, rows, pixels, subject, split)
            if found == []:
                yield view.finding(
                    "sweep-counts",
                    f"{card.id}/{subject}.{split}",
                    claims,
                    "inconsistent",
                    grade="medium",
                    claimed=f"{len(rows)} rows",
                    derived="no whole-pixel counts give these recalls and precisions",
                    why=f"Recall = TP/n and precision = TP/(TP+FP) with whole numbers within {pixels:,} pixels.",
                    correction="No pixel counts give all recalls and precisions of the sweep; at least one is off.",
                )
                continue
            if found is None or len(found) > 1:
                yield view.finding(
                    "sweep-counts",
                    f"{card.id}/{subject}.{split}",
                    claims,
                    "undetermined",
                    claimed=f"{len(rows)} rows",
                    derived="more than one whole-pixel solution",
                    why="The printed digits leave more than one number of label pixels.",
                    settles="the number of label pixels",
                )
                continue
            sweep = found[0]
            default = min(range(len(rows)), key=lambda i: abs(rows[i].threshold - Fraction(1, 2)))
            m = sweep.matrices[default]
            yield view.finding(
                "sweep-counts",
                f"{card.id}/{subject}.{split}",
                claims,
                "consistent",
                claimed=f"{len(rows)} rows of recall and precision",
                derived=(
                    f"{sweep.positives:,} label px of {pixels:,}; at {float(rows[default].threshold):g}: "
                    f"TP {m.tp:,.0f}, FP {m.fp:,.0f}, FN {m.fn:,.0f}, TN {m.tn:,.0f}; prevalence "
                    f"{_pct(m.prevalence)}, TPR {_num(m.tpr)}, FPR {_num(m.fpr)}, mIoU {_num(m.miou)}"
                ),
                why="One number of label pixels makes every recall a whole count and every precision too.",
            )


def _num(value: float | None, digits: int = 4) -> str:
    return "undefined" if value is None else f"{value:.{digits}f}"


def _pct(share: float | None) -> str:
    return "undefined" if share is None else f"{100 * share:.2f} %"


def _monotone(view: View, anchor: str, rows: list[Row]) -> Finding:
    recalls = [figure(row.claims["recall"]) for row in rows]
    rises = [i for i in range(1, len(recalls)) if recalls[i].lo > recalls[i - 1].hi]
    where = ", ".join(f"{float(rows[i].threshold):g}" for i in rises)
    return view.finding(
        "sweep-monotone",
        anchor,
        [row.claims["recall"] for row in rows],
        "inconsistent" if rises else "consistent",
        grade="medium" if rises else "low",
        claimed=f"recall over {len(recalls)} thresholds",
        derived=f"rises at {where}" if rises else "never rises",
        why="A higher threshold can only drop pixels, so recall cannot rise with it.",
        correction=f"Recall cannot rise with the threshold, as it does at {where}." if rises else None,
    )


def tile_counts(view: View) -> Iterator[Finding]:
    """Tile rows give TP as a range of whole pixels; their sum must meet the sweep's and the IoU."""
    known = {(s.card, s.subject, s.split): s for s in sweeps(view)}
    for card in view.registry.cards:
        for key, rows in tiles(card).items():
            subject, split, variant, _ = key
            claims = [c for t in rows for c in (t.label, t.predicted, t.iou)]
            anchor = f"{card.id}/{subject}.{split}"
            empty = [t for t in rows if len(t.hits()) == 0]
            if empty:
                yield view.finding(
                    "tile-counts",
                    anchor,
                    [c for t in empty for c in (t.iou, t.label, t.predicted)],
                    "inconsistent",
                    grade="medium",
                    claimed=", ".join(f"{t.place} IoU {t.iou.value}" for t in empty),
                    derived="no whole number of hits gives this IoU",
                    why="TP = IoU (label + predicted) / (1 + IoU).",
                )
                continue
            low, high = sum(t.hits()[0] for t in rows), sum(t.hits()[-1] for t in rows)
            label = sum(int(figure(t.label).lo) for t in rows)
            marked = sum(int(figure(t.predicted).lo) for t in rows)
            pooled = Interval(Fraction(low, label + marked - low), Fraction(high, label + marked - high))
            yield from _pooled(view, card, key, anchor, claims, len(rows), pooled)
            sweep = known.get((card.id, subject, split)) if variant == "published" else None
            if sweep is None:
                continue
            m = sweep.at(Fraction(1, 2))
            ok = low <= m.tp <= high and label == sweep.positives and marked == m.tp + m.fp
            yield view.finding(
                "tiles-against-sweep",
                anchor,
                [*claims, *_all_claims(sweep)],
                "consistent" if ok else "inconsistent",
                grade="low" if ok else "medium",
                claimed=f"{len(rows)} tile rows and {len(sweep.rows)} sweep rows",
                derived=f"tiles: {label:,} label px, {marked:,} marked, TP {low:,}..{high:,}; sweep at 0.5: "
                f"{sweep.positives:,}, {m.tp + m.fp:,.0f}, TP {m.tp:,.0f}",
                why="Both describe the same pixels, so label, marked and hit counts must agree.",
            )


def _pooled(
    view: View, card: Card, key: SetKey, anchor: str, claims: list[Claim], rows: int, pooled: Interval
) -> Iterator[Finding]:
    """The printed pooled IoU against the tile rows; a mismatch counts if the rows are all chips."""
    stated = next(
        (c for c in card.claims if c.quantity.metric == "chips" and (c.quantity.subject, c.quantity.split) == key[:2]),
        None,
    )
    complete = stated is not None and rows in figure(stated)
    for claim in card.claims:
        q = claim.quantity
        if set_of(claim) != key or (q.metric, q.averaging, q.place, q.threshold) != ("iou", "pooled", None, None):
            continue
        ok = figure(claim).meets(pooled)
        bad: Status = "inconsistent" if complete else "undetermined"
        yield view.finding(
            "tiles-pooled",
            anchor,
            [claim, *claims],
            "consistent" if ok else bad,
            grade="low" if ok else "medium",
            claimed=f"pooled IoU {claim.value}",
            derived=pooled.text(5),
            why="Pooled IoU = sum of hits / sum of (label + predicted - hits) over the tiles."
            + ("" if ok or complete else f" The card does not say that these {rows} are all chips of the set."),
            settles=None if ok or complete else "the number of chips: add a claim of metric `chips`",
            correction=f"Pooled IoU {claim.value} does not follow from the tile rows, which give {pooled.text(4)}."
            if not ok and complete
            else None,
        )


def best_threshold(view: View) -> Iterator[Finding]:
    """The best row of a sweep depends on the metric; all are computed from the counts.

    Also says that a threshold chosen and reported on the same chips is optimistic.
    """
    known = {(s.card, s.subject, s.split): s for s in sweeps(view)}
    for card in view.registry.cards:
        for relation in card.relations:
            if relation.kind not in ("best", "collapse"):
                continue
            stated = view.claim(relation.of[0])
            sweep = known.get((stated.card, stated.quantity.subject, stated.quantity.split or ""))
            if sweep is None or stated.quantity.threshold is None:
                continue
            threshold = Fraction(stated.quantity.threshold)
            scores = {
                "IoU": [m.iou1 for m in sweep.matrices],
                "F1": [m.f1 for m in sweep.matrices],
                "mIoU": [m.miou for m in sweep.matrices],
                "accuracy": [m.accuracy for m in sweep.matrices],
            }
            best = {
                name: max((i for i, v in enumerate(values) if v is not None), key=lambda i, v=values: v[i] or 0.0)  # type: ignore[misc]
                for name, values in scores.items()
            }
            here = next(i for i, row in enumerate(sweep.rows) if row.threshold == threshold)
            miou = scores["mIoU"]
            list_best = ", ".join(
                f"{name} {float(sweep.rows[i].threshold):g} ({_num(scores[name][i], 3)})" for name, i in best.items()
            )
            claims = [stated, *_all_claims(sweep)]
            if relation.kind == "best":
                disagree = [n for n, i in best.items() if i != here]
                yield view.finding(
                    "best-threshold",
                    relation.id.partition("/")[2],
                    claims,
                    "undetermined" if disagree else "consistent",
                    grade="medium" if disagree else "low",
                    subject=relation.subject,
                    source=relation.source,
                    claimed=relation.said,
                    derived=f"best by {list_best}",
                    why="Each row's counts give every metric. The card's headline is mIoU; the choice was made "
                    "by IoU and F1.",
                    settles="a metric named before the sweep" if disagree else None,
                    correction=f"Threshold {float(threshold):g} is best by "
                    f"{' and '.join(n for n in best if n not in disagree)}; by "
                    + " and by ".join(
                        f"{n} it is {float(sweep.rows[best[n]].threshold):g} ({_num(scores[n][best[n]], 3)} against "
                        f"{_num(scores[n][here], 3)})"
                        for n in disagree
                    )
                    + ". All rows were scored on the tiles that the choice was made on."
                    if disagree
                    else None,
                )
                yield view.finding(
                    "threshold-chosen-on-test",
                    relation.id.partition("/")[2],
                    claims,
                    "undetermined",
                    grade="medium",
                    subject=relation.subject,
                    claimed=f"{relation.said}, reported as a result",
                    derived=f"chosen and reported on the same {sweep.pixels:,} pixels",
                    why="The largest of several scores on a set is above what a fresh set would give. By how "
                    "much cannot be told from these rows.",
                    settles="the score at that threshold on tiles that took no part in choosing it",
                    correction="Choose the threshold on tiles that are not in the reported set, and report it on "
                    "the others.",
                )
            else:
                zeros = ALL_ZEROS.at(sweep.positives / sweep.pixels)
                top = best["mIoU"] == here
                yield view.finding(
                    "stated-collapse",
                    relation.id.partition("/")[2],
                    claims,
                    "undetermined" if top else "consistent",
                    grade="medium" if top else "low",
                    subject=relation.subject,
                    claimed=f"threshold {float(threshold):g} {relation.said}",
                    derived=f"mIoU there is {_num(miou[here], 3)}, "
                    f"{'the best of the sweep' if top else 'not the best'}; "
                    f"building IoU {_num(scores['IoU'][here], 3)}",
                    why=(
                        "Both hold: the building class nearly vanishes, and mIoU is highest, because at lower "
                        f"thresholds most non-building pixels are marked. All-zeros scores {_num(zeros.miou, 3)}."
                    ),
                    settles="a metric named before the sweep" if top else None,
                )


def stated_prevalence(view: View) -> Iterator[Finding]:
    """A stated share of label pixels must meet the counted one: label px / pixels."""
    for sweep in sweeps(view):
        exact = Interval.of(Fraction(sweep.positives, sweep.pixels))
        for claim in view.registry.card(sweep.card).claims:
            q = claim.quantity
            if (q.metric, q.subject, q.split) != ("prevalence", sweep.subject, sweep.split):
                continue
            ok = figure(claim).meets(exact)
            yield view.finding(
                "stated-prevalence",
                f"{sweep.card}/{sweep.subject}.{sweep.split}",
                [claim, *_all_claims(sweep)],
                "consistent" if ok else "inconsistent",
                grade="low" if ok else "high",
                claimed=f"the tiles hold {claim.value} {claim.unit} {claim.quantity.class_name} pixels",
                derived=f"{_pct(float(exact.mid))} ({sweep.positives:,} of {sweep.pixels:,})",
                why="Label pixels are whole numbers fixed by the sweep and by the tile rows; `~` is read as 20 % "
                "either way.",
                correction=None
                if ok
                else f"The tiles hold {_pct(float(exact.mid))} label pixels of the class, not {claim.value} "
                f"{claim.unit}.",
            )


def trivial_baselines(view: View) -> Iterator[Finding]:
    """Scores of constant maps at the set's prevalence, beside the reported ones.

    All-zeros: IoU0 = 1 - p, IoU1 = 0. All-ones: IoU1 = p, IoU0 = 0.
    """
    for sweep in sweeps(view):
        share = sweep.positives / sweep.pixels
        zeros, ones = ALL_ZEROS.at(share), ALL_ONES.at(share)
        for claim in view.registry.card(sweep.card).claims:
            q = claim.quantity
            if (q.metric, q.subject, q.split, q.threshold, q.place) != ("mIoU", sweep.subject, sweep.split, None, None):
                continue
            below = zeros.miou is not None and float(figure(claim).hi) < zeros.miou
            yield view.finding(
                "trivial-baseline",
                f"{sweep.card}/{sweep.subject}.{sweep.split}",
                [claim, *_all_claims(sweep)],
                "undetermined" if below else "consistent",
                grade="high" if below else "low",
                claimed=f"rerun's mIoU {claim.value}",
                derived=f"all-zeros scores mIoU {_num(zeros.miou, 3)}; all-ones scores building IoU "
                f"{_num(ones.iou1, 3)}, mIoU {_num(ones.miou, 3)}",
                why=(
                    "A map that marks nothing scores more by the headline metric than the reported one, so the "
                    "reported mIoU "
                    "shows no skill on these tiles. It does not show that the adapter has none: by building IoU "
                    "it stands above all-ones."
                    if below
                    else "The reported score is above both constant maps."
                ),
                settles="scores in strata of built-up share, beside the constant maps of each stratum"
                if below
                else None,
                correction="Print the scores of all-zeros and all-ones beside the headline." if below else None,
            )
