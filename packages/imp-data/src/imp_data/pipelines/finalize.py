"""Receipts -> manifest: every shard is there, counted, and the dataset declared whole."""

import collections
import json
import pathlib
import re

import imp_data
from imp_data import datasets, own_tokenizer
from imp_data import views as views_lib
from imp_data.pipelines import shard as shard_lib
from imp_data.pipelines.plan import Plan
from imp_data.stores.atomic import write_file
from imp_proto.v1 import manifest_pb2

REJECTS = "rejects.jsonl"
_SHOWN_REASONS = 3


def finalize(plan: Plan, out: pathlib.Path, *, max_reject_share: float) -> datasets.Dataset:
    """Writes rejects.jsonl and, last, the manifest.

    Raises ValueError when more than `max_reject_share` of the inputs were rejected, or a split is
    left empty; RuntimeError when a shard has no receipt, which a runner lost.
    """
    receipts: list[manifest_pb2.Receipt] = []
    for shard in plan.shards:
        receipt = shard_lib.valid_receipt(out, shard.name, plan.digests[shard.name], rehash=False)
        if receipt is None:
            raise RuntimeError(f"shard {shard.name} was not written; run the build again")
        receipts.append(receipt)
    reasons: collections.Counter[str] = collections.Counter()
    samples: dict[str, str] = {}
    lines: list[str] = []
    for receipt in receipts:
        for reject in receipt.rejects:
            kind = kind_of(reject.reason)
            reasons[kind] += 1
            samples.setdefault(kind, reject.reason)
            row = {"id": reject.id, "split": receipt.split, "reason": reject.reason}
            lines.append(json.dumps(row) + "\n")
    write_file(out / REJECTS, "".join(lines).encode())
    if len(lines) > max_reject_share * plan.num_items:
        common = "; ".join(
            f"{n} {samples[kind]}" for kind, n in reasons.most_common(_SHOWN_REASONS)
        )
        raise ValueError(
            f"{len(lines)} of {plan.num_items} inputs were rejected ({common}; all in "
            f"{out / REJECTS}); mend them, or allow more with --max-reject-share"
        )
    manifest = manifest_pb2.Manifest(
        format=datasets.FORMAT,
        name=plan.name,
        modalities=modalities(plan),
        labels=plan.labels,
        rejects=reasons,
        formats=plan.formats,
        plan_digest=plan.digest,
        source=plan.source,
        writer=imp_data.__version__,
        shards=receipts,
        tokenizer=own_tokenizer.given(out),
    )
    for view in plan.views:
        text = json.dumps(views_lib.to_json(view), sort_keys=True)
        manifest.views.add(key=view.key, json=text)
    for split, size in plan.shard_sizes.items():
        count = sum(receipt.num_examples for receipt in receipts if receipt.split == split)
        if not count:
            raise ValueError(f"split {split} has no usable example; see {out / REJECTS}")
        manifest.splits.add(name=split, num_examples=count, shard_size=size)
    if plan.screening is not None:
        manifest.near_duplicates.CopyFrom(
            manifest_pb2.NearDuplicates(
                against=plan.screening.against,
                within=plan.screening.within,
                compared_by=plan.screening.kinds,
                dropped=plan.screening.reasons,
                digest=plan.screening.digest,
                similarity=plan.screening.similarity,
                label_conflicts=plan.screening.num_label_conflicts,
            )
        )
    datasets.write_manifest(out, manifest)
    return datasets.Dataset.load(out)


def kind_of(reason: str) -> str:
    """A reason without what is one input's own: its names and numbers."""
    return re.sub(r"\d[\d.]*", "N", re.sub(r"'[^']*'", "'…'", reason))


def modalities(plan: Plan) -> list[str]:
    """What the examples carry: the views' modalities, and text where any item has captions."""
    found = {view.modality for view in plan.views}
    if any(item.texts for shard in plan.shards for item in shard.items):
        found.add("text")
    return sorted(found, key=("image", "video", "audio", "text").index)
