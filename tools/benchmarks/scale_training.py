"""Bytes into 256 chips, checkpoints, failures, and what is left of the time."""

import numpy as np

from benchmarks import goodput
from benchmarks import scale_measured as measured
from benchmarks.scale_data import ROW_256, ROW_512, TOKENS
from benchmarks.scale_rows import Section, figures, number, size, span, table

_BATCH = 65_536
_TOKENS = 256 + 256
_HOSTS = 64
# arXiv 2305.06324, section 4.2: tokens a second a chip, of 256.
_PAPER_RATE = 37_700
_POD_S = 120
_LOST_AFTER_S = 100
_SAVE_EVERY = 1_000
_HOURS = (50_000, 10_000, 2_000)


def sections(*, runs: int, seed: int) -> list[Section]:
    return [_fed(), _length(), _saved(), _goodput(runs, seed)]


def _fed() -> Section:
    cpu_rate = measured.LOADED.value * 64 * 64 * 3
    rows = []
    for name, batch, step, row in (
        ("base: pictures of 256", _BATCH, measured.STEP_S, ROW_256),
        ("double: of 512", _BATCH // 4, measured.DOUBLE_S, ROW_512),
        ("drop: of 512, three quarters dropped", _BATCH, measured.DROP_S, ROW_512),
    ):
        rate = batch / step.value
        rows.append(
            (
                name,
                f"{number(rate)}",
                size(rate * row, "B/s"),
                size(rate * row / measured.CHIPS.value, "B/s"),
                size(rate * row / _HOSTS, "B/s"),
                f"{rate * row / _HOSTS / cpu_rate:.2f}",
                f"{batch:,} / {step.value:g} s",
            )
        )
    head = ("", "examples/s", "all", "a chip", "a host of 4", "its cores", "reckoned as")
    before = (
        f"At the roofline's least step times ({measured.STEP_S.link}), which no run reaches, x the "
        "bytes "
        f"of a row; a core loads {size(cpu_rate, 'B/s')}, {measured.LOADED.value:,.0f} x 12,288 B "
        f"({measured.LOADED.link}), captions included:"
    )
    after = (
        "DropToken reads the whole of a picture and keeps a quarter: the dearest way to feed a "
        "chip. "
        "Augmenting is not counted."
    )
    return ("Bytes into 256 chips", before, table(head, rows), after)


def _length() -> Section:
    steps = TOKENS / (_BATCH * _TOKENS)
    chips = measured.CHIPS.value
    lines = figures(
        [
            ("steps", f"{steps:,.0f}", f"5 T / ({_BATCH:,} x {_TOKENS} tokens)"),
            (
                "at the roofline",
                span(steps * measured.STEP_S.value),
                f"x {measured.STEP_S.value:g} s ({measured.STEP_S.link})",
            ),
            (
                "at the paper's rate",
                span(_run_seconds()),
                f"5 T / ({chips:.0f} x *{_PAPER_RATE:,}/s*)",
            ),
        ]
    )
    return ("How long 5 T tokens take", f"On {chips:.0f} TPU v4, IMP-MoE-L:", lines, "")


def _run_seconds() -> float:
    return TOKENS / (measured.CHIPS.value * _PAPER_RATE)


def _state() -> float:
    return 12 * measured.PARAMETERS_G.value * 1e9


def _save_s() -> float:
    return _state() / _HOSTS / (measured.SAVED_MB.value * 1e6)


def _restart_s() -> float:
    restore = _state() / _HOSTS / (measured.RESTORED_MB.value * 1e6)
    started = measured.START_S.value + measured.FIRST_BATCH_S.value
    return _LOST_AFTER_S + _POD_S + started + restore


def _saved() -> Section:
    share = _state() / _HOSTS
    lines = figures(
        [
            (
                "a checkpoint",
                size(_state()),
                f"{measured.PARAMETERS_G.value:g} G parameters ({measured.PARAMETERS_G.link}) x (4 "
                "+ 8) "
                "B: Adam's moments",
            ),
            ("kept", size(2 * _state()), "x 2: the last two"),
            ("a host's share", size(share), f"/ {_HOSTS}"),
            (
                "until it is whole",
                span(_save_s()),
                f"/ {measured.SAVED_MB.value:g} MB/s ({measured.SAVED_MB.link}), as if the storage "
                "took "
                f"{size(_HOSTS * measured.SAVED_MB.value * 1e6, 'B/s')} from all hosts",
            ),
            (
                "of that training stands still",
                span(share / (measured.STANDS_MB.value * 1e6)),
                f"/ {measured.STANDS_MB.value:,.0f} MB/s: checksums and the copy; the rest goes on "
                "beside it",
            ),
            (
                "a restart",
                span(_restart_s()),
                f"{_LOST_AFTER_S} s (`--processes.lost-after`'s default) + *{_POD_S} s* for new "
                "pods + "
                f"{measured.START_S.value:g} CPU s to start with compiled programs "
                f"({measured.START_S.link}) + {measured.FIRST_BATCH_S.value:g} s to the first "
                "batch "
                f"({measured.FIRST_BATCH_S.link}) + the share / {measured.RESTORED_MB.value:g} "
                "MB/s",
            ),
        ]
    )
    return ("Checkpoints and restarts", f"Of IMP-MoE-L, on {_HOSTS} hosts:", lines, "")


def _goodput(runs: int, seed: int) -> Section:
    step = _run_seconds() / (TOKENS / (_BATCH * _TOKENS))
    rows = []
    for hours in _HOURS:
        mean = hours * 3600 / measured.CHIPS.value
        for every in (None, _SAVE_EVERY):
            interval = goodput.best_interval(mean, _save_s()) if every is None else every * step
            # A whole number of intervals, so that both mean one thing.
            work = round(_run_seconds() / interval) * interval
            run = goodput.Run(
                work=work,
                between_failures=mean,
                save=_save_s(),
                restart=_restart_s(),
                interval=interval,
            )
            found = goodput.simulate(run, runs=runs, seed=seed)
            off = (found.mean() - goodput.expected(run)) / (found.std(ddof=1) / np.sqrt(runs))
            rows.append(
                (
                    f"*{hours:,} h*",
                    f"{_run_seconds() / mean:.2f}",
                    f"{interval / step:,.0f}" + (" (default)" if every else " (best)"),
                    f"{work / goodput.expected(run):.2%}",
                    f"{work / found.mean():.2%}",
                    f"{off:+.1f}",
                )
            )
    head = (
        "a chip fails every",
        "failures in the run",
        "steps between saves",
        "goodput, closed form",
        "simulated",
        "apart, standard errors",
    )
    before = (
        f"Of {span(_run_seconds())} on {measured.CHIPS.value:.0f} chips, the share that trains. "
        "Failures "
        "are a Poisson process; the best interval is Young's, with Daly's higher terms; a save is "
        "taken "
        f"to hold training up until it is whole, which it does not; {runs:,} runs are simulated a "
        "line "
        f"(seed {seed}), and Daly's formula stands beside them:"
    )
    after = (
        "*50,000 h* is what Llama 3's 419 unexpected interruptions in 54 days on 16,384 GPUs come "
        "to "
        "(arXiv 2407.21783, section 3.3.4); *2,000 h* is like machines that may be taken away. The "
        "default of 1,000 steps is far from the best and costs little where failures are rare."
    )
    return ("Failures and goodput", before, table(head, rows), after)
