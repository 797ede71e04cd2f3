"""A harness that says which claims of a model card hold, which do not, and why not.

>>> from harness import audit_card
>>> audit = audit_card("card.yaml")          # doctest: +SKIP
>>> [f.id for f in audit.of("inconsistent")]  # doctest: +SKIP
"""

from harness.claims.audit import audit_card

__all__ = ["audit_card"]
