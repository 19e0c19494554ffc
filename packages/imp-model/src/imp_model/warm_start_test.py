"""A ViT's file as timm and as big_vision names it, against NumPy's own patches and blocks."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import safetensors.numpy

from imp_model import bundle
from imp_model.bundle import flatten
from imp_model.cli import main
from imp_model.config import SIZES
from imp_model.warm_start import factorised, inflated, warm_started

D, F, HEADS, LAYERS, PATCH = 16, 24, 2, 2, 8


@pytest.fixture(scope="module")
def vit():
    """Weights as they are meant, [in, out]; the position table is a sum over h and w."""
    rng = np.random.default_rng(0)

    def draw(*shape):
        return rng.normal(0, shape[0] ** -0.5, shape).astype(np.float32)

    layers = [
        {
            "norm1": draw(D) + 1,
            "qkv": draw(D, 3, HEADS, D // HEADS),
            "out": draw(D, D),
            "norm2": draw(D) + 1,
            "fc1": draw(D, F),
            "fc2": draw(F, D),
        }
        for _ in range(LAYERS)
    ]
    positions = draw(2, 1, D) + draw(1, 2, D)
    return {
        "layers": layers,
        "patch": rng.normal(0, 0.1, (PATCH, PATCH, 3, D)).astype(np.float32),
        "positions": positions,
        "norm": draw(D) + 1,
        "cls": draw(1, 1, D),
    }


def timm(vit):
    tensors = {
        "cls_token": vit["cls"],
        "pos_embed": np.concatenate([vit["cls"], vit["positions"].reshape(1, 4, D)], 1),
        "patch_embed.proj.weight": vit["patch"].transpose(3, 2, 0, 1),
        "patch_embed.proj.bias": np.ones(D, np.float32),
        "norm.weight": vit["norm"],
        "head.weight": np.ones((3, D), np.float32),
    }
    for i, layer in enumerate(vit["layers"]):
        tensors |= {
            f"blocks.{i}.norm1.weight": layer["norm1"],
            f"blocks.{i}.norm1.bias": layer["norm1"],
            f"blocks.{i}.attn.qkv.weight": layer["qkv"].reshape(D, -1).T,
            f"blocks.{i}.attn.proj.weight": layer["out"].T,
            f"blocks.{i}.norm2.weight": layer["norm2"],
            f"blocks.{i}.mlp.fc1.weight": layer["fc1"].T,
            f"blocks.{i}.mlp.fc2.weight": layer["fc2"].T,
        }
    return tensors


def big_vision(vit, root="params/", attention=0, norm=1, mlp=0, positions="pos_embedding"):
    tensors = {
        f"{root}{positions}": vit["positions"].reshape(1, 4, D),
        f"{root}embedding/kernel": vit["patch"],
        f"{root}embedding/bias": np.ones(D, np.float32),
        f"{root}Transformer/encoder_norm/scale": vit["norm"],
        f"{root}head/kernel": np.ones((D, 3), np.float32),
    }
    for i, layer in enumerate(vit["layers"]):
        block = f"{root}Transformer/encoderblock_{i}/"
        attend = f"{block}MultiHeadDotProductAttention_{attention}/"
        tensors |= {
            f"{block}LayerNorm_0/scale": layer["norm1"],
            f"{attend}query/kernel": layer["qkv"][:, 0],
            f"{attend}key/kernel": layer["qkv"][:, 1],
            f"{attend}value/kernel": layer["qkv"][:, 2],
            f"{attend}out/kernel": layer["out"].reshape(HEADS, D // HEADS, D),
            f"{block}LayerNorm_{norm}/scale": layer["norm2"],
            f"{block}MlpBlock_{mlp}/Dense_0/kernel": layer["fc1"],
            f"{block}MlpBlock_{mlp}/Dense_1/kernel": layer["fc2"],
        }
    return tensors


def older(vit):
    """The vision_transformer repository's."""
    place = "Transformer/posembed_input/pos_embedding"
    return big_vision(vit, root="", attention=1, norm=2, mlp=3, positions=place)


NAMINGS = {"timm": timm, "big_vision": big_vision, "vision_transformer": older}


@pytest.fixture(scope="module")
def dense(config):
    return dataclasses.replace(config, num_dense_layers=LAYERS, num_moe_layers=0, num_experts=1)


