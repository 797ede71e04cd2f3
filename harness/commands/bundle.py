"""harness bundle and harness verify."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated

import typer

from harness.commands.console import err, out, short
from harness.errors import BundleError


def bundle(
    run: Annotated[Path, typer.Argument(help="Folder of a run.")] = Path("eval/runs/latest"),
    target: Annotated[
        Path | None, typer.Option("--out", help="File to write; <run id>.zip here where left out.", metavar="FILE.zip")
    ] = None,
    who: Annotated[
        str | None, typer.Option(help="Name that is published with the run; the one in the record where left out.")
    ] = None,
    machine: Annotated[str, typer.Option(help="The machine in a few words, e.g. 'MacBook Air M2, 16 GB'.")] = "",
    locks: Annotated[
        list[Path] | None, typer.Option("--lock", help="Lock that the run read, where it is not found; may repeat.")
    ] = None,
    riders: Annotated[
        list[Path] | None,
        typer.Option("--with", help="Folder of a comparison (harness equivalence) or bench file; may repeat."),
    ] = None,
    no_arrays: Annotated[
        bool, typer.Option("--no-arrays", help="Leave maps and pictures out: smaller, and nobody can count them again.")
    ] = False,
    root: Annotated[Path | None, typer.Option(help="Checkout with an eval/ folder.")] = None,
) -> None:
    """Pack a run from your machine into one file for the project. Nothing is sent.

    Example: harness bundle --who "Ann Example" --machine "MacBook Air M2, 16 GB"
    """
    from harness.bundle import bundle as pack
    from harness.bundle.pack import redactions

    done = pack(
        run,
        target,
        who=who,
        machine=machine,
        locks=locks or (),
        riders=riders or (),
        arrays=not no_arrays,
        root=root,
    )
    size = done.path.stat().st_size / 1e6
    out.print(f"Bundle: {short(done.path)}, {size:.1f} MB, {len(done.manifest.files)} files", markup=False)
    out.print(f"sha256: {done.sha256}", markup=False)
    out.print(
        f"Published with it: {done.manifest.who}{f', {machine}' if machine else ''} (--who changes the name)",
        markup=False,
    )
    for name, count in redactions(done.manifest).items():
        out.print(
            f"{name}: {count} texts changed: paths, passwords and queries of addresses, or the name", markup=False
        )
    for line in done.said:
        out.print(f"the receiver is told: {line}", markup=False)
    out.print("Send the file as it is (do not unpack it), and its sha256 in the text beside it.")


def verify(
    path: Annotated[Path, typer.Argument(help="A bundle, or the folder of a contributed run.", metavar="FILE.zip")],
    keep: Annotated[
        bool, typer.Option("--add", help="Keep it under eval/runs/ and render eval/reports/runs.md.")
    ] = False,
    sha256: Annotated[str | None, typer.Option(help="Hash that the sender told you; refuse any other file.")] = None,
    as_json: Annotated[bool, typer.Option("--json", help="What came of it as JSON.")] = False,
    root: Annotated[Path | None, typer.Option(help="Checkout with an eval/ folder.")] = None,
) -> None:
    """Check a run that came from somebody else's machine: hashes, schema, commit, claims, locks, every figure again.

    Exit 1 where it is refused. Nothing in the file is run.

    Example: harness verify their-run.zip --add
    """
    from harness.bundle import add
    from harness.bundle import verify as look
    from harness.bundle.archive import file_hash
    from harness.bundle.check import recounted

    if sha256 is not None:
        if not path.is_file():
            raise BundleError(f"{path}: --sha256 is the hash of a file, and there is none")
        if (found := file_hash(path)) != sha256.strip().lower():
            raise BundleError(f"{path}: sha256 {found}; the sender told another")
    done = look(path, root=root)
    folder = page = None
    if keep and not done.wrong:
        if path.is_dir():
            raise BundleError(f"{path}: --add takes a bundle, and this is a folder")
        done, folder, page = add(path, root=root)
    held, ran = recounted(done)
    if as_json:
        told = {
            "schema": 1,
            "accepted": not done.wrong,
            "run": done.run.id,
            "who": done.run.who,
            "device": done.run.device,
            "counted_again": held,
            "ran": ran,
            "wrong": done.wrong,
            "holds": done.holds,
            "said": done.said,
            "not_checked": done.unchecked,
        }
        typer.echo(json.dumps(told, indent=1, ensure_ascii=False))
    else:
        head = (
            f"{done.run.id}: {', '.join(a.adapter for a in done.run.adapters)} on {done.run.device}, by {done.run.who}"
        )
        out.print(head, markup=False)
        for mark, lines in (("[ ]", done.wrong), ("[x]", done.holds), ("[!]", done.said)):
            for line in lines:
                out.print(f"{mark} {line}", markup=False)
        out.print("\nNot checked:")
        for line in done.unchecked:
            out.print(f"  - {line}", markup=False)
    if done.wrong:
        err.print(
            f"refused: {len(done.wrong)} faults, see [ ] above" if not as_json else "refused", markup=False, style=None
        )
        raise typer.Exit(1)
    if as_json:
        return
    out.print(f"\nAccepted: {held} of {ran} predictions counted again from their arrays.")
    if folder is not None and page is not None:
        out.print(f"Kept: {short(folder)}; table: {short(page)}", markup=False)
        out.print("`harness reproduce` renders the gap reports with it; commit the folder and the reports together.")
