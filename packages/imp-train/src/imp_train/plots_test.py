"""Pictures of a run: real files of it, and what the heat map is of."""

import matplotlib
import numpy as np
import pytest
from PIL import Image

from imp_train import plots


def record(step, task="a", **more):
    return {"step": step, "task": task, "variant": "base", "loss": 1.0 / (step + 1)} | more


def test_a_finished_run_has_its_plots(whole):
    for name in ("loss", "experts"):
        with Image.open(whole[0] / "plots" / f"{name}.png") as picture:
            pixels = np.asarray(picture.convert("RGB"))
        assert len(np.unique(pixels.reshape(-1, 3), axis=0)) > 20, "something is drawn"


def test_loads_are_means_by_modality_over_the_second_half():
    early = record(0, **{"image/expert_load": [[9.0, 9.0]]})
    late = [
        record(1, **{"image/expert_load": [[0.2, 0.8], [0.5, 0.5]]}),
        record(
            2,
            **{"image/expert_load": [[0.4, 0.6], [0.5, 0.5]], "text/expert_load": [[1, 0], [0, 1]]},
        ),
    ]
    loads = plots.expert_loads([early, *late])
    assert list(loads) == ["image", "text"]
    np.testing.assert_allclose(loads["image"], [[0.3, 0.7], [0.5, 0.5]])
    np.testing.assert_allclose(loads["text"], [[1, 0], [0, 1]])
    figure = plots.experts([early, *late])
    shown = [axis.get_images()[0].get_array() for axis in figure.axes if axis.get_images()]
    np.testing.assert_allclose(shown, [[[0.3, 0.7], [1, 0]], [[0.5, 0.5], [0, 1]]])
    (axis,) = plots.experts([early, *late], last_layer_alone=True).axes
    np.testing.assert_allclose(axis.get_images()[0].get_array(), [[0.5, 0.5], [0, 1]])


def test_a_dense_model_has_no_heat_map(tmp_path):
    assert plots.experts([record(step) for step in range(3)]) is None


def test_variants_of_a_task_have_lines_of_their_own():
    records = [record(step) | {"variant": ("half", "drop")[step % 2]} for step in range(40)]
    (axis,) = [axis for axis in plots.losses(records).axes if axis.get_title()]
    assert [text.get_text() for text in axis.get_legend().get_texts()] == ["half", "drop"]
    assert [line.get_xdata()[0] for line in axis.get_lines()[::2]] == [0, 1]


def test_a_panel_a_task_in_nobodys_own_style():
    with matplotlib.rc_context({"axes.facecolor": "black"}):
        figure = plots.losses([record(step, "ab"[step % 2]) for step in range(50)])
    shown = [axis for axis in figure.axes if axis.get_title()]
    assert [axis.get_title() for axis in shown] == ["a", "b"]
    steps, values = shown[1].get_lines()[0].get_data()
    assert steps.tolist() == list(range(1, 50, 2))
    assert values[0] == pytest.approx(0.5)
    assert shown[0].get_facecolor() == (1.0, 1.0, 1.0, 1.0)
