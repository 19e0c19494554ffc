"""report.json: what was trained, what it scores on held-out files, and what it took."""

import dataclasses
import json
from pathlib import Path
from typing import Any

from imp_data.stores.atomic import write_file
from imp_model import bundle
from imp_model.model import num_parameters
from imp_train import metrics
from quickstart.score import Results


def assemble(run: Path, results: Results, seconds: dict[str, float]) -> dict[str, Any]:
    """The report's content; see docs/QUICKSTART.md for what each field means."""
    experiment = json.loads((run / "experiment.json").read_text())
    tasks = {task["name"]: task for task in experiment["tasks"]}
    rows = []
    for row in metrics.summary(metrics.read(run)):
        objective = tasks[row["name"]]["objective"]
        modalities = [objective[k] for k in ("modality", "source", "target") if k in objective]
        kind = objective["type"].lower()
        name = "label-nce" if kind == "nce" and objective["texts"] == "label" else kind
        rows.append(
            {
                "name": row["name"],
                "objective": name,
                "modalities": modalities,
                "variant": row["variant"],
                "steps": row["steps"],
                "loss_first": round(row["loss_first"], 4),
                "loss_last": round(row["loss_last"], 4),
            }
        )
    trained = bundle.load(run / "bundle")
    return {
        "tasks": rows,
        "eval": [dataclasses.asdict(row) for row in results.rows],
        "seconds": seconds,
        "model": {
            **experiment["model"],
            "parameters": num_parameters(trained.model),
            "steps": experiment["steps"],
            "seed": experiment["seed"],
            "bundle": trained.digest,
        },
    }


def write(path: Path, content: dict[str, Any]) -> None:
    text = json.dumps(content, indent=1, ensure_ascii=False) + "\n"
    write_file(path, text.encode())


def table(content: dict[str, Any]) -> str:
    """The evaluation as a person reads it in a terminal."""
    lines = [f"{'held-out benchmark':26} {'metric':6} {'value':>7} {'chance':>7} {'n':>5}"]
    lines += [
        f"{r['benchmark']:26} {r['metric']:6} {r['value']:7.3f} {r['chance']:7.3f} {r['n']:5}"
        for r in content["eval"]
    ]
    spent = ", ".join(f"{name} {value:.0f}" for name, value in content["seconds"].items())
    return "\n".join([*lines, f"seconds: {spent}"])
