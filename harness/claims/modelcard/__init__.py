"""Drafts a claims file from a Hugging Face model card, and marks what it could not read."""

from harness.claims.modelcard.draft import Draft, draft_from_model_card, draft_yaml
from harness.claims.modelcard.tables import Unread

__all__ = ["Draft", "Unread", "draft_from_model_card", "draft_yaml"]
