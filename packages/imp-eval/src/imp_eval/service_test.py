"""End to end, through the wire: embedding and classification on a real bundle, with real files."""

import concurrent.futures
import random

import jax.numpy as jnp
import numpy as np
import pytest

from imp_data import media
from imp_eval import zero_shot
from imp_eval.client import Client, Input, ItemFailure, text
from imp_eval.conftest import COLOURS, VIEWS, inputs, png, refused, wav
from imp_eval.preprocess import Preprocessor
from imp_model import bundle
from imp_proto.v1 import embedding_pb2

TARGETS = {"image": "text", "video": "text", "audio": "video", "text": "image"}


def test_bits_do_not_depend_on_company(address, encoder, bundle_path) -> None:
    """Alone, and amid concurrent callers with mixed requests: the same item, the same bits."""
    items = [(value, TARGETS[m]) for m in TARGETS for value in inputs(m, 4)]
    items += [(value, "video") for value in inputs("text", 4)]
    items += [(text(word), "image") for word in ("a", "red", "of")]  # of the shorter bucket
    with Client(address) as client:
        alone = [np.asarray(client.embed([v], target)[0]).tobytes() for v, target in items]
    assert len(set(alone)) == len(alone)

    def caller(seed: int) -> int:
        rng, checked = random.Random(seed), 0
        with Client(address) as client:
            for _ in range(4):
                chosen = rng.sample(range(len(items)), rng.randint(1, 12))
                request = embedding_pb2.EmbedRequest(
                    items=[
                        embedding_pb2.EmbedItem(input=items[i][0], target=items[i][1])
                        for i in chosen
                    ]
                )
                response = client._call(client._methods["Embed"], request)
                for i, result in zip(chosen, response.results, strict=True):
                    got = np.array(result.embedding.values, np.float32)
                    assert got.tobytes() == alone[i]
                    checked += 1
        return checked

    with concurrent.futures.ThreadPoolExecutor(8) as pool:
        assert sum(pool.map(caller, range(8))) > 100

    # And the same as the encoder in this process, over imp_data's own decoding.
    arrays = media.load(items[0][0].image, VIEWS["image"])[None]
    assert encoder.embed("image", arrays, ("image", "text"))[0].tobytes() == alone[0]
    preprocessor = Preprocessor(VIEWS, bundle.load(bundle_path).tokenizer_path)
    tokens = np.asarray(preprocessor.texts([items[12][0].text]))
    assert encoder.embed("text", tokens, ("text", "image"))[0].tobytes() == alone[12]


def test_model_says_what_it_is(client, encoder) -> None:
    model = client.model()
    assert model.digest == encoder.digest
    assert {m.modality: m.view for m in model.modalities} == {
        name: view.key for name, view in VIEWS.items()
    }
    assert [(p.source, p.target) for p in model.pairs] == list(encoder.pairs)
    assert {(p.dim, p.batch_size) for p in model.pairs} == {(32, 8)}
    assert model.modalities[1].view_fields["size"] == 32
    assert dict(model.metadata) == {"experiment": "tiny", "step": 3}


BAD_ITEMS = [
    (Input(image=png(0)[:-300]), "text", "image"),
    (Input(image=b""), "text", "empty"),
    (Input(image=b"GIF89a nonsense"), "text", "not a readable image"),
    (Input(video=wav(0)), "text", ""),
    (Input(audio=png(0)), "video", ""),
    (Input(), "text", "set one of"),
    (Input(text=""), "image", "the text is empty"),
    (Input(text="a\0b"), "image", "control character"),
    (Input(text="x" * 20_000), "image", "over the limit"),
    (Input(image=png(0)), "audio", "'audio' of image is unknown"),
    (Input(text="two targets"), "", "one of image, video"),
    (Input(image=png(0)), "smell", "one of text"),
]


def test_a_bad_item_is_told_in_its_place_and_harms_no_other(client) -> None:
    request, good = embedding_pb2.EmbedRequest(), Input(image=png(1))
    for value, target, _ in BAD_ITEMS:
        request.items.add(input=value, target=target)
        request.items.add(input=good)
    results = client._call(client._methods["Embed"], request).results
    want = client.embed([good], "text")[0]
    for place, (_, _, message) in enumerate(BAD_ITEMS):
        error = results[2 * place].error
        assert error.code == 3
        assert message in error.message
        assert 0 < len(error.message) < 200
        assert "\n" not in error.message
        assert results[2 * place + 1].embedding.target == "text"
        np.testing.assert_array_equal(results[2 * place + 1].embedding.values, want)


