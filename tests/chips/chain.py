"""The whole chain as a program: search, lock, sign, read, store, chip. Tests run it as a child and kill it.

`python -m tests.chips.chain '{"root": "...", "api": "..."}'` works in the current folder: lock.json,
store/, run.log. With a lock there it never searches. Its last line says what came of it.
"""

from __future__ import annotations

import json
import logging
import sys
import traceback
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import harness.chips.signing as signing
from harness.chips.assemble import Assembled, read_chip
from harness.chips.catalogue import StacCatalogue
from harness.chips.lock import lock_of
from harness.chips.resolve import resolve
from harness.chips.scenes import Lock
from harness.chips.sight import Sights
from harness.chips.sources.cog import CogReader, Patience
from harness.chips.store import Store
from harness.errors import HarnessError
from tests.chips.realm import AOI, recipe


def chain(api: str, root: Path, threads: int, wait_s: float) -> Assembled:
    """One AOI from search to chip, in the current folder."""
    store, rules = Store(Path("store")), recipe(root)
    patience = Patience(attempts=4, backoff_s=0.02, connect_s=5, timeout_s=5)
    with CogReader(signing.Signer(wait_s), threads, patience) as reader:

        def search() -> Lock:
            catalogue = StacCatalogue(address=api, retries=2, backoff_s=0.02, timeout_s=(5.0, 5.0))
            one = resolve(AOI, rules, catalogue, Sights(reader, store))
            return Lock(created=datetime.now(UTC).isoformat(), aois=[one])

        lock = lock_of(Path("lock.json"), search)
        return read_chip(lock.aois[0], rules, reader, store)


def main(words: dict[str, Any]) -> int:
    """Run the chain and say its outcome as a line of JSON."""
    logging.basicConfig(level=logging.DEBUG, handlers=[logging.FileHandler("run.log"), logging.StreamHandler()])
    setattr(signing, "RETRIES", words.get("retries", signing.RETRIES))  # noqa: B010 (a Final name)
    try:
        done = chain(words["api"], Path(words["root"]), words.get("threads", 8), words.get("wait_s", 20.0))
    except HarnessError as err:
        traceback.print_exc()
        logging.getLogger("chain").exception("failed")
        print(json.dumps({"error": str(err), "kind": type(err).__name__}))
        return err.exit_code
    shares = {f"{v.modality} {v.band}": v.fraction for v in done.valid}
    print(json.dumps({"sha256": done.chip.sha256, "read": done.read, "stored": done.stored, "valid": shares}))
    return 0


if __name__ == "__main__":
    sys.exit(main(json.loads(sys.argv[1])))
