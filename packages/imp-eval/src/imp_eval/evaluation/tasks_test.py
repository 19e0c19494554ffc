import json

import numpy as np
import pytest

from imp_data.pipelines.build import build_dataset
from imp_eval import zero_shot
from imp_eval.evaluation import benchmark as benchmarks
from imp_eval.evaluation.search import pairs_of
from imp_eval.evaluation.spec import Spec
from imp_eval.evaluation.supervised import held_out_of
from imp_eval.prompts import TEMPLATES


def make(scorer, text):
    return benchmarks.make(Spec.parse(text), scorer.encodings.encoder.views)


def figures(results):
    return {(r.modality, s.metric): s for r in results for s in r.scores}


def embedded(scorer, modality, arrays, pair):
    return scorer.encodings.encoder.embed(
        scorer.encodings.encoder.pool(modality, np.stack(arrays)), pair
    )


def test_zero_shot_is_the_nearest_mean_of_prompts(scorer, pictures) -> None:
    mine = make(scorer, f"folder:{pictures}")
    assert mine.class_names == ("blue thing", "green", "red thing")
    assert (len(mine.test), len(mine.train), mine.modalities) == (7, 12, ("image",))
    [result] = scorer.run(mine, "zero-shot")
    view, text = scorer.encodings.encoder.views["image"], scorer.encodings.encoder.views["text"]
    arrays = [mine.test.examples.load(i, view, 1)[0] for i in range(7)]
    pictured = embedded(scorer, "image", arrays, ("image", "text"))
    classes = []
    for name in mine.class_names:
        filled = [t.replace("{}", name) for t in TEMPLATES["image"]]
        tokens = scorer.encodings.tokenizer.encode(filled, text.length)
        mean = embedded(scorer, "text", list(tokens), ("text", "image")).mean(0)
        classes.append(mean / np.linalg.norm(mean))
    truth = np.array([own[0] for own in mine.test.labels])
    want = zero_shot.score(pictured @ np.stack(classes).T, truth)
    found = figures([result])
    assert found["image", "top-1"].value == pytest.approx(want.top_1)
    assert found["image", "mean-per-class"].value == pytest.approx(want.mean_per_class)
    assert result.confusion.sum() == 7


def test_a_built_dataset_scores_as_its_files_do(scorer, pictures, tmp_path) -> None:
    build_dataset(
        source=f"folder:{pictures}",
        out=tmp_path / "built",
        views=[scorer.encodings.encoder.views["image"]],
        progress=False,
    )
    built = make(scorer, f"dataset:{tmp_path / 'built'}")
    files = make(scorer, f"folder:{pictures}")
    for task in ("zero-shot", "knn"):
        ours, theirs = (figures(scorer.run(b, task)) for b in (built, files))
        assert {k: (s.value, s.n) for k, s in ours.items()} == {
            k: (pytest.approx(s.value), s.n) for k, s in theirs.items()
        }
    build_dataset(
        source=f"folder:{pictures}",
        out=tmp_path / "other",
        views=[type(scorer.encodings.encoder.views["image"])(size=8)],
        progress=False,
    )
    with pytest.raises(ValueError, match=r"stores image-8, and this bundle takes image-32"):
        make(scorer, f"dataset:{tmp_path / 'other'}")


def loop(similarities, right):
    """Recalls and median rank by counting, query after query. At most two answers tie: once the
    earlier is put first, once the later, and both count half."""
    recalls, ranks = {1: [], 5: [], 10: []}, []
    for row, answers in zip(similarities, right, strict=True):
        firsts = [
            1
            + min(
                sorted(range(len(row)), key=lambda i: (-row[i], sign * i)).index(a) for a in answers
            )
            for sign in (1, -1)
        ]
        ranks.append(np.mean(firsts))
        for k, own in recalls.items():
            own.append(np.mean([first <= k for first in firsts]))
    found = {f"R@{k}": np.mean(own) for k, own in recalls.items()}
    return found | {"median-rank": np.median(ranks)}


@pytest.mark.parametrize("by_pair", [True, False])
def test_retrieval_agrees_with_a_loop(scorer, clips, tmp_path, by_pair) -> None:
    """Two videos share a caption: by pair each has its own alone, else either will do."""
    if by_pair:
        rows = [json.loads(line) for line in (clips / "manifest.jsonl").read_text().splitlines()]
        content = {
            "videos": [{"video_id": row["path"][0], "split": "test"} for row in rows],
            "sentences": [
                {"video_id": row["path"][0], "caption": caption}
                for row in rows
                for caption in row["captions"]
            ],
        }
        (tmp_path / "data.json").write_text(json.dumps(content))
        mine = make(scorer, f"msrvtt:{tmp_path}/data.json,root={clips},clips=1")
    else:
        mine = make(scorer, f"jsonl:{clips}/manifest.jsonl,clips=1,modality=video")
    found = figures(scorer.run(mine, "retrieval"))
    captions = [list(own) for own in mine.test.texts]
    texts = [t for own in captions for t in own]
    owners = [i for i, own in enumerate(captions) for _ in own]
    if not by_pair:
        texts = list(dict.fromkeys(texts))
        answers = [[i for i, own in enumerate(captions) if t in own] for t in texts]
    else:
        answers = [[owner] for owner in owners]
    view, text = scorer.encodings.encoder.views["video"], scorer.encodings.encoder.views["text"]
    shown = embedded(
        scorer,
        "video",
        [mine.test.examples.load(i, view, 1)[0] for i in range(6)],
        ("video", "text"),
    )
    written = embedded(
        scorer,
        "text",
        list(scorer.encodings.tokenizer.encode(texts, text.length)),
        ("text", "video"),
    )
    similarities = written @ shown.T
    back = [[j for j, own in enumerate(answers) if i in own] for i in range(6)]
    wanted = {"text→video": loop(similarities, answers), "video→text": loop(similarities.T, back)}
    for direction, values in wanted.items():
        for metric, value in values.items():
            score = found[direction, metric]
            assert score.value == pytest.approx(value), (direction, metric)
            assert score.low <= score.value <= score.high
    assert found["text→video", "R@1"].n == (12 if by_pair else 11)
    assert found["video→text", "R@1"].n == 6


