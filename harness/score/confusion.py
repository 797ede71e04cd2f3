"""Confusion matrices of class maps: whole pixels, rows label, columns prediction."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from harness.score.binary import BinaryMatrix

PIECE_PX = 1 << 18
"""Pixels looked at together. What a piece needs beside the maps is about 20 bytes a pixel, so 5 MB."""

SHOWN = 5
"""Wrong values that a message names."""


@dataclass(frozen=True, slots=True)
class ConfusionMatrix:
    """How many pixels of each labelled class were predicted as each class.

    Matrices of disjoint pixels add up, so that chips pool into scenes and scenes into splits. As
    JSON, by `to_json` or as a field of a pydantic model, it is one object:
    `{"counts": [[5, 1], [0, 4]], "ignored": 2}`, where `counts[i][j]` are pixels with label i and
    prediction j.
    """

    counts: tuple[tuple[int, ...], ...]
    """Pixels, K x K: rows label, columns prediction."""
    ignored: int = 0
    """Pixels left out of `counts` because the label says nothing there (it was ignore_index)."""

    def __post_init__(self) -> None:
        k = len(self.counts)
        if k < 2 or any(len(row) != k for row in self.counts):
            raise ValueError(f"counts are {k} rows of {[len(row) for row in self.counts]}; K x K with K >= 2 is needed")
        for value in (*(n for row in self.counts for n in row), self.ignored):
            if type(value) is not int:  # bool and numpy integers are refused: neither is JSON as we write it
                raise ValueError(f"count {value!r} is a {type(value).__name__}; give a Python int")
            if value < 0:
                raise ValueError(f"negative count {value}")

    @property
    def classes(self) -> int:
        """K."""
        return len(self.counts)

    @property
    def total(self) -> int:
        """Pixels counted; the ignored ones are not among them."""
        return sum(map(sum, self.counts))

    @property
    def correct(self) -> int:
        """Pixels whose prediction is their label."""
        return sum(self.counts[i][i] for i in range(self.classes))

    def label_px(self, i: int) -> int:
        """Pixels that the label gives to class `i`."""
        return sum(self.counts[self._index(i)])

    def predicted_px(self, i: int) -> int:
        """Pixels that the prediction gives to class `i`, ignored ones not counted."""
        j = self._index(i)
        return sum(row[j] for row in self.counts)

    def binary(self, positive: int) -> BinaryMatrix:
        """Class `positive` against all others together, in whole pixels."""
        tp = self.counts[self._index(positive)][positive]
        fp, fn = self.predicted_px(positive) - tp, self.label_px(positive) - tp
        return BinaryMatrix(tp, fp, fn, self.total - tp - fp - fn)

    def __add__(self, other: ConfusionMatrix) -> ConfusionMatrix:
        if not isinstance(other, ConfusionMatrix):
            return NotImplemented
        if other.classes != self.classes:
            raise ValueError(
                f"matrices of {self.classes} and {other.classes} classes do not add: bring both to one scheme"
            )
        rows = zip(self.counts, other.counts, strict=True)
        counts = tuple(tuple(a + b for a, b in zip(mine, theirs, strict=True)) for mine, theirs in rows)
        return ConfusionMatrix(counts, self.ignored + other.ignored)

    def relabelled(self, order: Sequence[int]) -> ConfusionMatrix:
        """The same pixels with the classes in another order.

        Args:
            order: New class n is the old class `order[n]`; each of 0..K-1 once.

        Raises:
            ValueError: `order` is no permutation.
        """
        if sorted(order) != list(range(self.classes)):
            raise ValueError(f"order {list(order)} does not hold each of 0..{self.classes - 1} once")
        return ConfusionMatrix(tuple(tuple(self.counts[i][j] for j in order) for i in order), self.ignored)

    def to_json(self) -> dict[str, Any]:
        """Plain lists and ints, in the shape that the class names."""
        return {"counts": [list(row) for row in self.counts], "ignored": self.ignored}

    @classmethod
    def from_json(cls, data: dict[str, Any]) -> ConfusionMatrix:
        """Back from `to_json`.

        Raises:
            ValueError: A key is missing or unknown, or the counts are no K x K non-negative ints.
        """
        if set(data) != {"counts", "ignored"}:
            raise ValueError(f"a confusion matrix has the keys counts and ignored; got {data!r:.80}")
        return cls(tuple(tuple(row) for row in data["counts"]), data["ignored"])

    @classmethod
    def empty(cls, classes: int) -> ConfusionMatrix:
        """No pixel yet: where a sum over chips starts."""
        return cls(((0,) * classes,) * classes)

    @classmethod
    def from_maps(
        cls,
        label: NDArray[np.integer[Any]],
        prediction: NDArray[np.integer[Any]],
        classes: int,
        ignore_index: int | None = -1,
    ) -> ConfusionMatrix:
        """Count two class maps, piece by piece: what it needs beside them does not grow with them.

        Args:
            label: Class indices, any shape; `ignore_index` where the label says nothing.
            prediction: Class indices, same shape; a class everywhere, ignored pixels included.
            classes: K.
            ignore_index: Label value to leave out; None where each pixel must have a class.

        Raises:
            ValueError: Another shape, no integer dtype, a masked array, an `ignore_index` that is a
                class, or a value that is neither a class nor (in the label) `ignore_index`; names
                each wrong value and its pixels.
        """
        _check_maps(label, prediction, classes, ignore_index)
        counts = np.zeros(classes * classes, dtype=np.int64)
        ignored = 0
        wrong: dict[str, Counter[int]] = {"label": Counter(), "prediction": Counter()}
        for truth, guess in pieces(label, prediction):
            known = np.ones(truth.shape, np.bool_) if ignore_index is None else truth != ignore_index
            wrong["label"].update(outside(truth[known], classes))
            wrong["prediction"].update(outside(guess, classes))
            if any(wrong.values()):
                continue  # the rest is read only to say how many pixels are wrong
            ignored += int(known.size - np.count_nonzero(known))
            cell = truth[known].astype(np.int64) * classes + guess[known].astype(np.int64)
            counts += np.bincount(cell, minlength=classes * classes)
        for name, values in wrong.items():
            refuse(name, values, classes, ignore_index if name == "label" else None)
        return cls(tuple(tuple(row) for row in counts.reshape(classes, classes).tolist()), ignored)

    def _index(self, i: int) -> int:
        if not 0 <= i < self.classes:
            raise IndexError(f"class {i} of a matrix with classes 0 to {self.classes - 1}")
        return i


def pieces(first: NDArray[Any], second: NDArray[Any]) -> Iterator[tuple[NDArray[Any], NDArray[Any]]]:
    """Two arrays of one shape as flat pieces of at most PIECE_PX, same pixels together, in any order.

    A piece may be a view of a buffer that the next one overwrites. Arrays that are not contiguous
    are buffered piece by piece and never copied whole.
    """
    flags = ["buffered", "external_loop", "zerosize_ok"]
    walk = np.nditer([first, second], flags=flags, buffersize=PIECE_PX)  # type: ignore[arg-type]
    yield from walk


def outside(values: NDArray[Any], classes: int) -> dict[int, int]:
    """Pixels by each value that is no class index; compared in the array's own dtype, so nothing wraps."""
    bad = values[(values < 0) | (values >= classes)]
    if not bad.size:
        return {}
    found, pixels = np.unique(bad, return_counts=True)
    return dict(zip(found.tolist(), pixels.tolist(), strict=True))


