"""Records as JSON files: read with the file's name and the field in every error, written whole or not at all."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any, TypeVar

from pydantic import BaseModel, ValidationError

from harness.errors import RegistryError
from harness.places import write_file

Model = TypeVar("Model", bound=BaseModel)


def read_json(path: Path, missing: str, cure: str = "") -> Any:
    """What a file holds.

    Args:
        path: The file.
        missing: What is said where it is not there: `no such run; ...`.
        cure: What to do where it cannot be read; begins with `; `.

    Raises:
        RegistryError: It is not there, no text, or no JSON.
    """
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except (FileNotFoundError, NotADirectoryError) as err:
        raise RegistryError(f"{path}: {missing}") from err
    except (OSError, UnicodeDecodeError) as err:
        raise RegistryError(f"{path}: cannot be read as text ({err}){cure}") from err
    except json.JSONDecodeError as err:
        raise RegistryError(f"{path}:{err.lineno}: not JSON: {err.msg}{cure}") from err


def as_record(path: Path, raw: Any, model: type[Model], schema: int | None = None) -> Model:
    """JSON as a record.

    Args:
        path: Where it came from, for errors.
        raw: Anything.
        model: Its shape.
        schema: Version that is read; None where the shape itself fixes it.

    Raises:
        RegistryError: It is of another shape or version; names file and field.
    """
    try:
        record = model.model_validate(raw)
    except ValidationError as err:
        first = err.errors(include_url=False)[0]
        raise RegistryError(f"{path}: {'.'.join(str(p) for p in first['loc'])}: {first['msg']}") from err
    version = getattr(record, "schema_version", schema)
    if schema is not None and version != schema:
        raise RegistryError(f"{path}: schema: {version}; this version reads {schema}")
    return record


def text(record: BaseModel) -> str:
    """A record as it is written.

    Raises:
        RegistryError: A number in it is not finite: what has no value is None.
    """
    held = record.model_dump(mode="json", by_alias=True)
    try:
        return json.dumps(held, indent=1, ensure_ascii=False, allow_nan=False) + "\n"
    except ValueError as err:
        raise RegistryError(f"{type(record).__name__}: a number is not finite ({err}); this is a defect") from err


def write_once(record: BaseModel, target: Path, already: str) -> Path:
    """Write a record at once, whole or not at all.

    Args:
        record: What is written.
        target: Where.
        already: What is said where there is one.

    Raises:
        RegistryError: There is one already, or a number is not finite.
    """
    if target.exists():
        raise RegistryError(f"{target}: {already}")
    write_file(target, text(record))
    return target
