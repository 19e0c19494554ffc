"""What becomes of a run whose step fails."""

import numpy as np
import pytest

from imp_train.sampler import Uniform
from imp_train.studies.convergence.functions import Descended, Function, descended


class Failing(Descended):
    checkpoint_every = 2
    fails_at = 0

    def stepped(self, state):
        if state.step == self.fails_at:
            raise ChildProcessError("a worker is gone")


def saves_of_one_that_fails(step, workdir):
    # Large enough to be written still when the step fails.
    parts = {"x": np.ones(2**23, np.float32)}
    task = Function(name="square", loss=lambda own, _: (own["x"] ** 2).sum(), moves=("x",))
    problem = Failing([task], sampler=Uniform(), steps=4, rate=lambda _: 0.1, seed=0)
    problem.fails_at = step
    with pytest.raises(ChildProcessError, match="a worker is gone"):
        descended(problem, parts, workdir, "{}")
    return [path.name for path in (workdir / "checkpoints").iterdir()]


def test_the_save_under_way_when_a_step_fails_is_finished(tmp_path):
    assert saves_of_one_that_fails(3, tmp_path) == ["2"]


def test_no_save_tells_of_a_step_that_is_not_done(tmp_path):
    """Or what belongs to it, a bundle say, would never be written."""
    assert saves_of_one_that_fails(2, tmp_path) == []
