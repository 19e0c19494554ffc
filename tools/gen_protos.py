"""Regenerate (or with --check, verify) the committed protobuf and gRPC code of packages/imp-proto.

    python tools/gen_protos.py [--check] [--root DIR]

Every proto/imp_proto/v1/x.proto becomes x_pb2.py and x_pb2.pyi, and x_pb2_grpc.py where it
declares a service.
"""

import argparse
import pathlib
import sys
import tempfile
from importlib import resources

from grpc_tools import protoc

OUT = pathlib.Path("packages/imp-proto/src")
PACKAGE_MARKER = '"""Generated from proto/imp_proto by tools/gen_protos.py; do not edit."""\n'
SUFFIXES = ("_pb2.py", "_pb2.pyi", "_pb2_grpc.py")


def generate(root: pathlib.Path, out: pathlib.Path) -> None:
    """Writes the code of every proto under root/proto below `out`, which must exist.

    Raises ValueError when there is no proto, or protoc refuses one (its reason goes to stderr).
    """
    source = root / "proto"
    protos = sorted(source.rglob("*.proto"))
    if not protos:
        raise ValueError(f"no .proto files under {source}; give the repository with --root")
    well_known = str(resources.files("grpc_tools") / "_proto")
    arguments = [
        f"-I{source}",
        f"-I{well_known}",
        f"--python_out={out}",
        f"--pyi_out={out}",
    ]
    _protoc(arguments + [str(p.relative_to(source)) for p in protos])
    services = [p for p in protos if "\nservice " in "\n" + p.read_text(encoding="utf-8")]
    if services:
        arguments = [f"-I{source}", f"-I{well_known}", f"--grpc_python_out={out}"]
        _protoc(arguments + [str(p.relative_to(source)) for p in services])
    for folder in sorted({p.relative_to(source).parent for p in protos}):
        marker = out / folder / "__init__.py"
        if not marker.exists():
            marker.write_text(PACKAGE_MARKER, encoding="utf-8")


def _protoc(arguments: list[str]) -> None:
    status = protoc.main(["protoc", *arguments])
    if status:
        raise ValueError(f"protoc refused the protos with status {status}")


def generated(base: pathlib.Path) -> dict[str, bytes]:
    """The generated files below `base`: relative path -> content."""
    return {
        str(p.relative_to(base)): p.read_bytes()
        for p in base.rglob("*_pb2*.py*")
        if p.name.endswith(SUFFIXES)
    }


def stale(root: pathlib.Path) -> list[str]:
    """Relative paths of generated files that are missing, out of date or left over."""
    with tempfile.TemporaryDirectory() as folder:
        out = pathlib.Path(folder)
        generate(root, out)
        want, have = generated(out), generated(root / OUT)
    return sorted(k for k in want.keys() | have.keys() if want.get(k) != have.get(k))


def main(argv: list[str] | None = None) -> int:
    """Returns the exit status: 1 when --check finds stale code, 2 when protoc refuses."""
    parser = argparse.ArgumentParser(description="Generate the code of packages/imp-proto.")
    parser.add_argument("--check", action="store_true", help="only say what is out of date")
    parser.add_argument(
        "--root",
        type=pathlib.Path,
        default=pathlib.Path(__file__).resolve().parent.parent,
    )
    arguments = parser.parse_args(argv)
    root = arguments.root.resolve()
    try:
        if not arguments.check:
            (root / OUT).mkdir(parents=True, exist_ok=True)
            generate(root, root / OUT)
            for left_over in stale(root):
                (root / OUT / left_over).unlink()
            return 0
        if paths := stale(root):
            print("stale: " + ", ".join(paths) + "; run: python tools/gen_protos.py")
            return 1
    except ValueError as error:
        print(f"gen_protos: {error}", file=sys.stderr)
        return 2
    print("generated code is up to date")
    return 0


if __name__ == "__main__":
    sys.exit(main())
