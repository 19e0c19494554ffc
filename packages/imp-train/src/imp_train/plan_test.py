"""What is reckoned adds up, what doesn't fit is told with what would help; and libtpu's word."""

import dataclasses
import importlib.util
import json
import subprocess
import sys
from pathlib import Path

import pytest

from imp_model.model import num_parameters
from imp_train.chips import CHIPS
from imp_train.initial import initial_state
from imp_train.placement import MeshShape
from imp_train.plan import plan
from imp_train.plan_page import page
from imp_train.topology import Topology


def planned(experiment, topology="h200x8", mesh=None, **changes):
    found = Topology.parse(topology)
    if changes:
        found = dataclasses.replace(found, chip=dataclasses.replace(found.chip, **changes))
    shape = MeshShape(**(mesh or {}))
    return plan(experiment, found, shape, classes=2, cache=Path("unused"), say=print)


def eight(make):
    """The tiny experiment with batches that eight chips can share."""
    experiment = make()
    tasks = tuple(
        dataclasses.replace(
            task,
            variants=tuple(dataclasses.replace(v, batch_size=16) for v in task.variants),
        )
        for task in experiment.tasks
    )
    return dataclasses.replace(experiment, tasks=tasks)


def test_reckoned_state_is_that_of_a_run(make):
    state = initial_state(make(), {"colours": ("blue", "red")})
    found = planned(eight(make), "h200x1")
    assert found.parameters == num_parameters(state.parts)
    # Two moments and the parameters, and a count for each part.
    assert found.resident == 3 * 4 * found.parameters + 4 * len(state.parts)
    assert [program.shares for program in found.programs] == [("pictures/base",), ("classes/base",)]
    assert all(not program.sent for program in found.programs)


def test_a_mesh_spares_memory_and_costs_exchanges(make):
    whole = planned(eight(make), "h200x8")
    spread = planned(eight(make), "h200x8", {"fsdp": 2, "expert": 2, "model": 2})
    assert spread.resident < 0.7 * whole.resident
    assert set(whole.programs[0].sent) == {"all-reduce"}
    assert set(spread.programs[0].sent) == {"all-gather", "reduce-scatter", "all-to-all"}
    assert spread.mesh == {"data": 1, "fsdp": 2, "expert": 2, "model": 2}


def test_the_page_says_whether_it_fits_and_what_would_help(make):
    experiment = eight(make)
    assert "It fits: at most 0.00 GiB of 126.06 GiB" in page(planned(experiment), experiment)
    found = planned(experiment, memory=1.5 * planned(experiment).resident)
    said = page(found, experiment)
    assert "It does NOT fit: pictures/base" in said
    assert "--mesh.fsdp 2: parameters and moments take" in said
    assert "remat='full' in place of 'none'" in said
    assert "more chips than 8" in said


def test_the_roofline_is_the_slowest_of_three(make):
    program = planned(eight(make)).programs[0]
    slow = planned(eight(make), peak_flops=1.0)
    assert slow.seconds(slow.programs[0])["compute"] == program.flops
    assert ">= " in page(slow, eight(make))
    assert "(compute)" in page(slow, eight(make))


def test_some_programs_may_be_left_out(make):
    h200 = Topology.parse("h200x8")
    options = {"classes": 2, "cache": Path("unused"), "say": print}
    found = plan(eight(make), h200, MeshShape(), only=["classes/base"], **options)
    assert [program.name for program in found.programs] == ["classes/base"]
    with pytest.raises(ValueError, match="no variant is named 'x'; there are pictures/base, cl"):
        plan(eight(make), h200, MeshShape(), only=["x"], **options)


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("v4", "topology 'v4' is unknown; a slice of v4, v5e, v5p, v6e"),
        ("v9:2x2", "'v9:2x2' is unknown"),
        ("h200x0", "'h200x0' is unknown"),
        ("v4x8", "or a number of a100-40gb, a100, h100, h200"),
    ],
)
def test_an_unknown_topology_is_refused(name, message):
    with pytest.raises(ValueError, match=message):
        Topology.parse(name)


def test_topologies_are_parsed():
    found = Topology.parse("v5e:4x8")
    assert (found.chip, found.num_chips, found.torus) == (CHIPS["v5e"], 32, "4x8")
    assert Topology.parse("a100-40gbx16").num_chips == 16


def test_a_mesh_that_does_not_fit_is_refused(make):
    with pytest.raises(ValueError, match="mesh axis expert=8 does not divide num_experts 2"):
        planned(eight(make), "h200x8", {"expert": 8})


@pytest.mark.skipif(importlib.util.find_spec("libtpu") is None, reason="libtpu is not installed")
def test_libtpu_compiles_the_quickstart_for_a_slice(tmp_path):
    command = [sys.executable, "-P", "-m", "imp_train.cli", "plan", "quickstart"]
    command += ["--topology", "v4:2x2x1", "--cache", str(tmp_path), "--mesh.expert", "4"]
    for _ in range(2):
        done = subprocess.run(command, capture_output=True, text=True, check=True)
        assert "compiled by libtpu" in done.stdout
        assert "It fits" in done.stdout
    assert "compiling" not in done.stderr
    kept = [json.loads(path.read_text()) for path in tmp_path.glob("*.json")]
    assert all(found["sent"]["all-to-all"][0] >= 4 for found in kept)