def test_blank_captions_leave_nothing_to_search(scorer, pictures, tmp_path) -> None:
    (tmp_path / "m.csv").write_text(f"path,caption\n{pictures}/test/green/2.png, \n")
    mine = make(scorer, f"csv:{tmp_path}/m.csv,root={pictures},modality=image")
    with pytest.raises(ValueError, match="nothing is left to search"):
        scorer.run(mine, "retrieval")


def test_pairs_of_captions() -> None:
    words, links = pairs_of([("a", "b", "a"), ("a",)], by_pair=False)
    assert words == ["a", "b"]
    np.testing.assert_array_equal(links.toarray(), [[True, True], [True, False]])
    words, links = pairs_of([("a", "b", "a"), ("a",)], by_pair=True)
    assert words == ["a", "b", "a", "a"]
    np.testing.assert_array_equal(links.toarray().argmax(1), [0, 0, 0, 1])


def test_frozen_features_are_probed_on_the_training_split(scorer, pictures) -> None:
    mine = make(scorer, f"folder:{pictures}")
    for task in ("linear-probe", "knn"):
        assert scorer.possible(mine, task) is None
        [result] = scorer.run(mine, task)
        assert [s.metric for s in result.scores] == ["top-1", "top-5", "mean-per-class"]
        assert result.scores[0].n == 7
    turned = make(scorer, f"folder:{pictures},test=train,train=test")
    assert (len(turned.test), len(turned.train)) == (12, 7)


def test_folds_are_scored_by_each_other(scorer, sounds) -> None:
    mine = make(scorer, f"esc50:{sounds}")
    assert len(mine.test) == 12
    assert sorted(set(mine.test.folds.tolist())) == [0, 1, 2]
    assert mine.templates["audio"][1] == "the sound of {}"
    [result] = scorer.run(mine, "linear-probe")
    assert len(result.details["c"]) == 3
    assert result.scores[0].n == 12
    # This bundle compares sounds with videos alone.
    assert scorer.possible(mine, "zero-shot") == "the bundle does not compare audio with text"
    one = make(scorer, f"esc50:{sounds},test=fold1")
    assert scorer.possible(one, "knn") == "no split to train on; name one with train="
    split = make(scorer, f"esc50:{sounds},test=fold1,train=fold2+fold3")
    [result] = scorer.run(split, "knn")
    assert result.scores[0].n == 4


def test_a_fifth_of_each_class_validates() -> None:
    labels = np.repeat([0, 1, 2, 5], [10, 3, 1, 25])
    held = held_out_of(labels, seed=0)
    assert [int(held[labels == c].sum()) for c in (0, 1, 2, 5)] == [2, 1, 0, 5]
    assert (held_out_of(labels, seed=0) == held).all()
    assert (held_out_of(labels, seed=1) != held).any()
    with pytest.raises(ValueError, match="two training examples or more"):
        held_out_of(np.array([0, 1]), seed=0)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("folder:{root},test=dev", "no split 'dev'; there are"),
        ("folder:{root},test=train,train=train", "split 'train' is both trained on and scored"),
        ("folder:{root},val=test", "split 'test' is both validated by and scored"),
        ("folder:{root},val=train", "split 'train' is both trained on and validated by"),
        ("folder:{root},modality=text", "no text in this bundle; it takes image, video, audio"),
        ("folder:{root},prompts=nice", "prompts 'nice' are neither a file nor one of name, photo"),
        ("folder:{root},captions=name", "captions 'name' must be stem"),
        ("tar:{root}", "kind 'tar' is unknown; one of dataset, folder"),
    ],
)
def test_benchmarks_that_are_no_use(scorer, pictures, text, message) -> None:
    with pytest.raises(ValueError, match=message):
        make(scorer, text.format(root=pictures))


def test_the_only_split_is_scored(scorer, pictures) -> None:
    alone = make(scorer, f"folder:{pictures}/train")
    assert (len(alone.test), alone.train) == (12, None)


def test_a_sample_is_the_same_every_time(scorer, pictures) -> None:
    ids = [
        [own.examples.id(i) for i in range(len(own))]
        for own in (make(scorer, f"folder:{pictures},sample=4").test for _ in range(2))
    ]
    assert ids[0] == ids[1]
    assert len(ids[0]) == 4
