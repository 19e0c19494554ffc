"""A patch's shape, level and spread, against a loop by hand."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from imp_model.init import Init
from imp_model.patches import PatchProjection


@pytest.fixture
def project() -> PatchProjection:
    return PatchProjection(12, 8, Init.seeded(0, "patch"), epsilon=0.1, dtype=jnp.dtype("float32"))


@pytest.fixture
def patches() -> jnp.ndarray:
    return jnp.asarray(np.random.default_rng(0).normal(0.5, 2.0, (2, 3, 12)), jnp.float32)


def test_equal_to_a_loop_over_patches(project, patches):
    kernel, level = np.asarray(project.kernel[...]), np.asarray(project.level[...])
    found = np.asarray(project(patches))
    for b, n in np.ndindex(2, 3):
        patch = np.asarray(patches[b, n], np.float64)
        spread = np.sqrt(patch.var() + 0.1)
        want = (patch - patch.mean()) / spread @ kernel
        want = want + 8.0 * (patch.mean() * level[0] + spread * level[1])
        np.testing.assert_allclose(found[b, n], want, atol=1e-5)


def test_tiles_stand_for_a_patch_that_repeats(project, patches):
    part = patches[:, :, :3]
    whole = project(jnp.tile(part, 4))
    np.testing.assert_allclose(project(part, tiles=4), whole, atol=1e-5)


def test_light_and_contrast_reach_the_tokens_by_the_level_alone(project, patches):
    project.epsilon = 0.0
    other = 3.0 * patches + 5.0
    assert not np.allclose(project(patches), project(other), atol=0.1)
    project.level[...] = jnp.zeros_like(project.level[...])
    np.testing.assert_allclose(project(patches), project(other), atol=1e-4)


def test_a_blank_patch_has_finite_values_and_gradients(project):
    gradient = jax.grad(lambda x: project(x).sum())(jnp.ones((1, 1, 12)))
    assert np.isfinite(gradient).all()
    assert np.isfinite(project(jnp.zeros((1, 1, 12)))).all()
