"""For which platform a program is being traced."""

import jax


def platform() -> str:
    """ "cpu", "gpu", "tpu": of the mesh in scope where it names its device, else of this process.

    A program that is lowered for hardware that is not here says so by an abstract mesh:

        device = AbstractDevice("TPU v4", 1, "tpu")
        with jax.sharding.use_abstract_mesh(AbstractMesh((1,), ("x",), abstract_device=device)):
            jax.export.export(jax.jit(f), platforms=["tpu"])(x)
    """
    device = jax.sharding.get_abstract_mesh().abstract_device
    found = jax.default_backend() if device is None else device.platform
    return "gpu" if found in ("cuda", "rocm") else found
