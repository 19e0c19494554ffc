"""What the arms of each study differ in, and that it is all they differ in."""

import dataclasses

import numpy as np
import pytest

from imp_data.pipelines.build import build_dataset
from imp_data.samples.clips import write_mp4
from imp_data.views import AudioView, VideoView
from imp_train.describe import describe
from imp_train.studies import STUDIES, make
from imp_train.studies.corpora import Corpora, both, classify, contrast


@pytest.fixture(scope="session")
def several(colours, tmp_path_factory):
    """Pictures, and clips with sound beside them, of two classes each."""
    root = tmp_path_factory.mktemp("clips")
    rng = np.random.default_rng(0)
    for split in ("train", "test"):
        for number in range(4):
            path = root / "clips" / split / ("hiss", "hum")[number % 2] / f"{number}.mp4"
            path.parent.mkdir(parents=True, exist_ok=True)
            frames = list(rng.integers(0, 256, (16, 32, 32, 3), np.uint8))
            wave = rng.normal(0, 0.1, 32_000).astype(np.float32)
            write_mp4(path, frames, 8, waveform=wave, sample_rate=16_000)
    build_dataset(
        source=f"folder:{root / 'clips'}",
        out=root / "data" / "clips",
        views=[
            *(VideoView(frames=16, size=size, fps=8) for size in (16, 32, 64)),
            AudioView(frames=32),
        ],
        num_threads=1,
        progress=False,
    )
    return [colours, root / "data"]


@pytest.fixture(scope="session")
def made(several):
    return {name: make(name, several, scale="tiny") for name in STUDIES}


# The fields of an experiment that a study's arms may differ in, and of the model.
DIFFER = {
    "objectives": ({"tasks"}, set()),
    "mixtures": ({"tasks", "views"}, set()),
    "resolutions": ({"tasks", "views"}, set()),
    "experts": ({"model"}, {"num_dense_layers", "num_moe_layers", "num_experts"}),
    "audio": ({"tasks", "views", "model"}, {"num_dense_layers", "num_moe_layers", "num_experts"}),
    "towers": ({"model"}, {"num_dense_layers", "num_moe_layers", "num_experts", "towers"}),
    "routing": ({"model"}, {"router", "routing_group", "capacity_factor", "top_k"}),
    "balance": ({"tasks"}, set()),
    "schedules": ({"sampler"}, set()),
    "qk_norm": ({"model", "optimizer"}, {"qk_norm"}),
    "prompts": ({"tasks"}, set()),
}


@pytest.mark.parametrize("name", STUDIES)
def test_arms_differ_in_what_is_asked_alone(name, made):
    arms = [arm(3) for arm in made[name].arms.values()]
    assert len(arms) > 1
    assert {arm.seed for arm in arms} == {3}
    for kind, allowed in zip(("experiment", "model"), DIFFER[name], strict=True):
        values = [vars(arm if kind == "experiment" else arm.model) for arm in arms]
        differ = {f for f in values[0] if any(own[f] != values[0][f] for own in values)}
        assert differ == allowed


@pytest.mark.parametrize("name", STUDIES)
def test_every_arm_is_an_experiment_that_can_be_run(name, made):
    for arm in made[name].arms.values():
        assert describe(arm(0))["signatures"] >= 1
    assert len(set(made[name].benchmarks)) == len(made[name].benchmarks)


def test_objectives_are_by_turns_summed_or_alone(several):
    seen = Corpora.find(several).labelled()
    tasks = {
        name: arm(0).tasks for name, arm in make("objectives", several, scale="tiny").arms.items()
    }
    nce, sce, summed = ([of(own, 64) for own in seen] for of in (contrast, classify, both))
    assert tasks == {
        "alternating": (*nce, *sce),
        "sum": tuple(summed),
        "nce": tuple(nce),
        "softmax": tuple(sce),
    }


def test_sparse_and_dense_layers_cost_a_token_alike(made):
    """By formula, but for the routers."""
    for name in ("experts", "audio"):
        flops = {arm(0).model.flops_per_token(16) for arm in made[name].arms.values()}
        assert max(flops) < 1.02 * min(flops)


def test_a_mixture_grows_dataset_by_dataset(made):
    arms = [{task.dataset for task in arm(0).tasks} for arm in made["mixtures"].arms.values()]
    assert [len(own) for own in arms] == [1, 2]
    assert arms[0] < arms[1]


def test_sizes_join_one_by_one_at_equal_tokens(made):
    """Clips of 32 pixels in batches of 64 are the base; they hold as many tokens as the others."""
    arms = {name: arm(0) for name, arm in made["resolutions"].arms.items()}
    assert list(arms) == ["base", "+ half", "+ double", "+ DropToken"]
    for task in arms["+ DropToken"].tasks:
        tokens = {v.name: v.tokens(arms["base"].model)["video"] for v in task.variants}
        assert tokens == dict.fromkeys(("base", "half", "double", "drop"), 64 * 16)
        sizes = [(v.views[0].size, v.batch_size) for v in task.variants]
        assert sizes == [(32, 64), (16, 256), (64, 16), (64, 64)]
    served = [[v.size for v in arm.views if v.modality == "video"] for arm in arms.values()]
    assert served == [[32], [32], [64], [64]]


def test_without_sound_there_is_none(made):
    for name, arm in made["audio"].arms.items():
        modalities = {m for task in arm(0).tasks for m in task.objective.modalities}
        assert ("audio" in modalities) == ("with sound" in name)
    assert not any("audio" in benchmark for benchmark in made["audio"].benchmarks)


def test_prompts_are_in_one_arm_alone(made):
    with_them, bare = (arm(0).tasks for arm in made["prompts"].arms.values())
    assert all(task.objective.prompts == ("{}",) for task in bare)
    for task, other in zip(with_them, bare, strict=True):
        assert len(task.objective.prompts) > 1
        stripped = dataclasses.replace(task.objective, prompts=("{}",))
        assert dataclasses.replace(task, objective=stripped) == other


def test_what_a_study_lacks_is_said(colours):
    with pytest.raises(ValueError, match=r"needs labelled sounds.* there is colours/image"):
        make("audio", [colours], scale="tiny")
    with pytest.raises(ValueError, match=r"two sizes or three.* there is colours/image"):
        make("resolutions", [colours], scale="tiny")
    with pytest.raises(ValueError, match="adds datasets to colours; name others"):
        make("mixtures", [colours], scale="tiny")
