"""What an experiment is, before it is run: as plain values, and as the page a person reads.

Nothing is computed, allocated or read but the manifests of datasets that are built already.
"""

import dataclasses
from typing import Any, get_args

from imp_data.datasets import MANIFEST, Dataset
from imp_data.wording import count
from imp_model.config import ModelConfig
from imp_model.costs import parameters
from imp_model.model import Model, num_parameters
from imp_train.columns import aligned, short
from imp_train.config import Experiment
from imp_train.objectives import LabelsNeeded, labels_needed
from imp_train.step import signature
from imp_train.tasks import Task, Variant
from imp_train.throughput import step_flops


def describe(experiment: Experiment) -> dict[str, Any]:
    """Plain values for JSON. A weight that is a dataset's size is None until that is built."""
    built = _built(experiment)
    weights = [_weight(task, built) for task in experiment.tasks]
    total = sum(weight or 0 for weight in weights)
    return {
        "name": experiment.name,
        "steps": experiment.steps,
        "seed": experiment.seed,
        "model": _model(experiment, built),
        "optimizer": dataclasses.asdict(experiment.optimizer),
        "sampler": str(experiment.sampler),
        "mixed": experiment.mixed,
        "signatures": len(
            {signature(experiment.model, t, v) for t in experiment.tasks for v in t.variants}
        ),
        "tasks": [
            {
                "name": task.name,
                "objective": task.objective.name,
                "modalities": list(task.objective.modalities),
                "dataset": str(task.dataset),
                "split": task.split,
                "weight": weight,
                "weight_is": "examples" if task.weight is None else "given",
                "share": None if None in weights or weight is None else weight / total,
                "variants": [_variant(experiment, variant) for variant in task.variants],
            }
            for task, weight in zip(experiment.tasks, weights, strict=True)
        ],
        "datasets": _datasets(experiment, built),
    }


def _built(experiment: Experiment) -> dict[str, Dataset]:
    """Those of the tasks' datasets that are there, by path."""
    paths = dict.fromkeys(task.dataset for task in experiment.tasks)
    return {str(path): Dataset.load(path) for path in paths if (path / MANIFEST).is_file()}


def _weight(task: Task, built: dict[str, Dataset]) -> float | None:
    if task.weight is not None:
        return task.weight
    dataset = built.get(str(task.dataset))
    return None if dataset is None else float(dataset.num_examples.get(task.split, 0))


def _model(experiment: Experiment, built: dict[str, Dataset]) -> dict[str, Any]:
    """`parameters` are its own parts'; of a classifier they are known once its labels are."""
    classes: dict[str, int] = {}
    for task in experiment.tasks:
        name = task.objective.classifier
        if name is not None and str(task.dataset) in built:
            classes[name] = len(built[str(task.dataset)].label_names)
    parts = Model.abstract(experiment.model, pairs=experiment.pairs, classifiers=classes).parts
    named = {task.objective.classifier for task in experiment.tasks} - {None}
    return {
        **dataclasses.asdict(experiment.model),
        "in_words": layers_of(experiment.model),
        "parameters": sum(num_parameters(parts[name]) for name in parts),
        "parameters_per_token": parameters(experiment.model)["parameters_per_token"]["total"],
        "classifiers": {name: classes.get(name) for name in sorted(filter(None, named))},
    }


