"""Any card that the reader accepts is audited without a crash; anything else is one clear error."""

from __future__ import annotations

import tempfile
from pathlib import Path

import yaml
from hypothesis import given, settings
from hypothesis import strategies as st

from harness.claims.audit import audit_card, audit_registry
from harness.claims.registry import read_registry
from harness.errors import HarnessError
from harness.vocabulary import METRICS

metric = st.sampled_from([*METRICS, "x-own"])
value = st.one_of(
    st.sampled_from(
        ["0", "1", "0.0", "1.0", "0.00", "0.5", "1.00", "100", "-1", "~5", "2-3", "<= 20", "words", "", "1e3"]
    ),
    st.decimals(0, 1, places=3).map(str),
    st.integers(0, 10**6).map(str),
)
quantity = st.fixed_dictionaries(
    {"metric": metric, "subject": st.sampled_from(["s", "t"])},
    optional={
        "class_index": st.integers(0, 3).map(str),
        "class_name": st.sampled_from(["water", "building"]),
        "split": st.sampled_from(["test", "six"]),
        "threshold": st.sampled_from(["0.5", "0.6", "0.7", "argmax"]),
        "place": st.sampled_from(["here", "there"]),
        "variant": st.sampled_from(["published", "v1"]),
        "averaging": st.sampled_from(["macro", "pooled"]),
    },
)
unit = st.sampled_from(["", "", "", "%", "points", "MB", "s", "kg"])
claim = st.fixed_dictionaries({"quantity": quantity, "value": value}, optional={"unit": unit})
kind = st.sampled_from(
    ["difference", "ratio", "sum", "product", "mean", "share", "greater", "negligible", "cause", "best"]
)


@settings(max_examples=250)
@given(st.lists(claim, min_size=1, max_size=14), st.lists(st.tuples(kind, st.data()), max_size=2))
def test_a_card_is_audited_or_refused(
    claims: list[dict[str, object]], relations: list[tuple[str, st.DataObject]]
) -> None:
    ids = [f"c{i}" for i in range(len(claims))]
    pick = st.sampled_from(ids)
    card = {
        "schema": "1",
        "card": "any",
        "family": "f",
        "kind": "card",
        "title": "t",
        "author": "a",
        "source": {"repository": "r"},
        "claims": [{"id": i, **c} for i, c in zip(ids, claims, strict=True)],
        "relations": [
            {"id": f"r{n}", "kind": k, "subject": "s", "of": [d.draw(pick), d.draw(pick)], "states": d.draw(pick)}
            for n, (k, d) in enumerate(relations)
        ],
    }
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "any.yaml"
        path.write_text(yaml.safe_dump(card), encoding="utf-8")
        try:
            registry = read_registry([path])
            audit = audit_registry(registry)
        except HarnessError as err:
            assert str(path) in str(err)  # noqa: PT017 - most examples raise nothing
            return
    known = {c.id for c in registry.claims}
    for finding in audit.findings:
        assert set(finding.claims) <= known
        assert finding.derived
        assert finding.why


@settings(max_examples=200)
@given(st.binary(max_size=300))
def test_junk_is_one_clear_error(junk: bytes) -> None:
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "junk.yaml"
        path.write_bytes(junk)
        try:
            audit_card(path)
        except HarnessError as err:
            assert "junk.yaml" in str(err)  # noqa: PT017 - most examples raise nothing
