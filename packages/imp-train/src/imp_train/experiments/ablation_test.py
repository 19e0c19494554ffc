"""Table 2's rows at equal steps, and the options that make other figures of them."""

from pathlib import Path

import numpy as np
import pytest

from imp_model import bundle
from imp_train import metrics
from imp_train.cli import main
from imp_train.experiments import make
from imp_train.objectives import BCE, NCE, SCE, Sum


def objectives(**options):
    return [type(task.objective) for task in make("ablation-s", Path("data"), **options).tasks]


def test_the_setting_is_the_papers():
    for name, width in (("ablation-s", 384), ("ablation-b", 768)):
        experiment = make(name, Path("data"))
        assert (experiment.model.width, experiment.steps) == (width, 250_000)
        assert experiment.model.num_moe_layers == 0
        for task in experiment.tasks:
            (variant,) = task.variants
            assert (variant.batch_size, variant.views[0].shape) == (8_192, (224, 224, 3))
    assert make("ablation-s", Path("data"), model="imp-moe-s").model.num_experts == 4


def test_table_2():
    assert objectives() == [SCE, NCE]
    assert objectives(objectives="nce") == [NCE]
    assert objectives(objectives="sce") == [SCE]
    assert objectives(objectives="sum") == [Sum]
    (both,) = make("ablation-s", Path("data"), objectives="sum").tasks
    assert [type(term) for term in both.objective.terms] == [NCE, SCE]
    assert both.name == "i21k/image-label+sce"
    mixed = make("ablation-s", Path("data"), objectives="mixed")
    assert [task.variants[0].batch_size for task in mixed.tasks] == [4_096, 4_096]
    assert (mixed.mixed, mixed.optimizer.accumulate) == (True, 2)
    weights = [1.0, 1.0]
    for step in range(20):
        drawn = {mixed.sampler(weights, 0, number) for number in (2 * step, 2 * step + 1)}
        assert drawn == {0, 1}, "a batch of each task in every step"
    with pytest.raises(ValueError, match="objectives 'all' are unknown; one of alternating, sum"):
        objectives(objectives="all")


def test_only_what_can_be_summed_is():
    """Captions have no class, and several labels no softmax."""
    datasets = ("cc12m", "i21k", "jft3b")
    assert objectives(datasets=datasets, objectives="sum") == [NCE, Sum, BCE, NCE]
    assert objectives(datasets=datasets) == [NCE, SCE, NCE, BCE, NCE]


def test_it_trains_in_small_from_the_command_line(corpora, cache, tmp_path, capsys):
    argv = f"run ablation-s --data {corpora} --workdir {tmp_path} --cache {cache} --steps 3"
    small = "--model imp-moe-tiny --batch 8 --resolution 32"
    assert main([*argv.split(), *small.split()]) == 0
    assert f"bundle at {tmp_path / 'bundle'}" in capsys.readouterr().out
    records = metrics.read(tmp_path)
    assert [record["step"] for record in records] == [0, 1, 2]
    assert all(np.isfinite(record["loss"]) for record in records)
    served = bundle.load(tmp_path / "bundle")
    assert served.classifiers == {"i21k": ("blue_jay", "green_frog", "red_fox")}
    assert served.pairs == (("image", "text"),)