def _variant(experiment: Experiment, variant: Variant) -> dict[str, Any]:
    tokens = variant.tokens(experiment.model)
    return {
        "name": variant.name,
        "batch_size": variant.batch_size,
        "views": {view.modality: view.key for view in variant.views},
        "shapes": {view.modality: list(view.shape) for view in variant.views},
        "drop": dict(variant.drop),
        "tokens": {modality: n // variant.batch_size for modality, n in tokens.items()},
        "tokens_a_batch": tokens,
        "flops": step_flops(experiment.model, variant),
    }


_MORE: tuple[LabelsNeeded, ...] = get_args(LabelsNeeded)


def _datasets(experiment: Experiment, built: dict[str, Dataset]) -> list[dict[str, Any]]:
    """What each must be built with for these tasks, and how large it is if it is there."""
    found: dict[str, dict[str, Any]] = {}
    for task in experiment.tasks:
        path = str(task.dataset)
        own = found.setdefault(
            path, {"path": path, "views": [], "captions": False, "labels": None, "examples": None}
        )
        views = (v for variant in task.variants for v in variant.views if v.modality != "text")
        own["views"] = sorted({*own["views"], *(view.key for view in views)})
        targets = task.objective.targets.values()
        own["captions"] |= "text" in task.objective.modalities and "captions" in targets
        needed = labels_needed(task.objective)
        if needed and _MORE.index(needed) >= _MORE.index(own["labels"] or "any"):
            own["labels"] = needed
        if path in built:
            own["examples"] = built[path].num_examples
    return list(found.values())


def page(found: dict[str, Any], summary: str = "") -> str:
    """What `describe` found, in one screen."""
    model, tasks = found["model"], found["tasks"]
    seen: dict[str, list[dict[str, Any]]] = {}
    for task in tasks:
        seen.setdefault(_letter_of(task["variants"], seen), task["variants"])
    lines = [f"{found['name']}: {summary}" if summary else found["name"], ""]
    lines += aligned(
        [
            ("model", f"{model['in_words']}, {model['dtype']}, remat {model['remat']}"),
            ("", _parameters_line(model)),
            ("training", _training_line(found)),
            ("sampler", found["sampler"]),
            (
                "tasks",
                f"{count(len(tasks), 'task', 'tasks')}, {sum(len(t['variants']) for t in tasks)} "
                f"with their variants, in {count(found['signatures'], 'program', 'programs')}",
            ),
        ]
    )
    rows = [("task", "objective", "weight", "share", "seen as")]
    rows += [
        (
            task["name"],
            task["objective"],
            _weight_words(task),
            "?" if task["share"] is None else f"{task['share']:.1%}",
            _letter_of(task["variants"], seen),
        )
        for task in tasks
    ]
    lines += ["", *aligned(rows, right="<<>>"), "", *_seen_lines(seen)]
    return "\n".join([*lines, "", *_dataset_lines(found["datasets"])])


def _letter_of(variants: list[dict[str, Any]], seen: dict[str, list[dict[str, Any]]]) -> str:
    """The letter under which equal variants are listed already, else the next one."""
    for letter, known in seen.items():
        if known == variants:
            return letter
    return chr(ord("A") + len(seen))


def layers_of(model: ModelConfig) -> str:
    """Such as "width 1024, 12 dense + 12 MoE layers of 16 experts"."""
    layers = f"{model.num_dense_layers} dense"
    if model.num_moe_layers:
        layers += f" + {model.num_moe_layers} MoE layers of {model.num_experts} experts"
    else:
        layers += " layers"
    towers = "" if model.towers == "one" else f", towers {model.towers}"
    return f"width {model.width}, {layers}{towers}"


def _parameters_line(model: dict[str, Any]) -> str:
    line = (
        f"{short(model['parameters'])} parameters, {short(model['parameters_per_token'])} of them "
        "for a token"
    )
    unknown = [name for name, classes in model["classifiers"].items() if classes is None]
    if unknown:
        line += f"; the classifiers' are not known yet ({', '.join(unknown)})"
    return line


def _training_line(found: dict[str, Any]) -> str:
    o = found["optimizer"]
    line = f"{found['steps']:,} steps, "
    line += f"AdamW with decay {o['weight_decay']:g}" if o["weight_decay"] else "Adam"
    line += f", rate {o['peak_rate']:g} after {o['warmup_steps']:,} steps of warm-up, then a cosine"
    line += f" to {o['end_factor'] * o['peak_rate']:g}, gradients clipped at {o['clip_norm']:g}"
    if o["accumulate"] > 1:
        line += f", {o['accumulate']} batches a step"
        line += ", each of a task of its own draw" if found["mixed"] else ""
    for prefix, factor in o["rates"]:
        line += f", {prefix} at {factor:g} of the rate"
    if o["average"]:
        line += f", averaged at {o['average']:g}"
    return f"{line}, seed {found['seed']}"


def _weight_words(task: dict[str, Any]) -> str:
    if task["weight_is"] == "given":
        return f"{float(format(task['weight'], '.4g')):,g}"
    return "by examples" if task["weight"] is None else f"{task['weight']:,.0f} examples"


def _seen_lines(seen: dict[str, list[dict[str, Any]]]) -> list[str]:
    rows = [
        ("", "variant", "batch", "views (tokens of an example)", "tokens a batch", "FLOPs a step")
    ]
    for letter, variants in seen.items():
        for number, v in enumerate(variants):
            views = []
            for modality, key in v["views"].items():
                dropped = f", {v['drop'][modality]:.0%} dropped" if modality in v["drop"] else ""
                views.append(f"{key} ({v['tokens'][modality]}{dropped})")
            rows.append(
                (
                    "" if number else letter,
                    v["name"],
                    f"{v['batch_size']:,}",
                    " + ".join(views),
                    " + ".join(short(n) for n in v["tokens_a_batch"].values()),
                    short(v["flops"]),
                )
            )
    return aligned(rows, right="<<><>>")


def _dataset_lines(datasets: list[dict[str, Any]]) -> list[str]:
    rows = [("dataset", "must hold", "examples")]
    for own in datasets:
        needs = list(own["views"])
        needs += ["captions"] if own["captions"] else []
        labels = {None: [], "one": ["one label each"], "some": ["labels"], "any": ["labels"]}
        needs += labels[own["labels"]]
        examples = own["examples"]
        sizes = (
            "not built"
            if examples is None
            else "  ".join(f"{split} {n:,}" for split, n in examples.items())
        )
        rows.append((own["path"], ", ".join(needs), sizes))
    return aligned(rows)
