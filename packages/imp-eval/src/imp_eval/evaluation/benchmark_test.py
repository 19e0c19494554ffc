"""Every layout that papers score on, written tiny: what is its test, its classes, its captions."""

import json
import pickle

import numpy as np
import pytest

from imp_eval.conftest import png
from imp_eval.evaluation import benchmark as benchmarks
from imp_eval.evaluation.spec import Spec
from imp_eval.prompts import ENSEMBLES, TEMPLATES


def imagenet(root):
    (root / "LOC_synset_mapping.txt").write_text("n1 tench, Tinca\nn2 goldfish\nn3 shark\n")
    for split, synset in (("train", "n1"), ("val", "n2"), ("val", "n1")):
        (root / split / synset).mkdir(parents=True)
        (root / split / synset / "x.JPEG").write_bytes(b"x")
    return f"imagenet:{root}"


def cifar10(root):
    (root / "batches.meta").write_bytes(pickle.dumps({"label_names": [str(i) for i in range(10)]}))
    for name, count in (("data_batch_1", 3), ("test_batch", 2)):
        content = {"data": np.zeros((count, 3072), np.uint8), "labels": [1] * count}
        (root / name).write_bytes(pickle.dumps(content))
    return f"cifar10:{root}"


def kinetics(root):
    (root / "videos").mkdir()
    rows = ["label,youtube_id,time_start,time_end,split"]
    for i, split in enumerate(["train", "validate", "validate"]):
        (root / f"videos/v{i}.mp4").write_bytes(b"x")
        rows.append(f"doing {i},v{i},0,10,{split}")
    (root / "k400.csv").write_text("\n".join(rows) + "\n")
    return f"kinetics:{root}/k400.csv,root={root}/videos"


def ucf101(root):
    (root / "ucfTrainTestlist").mkdir()
    (root / "ucfTrainTestlist/classInd.txt").write_text("1 YoYo\n2 Archery\n")
    for split in ("train", "test"):
        (root / f"ucfTrainTestlist/{split}list01.txt").write_text(f"YoYo/{split}.avi\n")
    return f"ucf101:{root}"


def hmdb51(root):
    (root / "ride_bike_test_split1.txt").write_text("a.avi 1\nb.avi 2\nc.avi 0\n")
    (root / "run_test_split1.txt").write_text("d.avi 2\n")
    return f"hmdb51:{root}/*_test_split1.txt"


def audioset(root):
    (root / "a.wav").write_bytes(b"x")
    (root / "eval_segments.csv").write_text('# x\na, 0.0, 10.0, "/m/1,/m/2"\n')
    return f"audioset:{root}/eval_segments.csv"


def coco(root):
    content = {
        "images": [{"id": 1, "file_name": "a.jpg"}],
        "annotations": [{"image_id": 1, "caption": f"c{i}"} for i in range(6)],
    }
    (root / "captions_val2017.json").write_text(json.dumps(content))
    return f"coco:{root}/captions_val2017.json"


def flickr30k(root):
    images = [
        {"filename": f"{i}.jpg", "split": split, "sentences": [{"raw": f"caption {i}"}] * 5}
        for i, split in enumerate(["train", "val", "test"])
    ]
    (root / "dataset_flickr30k.json").write_text(json.dumps({"images": images}))
    return f"flickr30k:{root}/dataset_flickr30k.json"


@pytest.mark.parametrize(
    ("write", "modality", "num_test", "num_train", "classes", "prompts"),
    [
        (imagenet, "image", 2, 1, ("tench", "goldfish", "shark"), ENSEMBLES["photo"]),
        (cifar10, "image", 2, 3, tuple("0123456789"), ENSEMBLES["photo"]),
        (kinetics, "video", 2, 1, ("doing 0", "doing 1", "doing 2"), ENSEMBLES["action"]),
        (ucf101, "video", 1, 1, ("yo yo", "archery"), ENSEMBLES["action"]),
        (hmdb51, "video", 2, 1, ("ride bike", "run"), ENSEMBLES["action"]),
        (audioset, "audio", 1, 0, ("/m/1", "/m/2"), ENSEMBLES["sound"]),
        (coco, "image", 1, 0, (), TEMPLATES["image"]),
        (flickr30k, "image", 1, 1, (), TEMPLATES["image"]),
    ],
)
def test_layouts(tmp_path, pooled, write, modality, num_test, num_train, classes, prompts) -> None:
    made = benchmarks.make(Spec.parse(write(tmp_path)), pooled.views)
    assert made.modalities == (modality,)
    assert len(made.test) == num_test
    assert (0 if made.train is None else len(made.train)) == num_train
    assert made.class_names == classes
    assert made.templates[modality] == prompts
    assert (made.by_pair, made.max_texts) == ((True, 5) if not classes else (False, None))
    assert made.num_clips == 8
    assert made.test.multi_label == (write is audioset)


def test_examples_of_several_labels_are_scored_by_their_mean_precision(scorer, tmp_path) -> None:
    rows = []
    for i in range(6):
        (tmp_path / f"{i}.png").write_bytes(png(i))
        rows.append({"path": f"{i}.png", "labels": ["red", "blue", "green"][i % 3 :]})
    (tmp_path / "m.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    made = benchmarks.make(Spec.parse(f"jsonl:{tmp_path}/m.jsonl"), scorer.encodings.encoder.views)
    [result] = scorer.run(made, "zero-shot")
    [score] = result.scores
    assert (score.metric, score.n, score.chance) == ("mAP", 6, pytest.approx(2 / 3))
    assert [(c.name, c.n) for c in result.classes] == [("blue", 4), ("green", 6), ("red", 2)]
    assert scorer.possible(made, "knn") == "examples of several labels"


def test_prompts_of_ones_own(scorer, pictures, tmp_path) -> None:
    file = tmp_path / "prompts.txt"
    file.write_text("a fine {}\n\n  the {}  \n")
    made = benchmarks.make(
        Spec.parse(f"folder:{pictures},prompts={file}"), scorer.encodings.encoder.views
    )
    assert made.templates["image"] == ("a fine {}", "the {}")
    file.write_text("no place\n")
    with pytest.raises(ValueError, match="template 'no place' must hold"):
        benchmarks.make(
            Spec.parse(f"folder:{pictures},prompts={file}"), scorer.encodings.encoder.views
        )
