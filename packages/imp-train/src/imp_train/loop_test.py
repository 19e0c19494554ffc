"""What becomes of a run whose step fails."""

import numpy as np
import pytest

from imp_train.sampler import Uniform
from imp_train.studies.convergence.functions import Descended, Function, descended


class Failing(Descended):
    checkpoint_every = 2

    def stepped(self, state):
        if state.step == 2:
            raise ChildProcessError("a worker is gone")


def test_the_save_under_way_when_a_step_fails_is_finished(tmp_path):
    # Large enough to be written still when the step fails.
    parts = {"x": np.ones(2**23, np.float32)}
    task = Function(name="square", loss=lambda own, _: (own["x"] ** 2).sum(), moves=("x",))
    problem = Failing([task], sampler=Uniform(), steps=4, rate=lambda _: 0.1, seed=0)
    with pytest.raises(ChildProcessError, match="a worker is gone"):
        descended(problem, parts, tmp_path, "{}")
    assert [path.name for path in (tmp_path / "checkpoints").iterdir()] == ["2"]
