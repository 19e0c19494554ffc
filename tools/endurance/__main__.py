"""`./imp endurance`."""

import sys

import tyro

from endurance.run import Endurance


def main() -> int:
    try:
        tyro.cli(Endurance, prog="imp endurance").run()
    except (ValueError, OSError, AssertionError) as error:
        print(f"imp endurance: {error}", file=sys.stderr)
        return 2
    return 0


if __name__ == "__main__":
    sys.exit(main())
