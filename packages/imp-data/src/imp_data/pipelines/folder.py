"""Folder: where a build writes; what lies there already, and what of it holds for a plan."""

import dataclasses
import pathlib
import shutil
from collections.abc import Sequence

from imp_data import own_tokenizer
from imp_data.datasets import MANIFEST, Dataset
from imp_data.pipelines import frozen, screen
from imp_data.pipelines import shard as shard_lib
from imp_data.pipelines.finalize import REJECTS
from imp_data.pipelines.frozen import Frozen
from imp_data.pipelines.plan import Plan, ShardPlan
from imp_data.sources import Item
from imp_data.stores import tensorstore

PLAN = "plan.json"
# All that a build writes; nothing else in the folder is ever deleted.
_OURS = (
    "tensorstore",
    "tfrecord",
    "examples",
    "receipts",
    REJECTS,
    PLAN,
    screen.FOLDER,
    own_tokenizer.FILE,
)


@dataclasses.dataclass(frozen=True, kw_only=True)
class Folder:
    """`earlier` is the plan that lies there, None where there is none or it is to be replaced.

    `retried` are ids of inputs that an earlier build rejected and this one tries again.
    """

    path: pathlib.Path
    earlier: Frozen | None
    retried: frozenset[str]
    extend: bool
    retry_rejects: bool

    @classmethod
    def open(
        cls,
        path: pathlib.Path,
        items: Sequence[Item],
        *,
        extend: bool,
        retry_rejects: bool,
        overwrite: bool,
    ) -> "Folder":
        """Raises ValueError for a folder that holds something else, or other inputs' build."""
        if not (path / PLAN).is_file() and any(file.name not in _OURS for file in path.iterdir()):
            raise ValueError(f"{path} is not empty and no dataset; choose another folder")
        earlier, retried = None, frozenset[str]()
        if not overwrite:
            try:
                earlier = frozen.read(path / PLAN)
                if earlier is not None:
                    earlier.check_inputs([item.id for item in items], extend=extend)
            except ValueError as error:
                raise _other_build(path, error) from None
        if earlier is not None and retry_rejects:
            retried = _rejected(path, earlier)
        return cls(
            path=path,
            earlier=earlier,
            retried=retried,
            extend=extend,
            retry_rejects=retry_rejects,
        )

    def check(self, plan: Plan) -> None:
        """Raises ValueError where `plan` does not go on from the earlier one."""
        if self.earlier is None:
            return
        try:
            self.earlier.check_plan(plan.freeze(), retried=self.retried, retry=self.retry_rejects)
        except ValueError as error:
            raise _other_build(self.path, error) from None

    def prepare(self, plan: Plan) -> Dataset | None:
        """The finished dataset if this plan's lies here; else makes the folder ready for it.

        A dataset that is only added to stays whole meanwhile; one that changes ceases to be one.
        """
        dataset = self._dataset()
        again = self._again(plan)
        if dataset is not None and dataset.plan_digest == plan.digest and not again:
            return dataset
        if self.earlier is None:
            self._clear(keep_screening=plan.screening is not None)
        elif again:
            (self.path / MANIFEST).unlink(missing_ok=True)
            for shard in again:
                shard_lib.receipt_path(self.path, shard.name).unlink(missing_ok=True)
        frozen.write(self.path / PLAN, plan.freeze())
        if "tensorstore" in plan.formats:
            for split, size in plan.shard_sizes.items():
                for view in plan.views:
                    tensorstore.write_metadata(
                        self.path,
                        split,
                        view,
                        num_shards=plan.num_shards(split),
                        shard_size=size,
                    )
        return None

    def missing(self, plan: Plan) -> list[ShardPlan]:
        """The shards that are still to be written."""
        # What a manifest speaks for was hashed when it was declared whole.
        rehash = not (self.path / MANIFEST).is_file()
        return [
            shard
            for shard in plan.shards
            if shard_lib.valid_receipt(
                self.path, shard.name, plan.digests[shard.name], rehash=rehash
            )
            is None
        ]

    def _dataset(self) -> Dataset | None:
        if self.earlier is None or not (self.path / MANIFEST).is_file():
            return None
        return Dataset.load(self.path)

    def _again(self, plan: Plan) -> list[ShardPlan]:
        """Shards that are written and to be written anew: of other content now, or retried."""
        again = []
        for shard in plan.shards:
            receipt = shard_lib.read_receipt(self.path, shard.name)
            if receipt is not None and (
                receipt.digest != plan.digests[shard.name]
                or (self.retry_rejects and receipt.rejects)
            ):
                again.append(shard)
        return again

    def _clear(self, *, keep_screening: bool) -> None:
        # The manifest goes first: a half-deleted dataset must not look whole.
        (self.path / MANIFEST).unlink(missing_ok=True)
        for name in _OURS:
            target = self.path / name
            if name == screen.FOLDER and keep_screening:
                # The new plan's own: it was screened before it was frozen.
                continue
            shutil.rmtree(target) if target.is_dir() else target.unlink(missing_ok=True)


def _rejected(path: pathlib.Path, earlier: Frozen) -> frozenset[str]:
    """Ids of the inputs that the written shards of the earlier plan rejected."""
    found: set[str] = set()
    for name, inputs in earlier.shards.items():
        receipt = shard_lib.read_receipt(path, name)
        names = set() if receipt is None else {reject.id for reject in receipt.rejects}
        found |= {identity for identity in inputs if shard_lib.printable(identity) in names}
    return frozenset(found)


def _other_build(path: pathlib.Path, error: ValueError) -> ValueError:
    return ValueError(
        f"{path} holds another build: {error}; choose another folder, or replace it with "
        "--overwrite"
    )
