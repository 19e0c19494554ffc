"""Topologies: the devices of a slice of TPUs, to compile for with none of them present."""

import dataclasses
import importlib.util
import math
import os
import re
from collections.abc import Sequence

import jax

from imp_train.chips import CHIPS, Chip

# By generation: the prefix and the units of TPU_ACCELERATOR_TYPE, and libtpu's configuration.
_TPUS: dict[str, tuple[str, int, str | None]] = {
    "v4": ("v4", 2, "megacore"),
    "v5e": ("v5litepod", 1, None),
    "v5p": ("v5p", 2, "megacore"),
    "v6e": ("v6e", 1, None),
}


@dataclasses.dataclass(frozen=True)
class Topology:
    """`v4:8x8x4`: a slice of TPUs by its torus. `h200x8`: so many GPUs of a node."""

    name: str
    chip: Chip
    num_chips: int
    torus: str | None

    @classmethod
    def parse(cls, name: str) -> "Topology":
        """Raises ValueError for a name of neither form."""
        tpu = re.fullmatch(r"(\w+):(\d+(?:x\d+){1,2})", name)
        gpu = re.fullmatch(r"([\w-]+?)x(\d+)", name)
        if tpu and tpu[1] in _TPUS:
            return cls(name, CHIPS[tpu[1]], math.prod(map(int, tpu[2].split("x"))), tpu[2])
        if gpu and gpu[1] in CHIPS and gpu[1] not in _TPUS and int(gpu[2]):
            return cls(name, CHIPS[gpu[1]], int(gpu[2]), None)
        gpus = ", ".join(chip for chip in CHIPS if chip not in _TPUS)
        raise ValueError(
            f"topology {name!r} is unknown; a slice of {', '.join(_TPUS)} as v4:8x8x4 or "
            f"v5e:16x16, or a number of {gpus} as h200x8"
        )

    def devices(self) -> Sequence[jax.Device]:
        """To compile for, by libtpu. Before any other use of JAX: it must not look for TPUs.

        Raises ValueError where libtpu is missing, or does not know the torus.
        """
        assert self.torus is not None, f"{self.name} is no slice of TPUs"
        if importlib.util.find_spec("libtpu") is None:
            raise ValueError(
                f"topology {self.name}: to compile for a TPU with none present, libtpu is "
                "needed: pip install libtpu"
            )
        generation = self.name.split(":")[0]
        prefix, units, configuration = _TPUS[generation]
        os.environ |= {
            "JAX_PLATFORMS": "cpu",
            "TPU_SKIP_MDS_QUERY": "1",
            "TPU_ACCELERATOR_TYPE": f"{prefix}-{self.num_chips * units}",
            "TPU_WORKER_HOSTNAMES": "localhost",
            # Its lock file is for who would drive a TPU; a compiler shares.
            "ALLOW_MULTIPLE_LIBTPU_LOAD": "1",
        }
        from jax.experimental import topologies

        options = {} if configuration is None else {"chip_config_name": configuration}
        try:
            found = topologies.get_topology_desc(
                platform="tpu", topology_name=f"{generation}:{self.torus}", **options
            )
        except jax.errors.JaxRuntimeError as error:
            raise ValueError(f"topology {self.name}: {str(error).splitlines()[0]}") from error
        return found.devices
