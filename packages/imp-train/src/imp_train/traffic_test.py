"""Exchanges are counted once a trip of every loop around them; bytes by hand."""

import textwrap

import pytest

from imp_train.traffic import Traffic, traffic

HLO = textwrap.dedent(
    """\
    HloModule jit_run, is_scheduled=true

    %add (a: f32[], b: f32[]) -> f32[] {
      %a = f32[] parameter(0)
      %b = f32[] parameter(1)
      ROOT %sum = f32[] add(%a, %b)
    }

    %inner (p: (s32[], bf16[4,8])) -> (s32[], bf16[4,8]) {
      %p = (s32[], bf16[4,8]{1,0}) parameter(0)
      %x = bf16[4,8]{1,0:T(4,128)(2,1)} get-tuple-element(%p), index=1
      %moved = bf16[4,8]{1,0} all-to-all(%x), replica_groups=[2,4]<=[8], dimensions={0}
      ROOT %out = (s32[], bf16[4,8]{1,0}) tuple(%i, %moved)
    }

    %inner_condition (p: (s32[], bf16[4,8])) -> pred[] {
      %limit = s32[] constant(3)
      ROOT %less = pred[] compare(%i, %limit), direction=LT
    }

    %outer (p: (s32[], bf16[4,8])) -> (s32[], bf16[4,8]) {
      %p = (s32[], bf16[4,8]{1,0}) parameter(0)
      %start = (f32[2,8]{1,0}, f32[8,8]{1,0}) all-gather-start(%y), OF_FOUR, dimensions={0}
      %done = f32[8,8]{1,0} all-gather-done(%start)
      ROOT %w = (s32[], bf16[4,8]{1,0}) while(%p), condition=%inner_condition, body=%inner, TRIPS
    }

    ENTRY %main (x: bf16[4,8]) -> f32[16] {
      %loop = (s32[], bf16[4,8]{1,0}) while(%init), body=%outer, FIVE_TRIPS
      %grads = (f32[16]{0}, f32[4]{0}) all-reduce(%g, %h), replica_groups=[1,8]<=[8], to_apply=%add
      ROOT %part = f32[16]{0} reduce-scatter(%z), replica_groups={{0,1},{2,3}}, to_apply=%add
    }
    """
)
KNOWN = (
    HLO.replace("FIVE_TRIPS", 'backend_config={"known_trip_count":{"n":"5"}}')
    .replace("TRIPS", 'backend_config={"known_trip_count":{"n":"3"}}')
    .replace("OF_FOUR", "replica_groups={{0,1,2,3},{4,5,6,7}}")
)


def test_what_lies_in_loops_counts_once_a_trip():
    assert traffic(KNOWN) == {
        "all-gather": Traffic(5, 5 * 8 * 8 * 4 * 3 / 4),
        "all-reduce": Traffic(1, 2 * (16 + 4) * 4 * 7 / 8),
        "all-to-all": Traffic(15, 15 * 4 * 8 * 2 * 3 / 4),
        "reduce-scatter": Traffic(1, 16 * 4 * 1),
    }


def test_trips_may_be_read_off_a_loops_condition():
    """As libtpu leaves them."""
    assert traffic(KNOWN.replace('{"n":"3"}', "{}")) == traffic(KNOWN)


def test_a_program_of_one_chip_sends_nothing():
    assert (
        traffic(KNOWN[: KNOWN.index("%inner (p")] + "ENTRY %main (x: f32[]) -> f32[] {\n}\n") == {}
    )


def test_a_loop_of_unknown_length_is_said():
    with pytest.raises(ValueError, match="loop inner exchanges, but how often is not known"):
        traffic(KNOWN.replace('{"n":"3"}', "{}").replace("constant(3)", "parameter(0)"))
