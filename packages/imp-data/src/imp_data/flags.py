"""What tyro leaves open on a command line."""

import collections
from collections.abc import Collection, Sequence


def check_given_once(arguments: Sequence[str], *, repeatable: Collection[str] = ()) -> None:
    """Raises ValueError for a flag given twice: only its last values would count."""
    flags = [a.partition("=")[0].replace("_", "-") for a in arguments if a.startswith("--")]
    for flag, times in collections.Counter(flags).items():
        if times > 1 and flag not in repeatable:
            raise ValueError(f"{flag} stands there {times} times; give all of its values after one")