def test_requests_that_make_no_sense_are_refused(client) -> None:
    with refused("INVALID_ARGUMENT", "holds no items"):
        client.embed([])
    with refused("INVALID_ARGUMENT", "257 items are over the limit of 256"):
        client.embed([text("x")] * 257, "image")
    one = [Input(image=png(0))]
    with refused("INVALID_ARGUMENT", "holds no class names"):
        client.classify(one, [])
    with refused("INVALID_ARGUMENT", "'a' occurs more than once"):
        client.classify(one, ["a", "b", "a"])
    with refused("INVALID_ARGUMENT", "class name 1: the text is empty"):
        client.classify(one, ["a", " "])
    with refused("INVALID_ARGUMENT", "must hold {} once"):
        client.classify(one, ["a"], templates=["no place"])
    with refused("INVALID_ARGUMENT", "top_k 4000 is over"):
        client.classify(one, ["a"], top_k=4000)
    with refused("INVALID_ARGUMENT", "class names are over the limit"):
        client.classify(one, [str(i) for i in range(2001)])
    with refused("INVALID_ARGUMENT", "prompts are over the limit of 20000"):
        templates = ["{}" + "!" * i for i in range(11)]
        client.classify(one, [str(i) for i in range(2000)], templates=templates)


def test_classification_is_the_softmax_over_averaged_prompts(client, encoder) -> None:
    names, templates = ["red", "green", "blue"], ["{}", "a {} thing"]
    image, broken = Input(image=png(3)), Input(image=b"x")
    got, failure = client.classify([image, broken], names, templates=templates, top_k=3)
    prompts = [[text(t.replace("{}", n)) for t in templates] for n in names]
    embedded = np.stack([np.stack(client.embed(texts, "image")) for texts in prompts])
    cosines = zero_shot.class_embeddings(embedded) @ client.embed([image], "text")[0]
    want = zero_shot.probabilities(cosines[None], encoder.logit_scale(("image", "text")))[0]
    order = np.argsort(-want)
    assert [name for name, _ in got] == [names[i] for i in order]
    np.testing.assert_allclose([p for _, p in got], want[order], rtol=1e-5)
    assert sum(p for _, p in got) == pytest.approx(1)
    assert isinstance(failure, ItemFailure)
    assert len(client.classify([image], names, top_k=1)[0]) == 1
    assert "unknown" in client.classify([Input(audio=wav(0))], names)[0].message


def test_a_classifier_of_the_bundle(client, bundle_path) -> None:
    image = Input(image=png(3))
    got, failure, sound = client.classify(
        [image, Input(image=b"x"), Input(audio=wav(0))], classifier="colours", top_k=3
    )
    model = bundle.load(bundle_path).model
    array = jnp.asarray(media.load(image.image, VIEWS["image"])[None])
    logits = np.asarray(model.classify(model.encode({"image": array})[0]["image"], "colours"))
    want = zero_shot.probabilities(logits, 1.0)[0]
    order = np.argsort(-want)
    assert [name for name, _ in got] == [COLOURS[i] for i in order]
    np.testing.assert_allclose([p for _, p in got], want[order], rtol=1e-4)
    assert isinstance(failure, ItemFailure)
    assert sum(p for _, p in sound) == pytest.approx(1)
    [info] = client.model().classifiers
    assert (info.name, tuple(info.class_names)) == ("colours", COLOURS)
    with refused("INVALID_ARGUMENT", "no classifier 'shapes' in this model; it has colours"):
        client.classify([image], classifier="shapes")
    with refused("INVALID_ARGUMENT", "either a classifier's name or class names"):
        client.classify([image], ["a"], classifier="colours")


def test_limits_are_told(client) -> None:
    limits = client.model().limits
    assert (limits.max_items, limits.max_media_bytes) == (256, 64 << 20)
    assert limits.max_media_pixels == 50_000_000
    assert (limits.max_decode_seconds, limits.max_decode_bytes) == (30.0, 1 << 30)
    assert list(client.model().modalities[2].lengths) == [4, 12]
