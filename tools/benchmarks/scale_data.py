"""What 11 G captioned pictures take to build, to keep and to draw in order."""

from benchmarks import scale_measured as measured
from benchmarks.scale_rows import Section, figures, size, span

EXAMPLES = 11e9
TOKENS = 5e12
# Bytes of a row: its pixels and a checksum; the array's own index has 16 more.
ROW_256, ROW_512 = 256 * 256 * 3 + 4, 512 * 512 * 3 + 4
_INDEX = 16
_CAPTION = 150
_DEFAULT_SHARD = 256 << 20
_SHARD = 65_536
_DATASET = 100e6
_CORES = 1_000


def sections() -> list[Section]:
    return [_stored(), _shards(), _plan(), _shuffle()]


def _stored() -> Section:
    in_build = EXAMPLES * measured.BUILD_MS.value / 1e3
    pixels = (ROW_256 + ROW_512) / (128 * 128 * 3)
    lines = figures(
        [
            ("pictures of 256", size(EXAMPLES * ROW_256), f"11 G x {ROW_256:,} B"),
            ("pictures of 512", size(EXAMPLES * ROW_512), f"11 G x {ROW_512:,} B"),
            (
                "captions and their index",
                size(EXAMPLES * (_CAPTION + _INDEX)),
                f"11 G x (*{_CAPTION} B* a line + {_INDEX} B)",
            ),
            (
                "CPU to build, at least",
                span(in_build) + " of one core",
                f"11 G x {measured.BUILD_MS.value:g} ms ({measured.BUILD_MS.link}: JPEG of 384 to "
                "a "
                "view of 128)",
            ),
            (
                f"on {_CORES:,} cores",
                f"{span(in_build / _CORES)}, and at most {span(pixels * in_build / _CORES)}",
                f"/ {_CORES:,}; and x {pixels:.3g}, the pixels of both views to those of 128, as "
                "if "
                "decoding cost nothing",
            ),
        ]
    )
    after = (
        "Arrays are kept as they are fed, so that a row is one read and no decoding: that is what "
        "costs petabytes. The larger view is four fifths of it; an experiment without it needs "
        "none."
    )
    before = (
        "The paper's set is about 11 G unique examples of pictures and clips; here all are "
        "captioned pictures, seen at 256 and 512 pixels (a clip of 16 x 256 x 256 is 16 pictures):"
    )
    return ("Eleven billion pictures on disk", before, lines, after)


def _shards() -> Section:
    default = _DEFAULT_SHARD // (512 * 512 * 3)
    many, few = EXAMPLES / default, EXAMPLES / _SHARD
    lines = figures(
        [
            ("examples of a shard by default", f"{default}", "256 MiB / 786,432 B"),
            ("shards", size(many, "").strip(), f"11 G / {default}"),
            (
                "their manifest",
                size(many * measured.SHARD_BYTES.value),
                f"x {measured.SHARD_BYTES.value:g} B ({measured.SHARD_BYTES.link})",
            ),
            (f"shards with `--shard-examples {_SHARD}`", f"{few:,.0f}", f"11 G / {_SHARD:,}"),
            (
                "a file of 256, of 512",
                f"{size(_SHARD * (ROW_256 + _INDEX))}, {size(_SHARD * (ROW_512 + _INDEX))}",
                f"{_SHARD:,} x (a row + {_INDEX} B of index)",
            ),
            (
                "all manifests",
                size(few * measured.SHARD_BYTES.value),
                f"x {measured.SHARD_BYTES.value:g} B",
            ),
            (
                "memory of a reader for the index",
                size(few * measured.SHARD_MEMORY.value),
                f"x {measured.SHARD_MEMORY.value:,.0f} B ({measured.SHARD_MEMORY.link})",
            ),
            (
                "time to read it",
                span(few * measured.SHARD_US.value / 1e6),
                f"x {measured.SHARD_US.value:g} us",
            ),
        ]
    )
    after = (
        "Nothing is held for each example, but a shard costs; the default is made for small sets, "
        "and "
        "at this size `--shard-examples` must be given."
    )
    return (
        "Shards, and the memory of their index",
        "As `imp-data build` would cut them:",
        lines,
        after,
    )


def _plan() -> Section:
    parts = EXAMPLES / _DATASET
    lines = figures(
        [
            (
                "memory of the driver, as one set",
                size(EXAMPLES * measured.PLAN_BYTES.value),
                f"11 G x {measured.PLAN_BYTES.value:g} B ({measured.PLAN_BYTES.link})",
            ),
            ("sets of 100 M", f"{parts:.0f}", "11 G / 100 M"),
            (
                "memory of each one's driver",
                size(_DATASET * measured.PLAN_BYTES.value),
                f"100 M x {measured.PLAN_BYTES.value:g} B",
            ),
            (
                "its CPU",
                span(_DATASET * measured.PLAN_US.value / 1e6),
                f"100 M x {measured.PLAN_US.value:g} us ({measured.PLAN_US.link})",
            ),
            (
                "its plan.json",
                size(_DATASET * measured.FROZEN_BYTES.value),
                f"100 M x {measured.FROZEN_BYTES.value:g} B ({measured.FROZEN_BYTES.link})",
            ),
        ]
    )
    after = (
        "A plan lies in the driver's memory whole: this is the bound that comes first, and the "
        "reason "
        "to build a corpus as many sets. Each is a task of its own; tasks of equal shapes share "
        "their "
        "programs, so that more of them compile nothing more."
    )
    return (
        "The plan of a build",
        "Which inputs go into which shard, in the process that drives the build:",
        lines,
        after,
    )


def _shuffle() -> Section:
    once = EXAMPLES * measured.POSITION_NS.value / 1e9
    lines = figures(
        [
            ("memory of the order", "a batch's", "a keyed permutation, no table"),
            ("a table in its place", size(8 * EXAMPLES), "11 G x 8 B, on every host"),
            (
                "CPU of an epoch's order",
                f"{span(once)} of one core",
                f"11 G x {measured.POSITION_NS.value:g} ns ({measured.POSITION_NS.link})",
            ),
            ("of each of 64 hosts", span(once / 64), "/ 64: a host draws its own positions"),
            (
                "bytes moved",
                "0",
                "the plan's order is a hash of the ids; payloads stay where they are",
            ),
        ]
    )
    return ("The shuffle", "What it takes to see all of them in a new order each epoch:", lines, "")
