"""`jevons train`: fit the request classifier to labelled requests and write weights with their model card.

The card holds the evaluation on the test fold, which the fit never saw; `jevons evaluate-router` repeats it.
"""

from __future__ import annotations

import datetime as dt
import hashlib
from pathlib import Path
from typing import Annotated

import typer

from jevons.cli.evaluate_router import as_lines


def command(
    data: Annotated[Path, typer.Option(help="CSV or CSV.gz: prompt or request, small_correct, large_correct", exists=True, dir_okay=False)],
    out: Annotated[Path, typer.Option(help="folder for NAME.npz, NAME.json and NAME.md")],
    name: Annotated[str, typer.Option(help="of the three files")] = "default",
    source: Annotated[str, typer.Option(help="where the data come from and under what licence, for the card")] = "",
    date: Annotated[str, typer.Option(help="date for the card (default: today)")] = "",
) -> None:
    """Fit, calibrate, evaluate and write the request classifier."""
    try:
        from jevons.classifier import card, dataset, evaluate, train
    except ImportError as error:
        raise typer.BadParameter(f"training needs scikit-learn (pip install 'jevons[train]'): {error}") from error
    try:
        rows = dataset.read(data)
    except ValueError as error:
        raise typer.BadParameter(str(error)) from error
    origin = {
        "file": data.name,
        "sha256": hashlib.sha256(data.read_bytes()).hexdigest(),
        "rows": len(rows),
        "source": source,
    }
    classifier = train.train(rows, {"date": date or dt.datetime.now(tz=dt.UTC).date().isoformat(), "data": origin})
    report = evaluate.evaluate(classifier, rows)
    classifier.card["evaluation"] = report
    train.save(classifier, out / f"{name}.npz")
    (out / f"{name}.md").write_text(card.markdown(classifier.card))
    print("\n".join(as_lines(report)))
    print(f"written to {out / name}.npz, .json and .md")