def layer_norm(x, scale=1.0):
    x = x - x.mean(-1, keepdims=True)
    return x / np.sqrt(np.square(x).mean(-1, keepdims=True) + 1e-6) * scale


def block_by_numpy(x, layer):
    """A pre-norm ViT's block, but for biases, with queries and keys normalised."""
    q, k, v = np.einsum("nd,dtak->tank", layer_norm(x, layer["norm1"]), layer["qkv"])
    logits = np.einsum("ank,amk->anm", layer_norm(q), layer_norm(k)) * (D // HEADS) ** -0.5
    weights = np.exp(logits - logits.max(-1, keepdims=True))
    weights /= weights.sum(-1, keepdims=True)
    heads = np.einsum("anm,amk->nak", weights, v).reshape(len(x), D)
    x = x + heads @ layer["out"]
    hidden = layer_norm(x, layer["norm2"]) @ layer["fc1"]
    hidden = hidden / 2 * (1 + np.tanh(np.sqrt(2 / np.pi) * (hidden + 0.044715 * hidden**3)))
    return x + hidden @ layer["fc2"]


@pytest.fixture(scope="module")
def model(vit, dense):
    return warm_started(dense, timm(vit), seed=3)[0]


def test_one_block_is_the_checkpoints(vit, model):
    layer = jax.tree.map(lambda leaf: leaf[1], model.parts["encoder"].dense)
    x = np.random.default_rng(1).normal(size=(5, D)).astype(np.float32)
    found = jax.jit(lambda layer, x: layer(x, None)[0])(layer, jnp.asarray(x)[None])[0]
    np.testing.assert_allclose(found, block_by_numpy(x, vit["layers"][1]), rtol=2e-5, atol=2e-5)


def test_a_still_image_meets_the_two_dimensional_projection(vit, model, inputs):
    pixels = inputs["image"].astype(np.float64) / 127.5 - 1
    patches = pixels.reshape(4, 2, PATCH, 2, PATCH, 3).transpose(0, 1, 3, 2, 4, 5)
    patches = patches.reshape(4, 4, -1)
    mean = patches.mean(-1, keepdims=True)
    deviation = np.sqrt(np.square(patches - mean).mean(-1, keepdims=True) + 0.1)
    kernel = vit["patch"].reshape(-1, D)
    # The plain projection of the patch with its spread set to 1, its mean as it is.
    want = ((patches - mean) / deviation + mean) @ kernel
    spread = vit["positions"].std(-1).mean()
    want = want + layer_norm(vit["positions"].reshape(4, D)) * spread
    vision = model.parts["embedder/vision"]
    embed = jax.jit(lambda part, x: part(x))
    np.testing.assert_allclose(embed(vision, inputs["image"]), want, rtol=1e-4, atol=1e-4)
    still = np.repeat(inputs["image"][:, None], 4, axis=1)
    np.testing.assert_allclose(embed(vision, still), want, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("name", ["big_vision", "vision_transformer"])
def test_every_naming_gives_the_same_model(vit, dense, model, name):
    other, report = warm_started(dense, NAMINGS[name](vit), seed=3)
    assert report.naming == name
    want = flatten(model.parts)
    for path, value in flatten(other.parts).items():
        np.testing.assert_allclose(value, want[path], atol=1e-6, err_msg=path)


@pytest.mark.parametrize("name", NAMINGS)
def test_the_table_names_every_tensor_once(vit, dense, name):
    tensors = NAMINGS[name](vit)
    model, report = warm_started(dense, tensors)
    listed = [row[0] for row in (*report.used, *report.left)]
    assert sorted(listed) == sorted(tensors)
    reasons = {row[0].split("/")[-1].split(".")[-1]: row[2] for row in report.left}
    assert reasons["bias"] == "no biases here"
    assert {row[2] for row in report.used} | set(report.fresh) >= {
        path
        for path in flatten(model.parts)
        if not path.startswith(("embedder/vision/", "projection"))
    }
    assert report.positions == pytest.approx(1.0)
    assert all(tensor in str(report) for tensor in tensors)


def test_positions_are_the_nearest_sum_and_stand_where_they_are_looked_up():
    grid = np.random.default_rng(0).normal(size=(3, 3, 4))
    (time, rows, columns), _, share = factorised(grid, (2, 7, 8))
    assert not time.any()
    at = [np.arange(3) * 7 // 3, np.arange(3) * 8 // 3]
    fit = rows[at[0]][:, None] + columns[at[1]][None]
    design = np.concatenate([np.kron(np.eye(3), np.ones((3, 1))), np.tile(np.eye(3), (3, 1))], 1)
    best = design @ np.linalg.lstsq(design, grid.reshape(9, 4), rcond=None)[0]
    np.testing.assert_allclose(fit.reshape(9, 4), best, atol=1e-12)
    assert 0 < share < 1
    # Between two rows of the grid, in a straight line.
    np.testing.assert_allclose(rows[1], (rows[0] + rows[2]) / 2)


def test_inflating_keeps_the_sum_over_frames():
    kernel = np.random.default_rng(0).normal(size=(2, 2, 3, 5))
    np.testing.assert_allclose(inflated(kernel, 4).reshape(4, 12, 5).sum(0), kernel.reshape(12, 5))


@pytest.fixture
def file(vit, dense, tmp_path, monkeypatch):
    """file(changes): timm's tensors, changed, on disk; the size is `tiny`."""
    monkeypatch.setitem(SIZES, "tiny", dense)

    def write(change=lambda tensors: tensors):
        path = tmp_path / "vit.safetensors"
        tensors = {k: np.ascontiguousarray(v) for k, v in change(timm(vit)).items()}
        safetensors.numpy.save_file(tensors, path)
        return path

    return write


def test_by_the_command_line(file, vit, model, tmp_path, capsys):
    out = tmp_path / "bundle"
    path = file()
    assert main(["warm-start", str(path), "--size", "tiny", "--out", str(out), "--seed", "3"]) == 0
    said = capsys.readouterr().out
    assert "timm: 15 tensors used, 5 left" in said
    assert "blocks.0.attn.qkv.weight" in said
    loaded = bundle.load(out)
    assert loaded.metadata == {"warm_start": "vit.safetensors", "seed": 3}
    want = flatten(model.parts)
    for name, value in flatten(loaded.model.parts).items():
        np.testing.assert_allclose(value, want[name], atol=1e-6, err_msg=name)


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (
            lambda t: t | {"blocks.1.mlp.fc1.weight": np.zeros((F, 8), np.float32)},
            "'blocks.1.mlp.fc1.weight' is of (24, 8); the size needs (24, 16)",
        ),
        (
            lambda t: t | {"patch_embed.proj.weight": np.zeros((D, 3, 4, 4), np.float32)},
            "'patch_embed.proj.weight' is of (16, 3, 4, 4); the size needs (16, 3, 8, 8)",
        ),
        (
            lambda t: {k: v for k, v in t.items() if k != "blocks.0.norm2.weight"},
            "the checkpoint has no 'blocks.0.norm2.weight'",
        ),
        (
            lambda t: t | {"blocks.2.norm1.weight": np.zeros(D, np.float32)},
            "has 3 layers (blocks.0.…), the size 2",
        ),
        (
            lambda t: t | {"pos_embed": np.zeros((1, 7, D), np.float32)},
            "'pos_embed' has 7 positions; a square of them, at most 32 x 32",
        ),
        (
            lambda t: t | {"pos_embed": np.zeros((1, 4, 3), np.float32)},
            "'pos_embed' is of (1, 4, 3); the size needs (1, patches, 16)",
        ),
        (lambda t: {"conv1.weight": np.zeros(3, np.float32)}, "conv1.weight, … are not named as"),
    ],
)
def test_what_does_not_fit_is_refused_whole(file, tmp_path, capsys, change, said):
    out = tmp_path / "out" / "bundle"
    assert main(["warm-start", str(file(change)), "--size", "tiny", "--out", str(out)]) == 2
    error = capsys.readouterr().err
    assert said in error
    assert error.count("\n") == 1
    assert not out.parent.exists()


def test_a_size_with_experts_and_another_file_are_refused(file, tmp_path, capsys):
    where = ["--out", str(tmp_path / "bundle")]
    assert main(["warm-start", str(file()), "--size", "imp-moe-b", *where]) == 2
    assert "warm-start a dense size" in capsys.readouterr().err
    other = tmp_path / "other"
    other.write_text("no tensors")
    assert main(["warm-start", str(other), "--size", "tiny", *where]) == 2
    assert f"{other} is no safetensors file" in capsys.readouterr().err
    assert main(["warm-start", str(tmp_path / "gone"), "--size", "tiny", *where]) == 2
    assert "gone" in capsys.readouterr().err
    assert not (tmp_path / "bundle").exists()
