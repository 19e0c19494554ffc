"""A plan in words: does it fit, what is exchanged, and what would help where it does not."""

import math

from imp_train.columns import aligned, short
from imp_train.config import Experiment
from imp_train.plan import Plan, Program


def page(found: Plan, experiment: Experiment) -> str:
    """What was found, in one screen, and what would make it fit where it does not."""
    chip, t = found.topology.chip, found.topology
    mesh = " x ".join(f"{axis} {size}" for axis, size in found.mesh.items() if size > 1) or "one"
    how = "compiled by libtpu" if found.compiled else "reckoned by formula, not compiled"
    lines = aligned(
        [
            ("experiment", f"{experiment.name}, {short(found.parameters)} parameters"),
            ("topology", f"{t.name}: {t.num_chips} x {chip.kind} of {_gib(chip.usable)}; {how}"),
            ("mesh", mesh),
            ("resident", f"{_gib(found.resident)} a chip: parameters and moments of all parts"),
        ]
    )
    rows = [
        ("program", "temporaries", "gradients", "peak", "fits", "FLOPs", "sent", "a step takes")
    ]
    for program in found.programs:
        if program.failed is not None:
            rows.append((program.name, "", "", program.failed, "NO", "", "", ""))
            continue
        seconds = found.seconds(program)
        slowest = max(seconds, key=lambda name: seconds[name])
        rows.append(
            (
                program.name,
                _gib(program.temporaries),
                _gib(program.outputs),
                _gib(found.peak(program)),
                "yes" if found.fits(program) else "NO",
                short(program.flops),
                _gib(sum(size for _, size in program.sent.values())),
                f">= {seconds[slowest]:.3g} s ({slowest})",
            )
        )
    lines += ["", "a chip, for each program:", *aligned(rows, right="<>>><>><")]
    lines += ["", *_exchange_lines(found)]
    others = [(p.name, ", ".join(p.shares[1:])) for p in found.programs if len(p.shares) > 1]
    if others:
        lines += ["", "the same programs serve:", *aligned(others)]
    failing = [program for program in found.programs if not found.fits(program)]
    lines += ["", *_verdict(found, experiment, failing)]
    return "\n".join(lines)


def _exchange_lines(found: Plan) -> list[str]:
    rows = [("exchanges", "kind", "times", "a chip sends")]
    for program in found.programs:
        for number, (kind, (count, size)) in enumerate(program.sent.items()):
            rows.append(("" if number else program.name, kind, f"{count:,}", _gib(size)))
    return aligned(rows, right="<<>>") if len(rows) > 1 else ["nothing is exchanged"]


def _verdict(found: Plan, experiment: Experiment, failing: list[Program]) -> list[str]:
    """In words, with the changes that would help, the cheapest first."""
    memory = found.topology.chip.usable
    if not failing:
        largest = max(found.programs, key=found.peak)
        return [f"It fits: at most {_gib(found.peak(largest))} of {_gib(memory)} ({largest.name})."]
    names = ", ".join(program.name for program in failing)
    lines = [f"It does NOT fit: {names}. What would help:"]
    if found.resident > memory / 2:
        factor = math.ceil(found.resident / (memory / 2))
        fsdp = found.mesh["fsdp"] * 2 ** math.ceil(math.log2(max(2, factor)))
        lines.append(
            f"  - --mesh.fsdp {fsdp}: parameters and moments take {_gib(found.resident)} of a chip"
        )
    if experiment.model.remat != "full":
        lines.append(f"  - remat='full' in place of {experiment.model.remat!r}, a third more FLOPs")
    over = [p for p in failing if p.failed is None]
    room = memory - found.resident - max((p.outputs for p in over), default=0.0)
    if over and room > 0:
        times = math.ceil(max(p.temporaries + p.arguments - p.own for p in over) / room)
        if times > 1:
            lines.append(
                f"  - accumulate={2 ** math.ceil(math.log2(times))} with batches as much smaller "
                "(a contrastive loss then sees fewer negatives)"
            )
    lines.append(f"  - more chips than {found.topology.num_chips}, or chips of more memory")
    return lines


def _gib(size: float) -> str:
    return f"{size / 2**30:,.2f} GiB"