def refuse(name: str, values: Counter[int], classes: int, ignore_index: int | None) -> None:
    """Raise for values that are no class, saying which and how many.

    Raises:
        ValueError: There are any.
    """
    if not values:
        return
    said = ", ".join(f"{value} on {px:,} px" for value, px in values.most_common(SHOWN))
    more = f" and {len(values) - SHOWN} more values" if len(values) > SHOWN else ""
    ignore = "" if ignore_index is None else f" and ignore_index {ignore_index}"
    raise ValueError(f"{name} holds {said}{more}; its values must be the classes 0 to {classes - 1}{ignore}")


def check_integers(name: str, array: NDArray[Any], classes: int, ignore_index: int | None) -> None:
    """Refuse what is no class map.

    Raises:
        ValueError: As `from_maps` says.
    """
    if classes < 2:
        raise ValueError(f"{classes} classes; a confusion matrix needs 2 or more")
    if ignore_index is not None and 0 <= ignore_index < classes:
        raise ValueError(
            f"ignore_index {ignore_index} is a class (0 to {classes - 1}); give those pixels another value"
        )
    check_array(name, array, np.integer)


def check_array(name: str, array: object, dtype: type[Any]) -> None:
    """Refuse what is no plain array of `dtype`, np.integer or np.floating.

    Raises:
        ValueError: As it says.
    """
    if isinstance(array, np.ma.MaskedArray):
        raise ValueError(f"{name} is a masked array, whose mask would not be seen; set ignore_index in the label")
    if not isinstance(array, np.ndarray):
        raise ValueError(f"{name} is a {type(array).__name__}; a NumPy array is needed")
    if not np.issubdtype(array.dtype, dtype):
        raise ValueError(f"{name} is {array.dtype}; dtype {dtype.__name__} is needed")


def _check_maps(label: NDArray[Any], prediction: NDArray[Any], classes: int, ignore_index: int | None) -> None:
    check_integers("label", label, classes, ignore_index)
    check_integers("prediction", prediction, classes, ignore_index)
    if label.shape != prediction.shape:
        raise ValueError(f"label is {label.shape}, prediction {prediction.shape}: not the same pixels")
