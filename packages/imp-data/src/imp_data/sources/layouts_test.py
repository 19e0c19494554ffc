"""Benchmarks' own layouts, written tiny, and broken in the ways that copies of them are."""

import json
import pickle
import shutil
from typing import ClassVar

import numpy as np
import pytest

from imp_data import sources
from imp_data.media.limits import DEFAULT_LIMITS
from imp_data.sources.conftest import LEVELS, built, png, read
from imp_data.views import AudioView, VideoView


def found(spec, **options):
    return [(i.id, i.split, i.labels, i.texts) for i in read(spec, **options) if not i.problem]


def problems(spec, **options):
    return [item.problem for item in read(spec, **options) if item.problem]


# --- ImageNet ---

SYNSETS = "n01440764 tench, Tinca tinca\nn02012849 crane\nn03126707 crane\n"


@pytest.fixture
def imagenet(tmp_path):
    (tmp_path / "LOC_synset_mapping.txt").write_text(SYNSETS)
    for split, synset, name in (("val", "n01440764", "a"), ("train", "n03126707", "b")):
        (tmp_path / split / synset).mkdir(parents=True)
        (tmp_path / split / synset / f"{name}.png").write_bytes(png(LEVELS[name]))
    return tmp_path


def test_imagenet(imagenet):
    assert found(f"imagenet:{imagenet}") == [
        ("train/n03126707/b.png", "train", ("construction crane",), ()),
        ("val/n01440764/a.png", "val", ("tench",), ()),
    ]
    names = ("tench", "crane bird", "construction crane")
    assert sources.classes(f"imagenet:{imagenet}") == names
    shown = built(f"imagenet:{imagenet}", imagenet / "out")
    assert shown["val"] == [("val/n01440764/a.png", 20, (), ("tench",))]


@pytest.mark.parametrize(
    ("file", "text"),
    [
        (
            "LOC_val_solution.csv",
            "ImageId,PredictionString\nILSVRC2012_val_00000001,n02012849 1 2 3 4 \n",
        ),
        ("val.txt", "ILSVRC2012_val_00000001.png n02012849\n"),
        ("val.txt", "ILSVRC2012_val_00000001.png 1\n"),
    ],
)
def test_imagenet_flat(imagenet, file, text):
    """As the challenge's archive holds it."""
    inside = imagenet / "ILSVRC/Data/CLS-LOC"
    (inside / "val").mkdir(parents=True)
    for number in (1, 2):
        (inside / f"val/ILSVRC2012_val_{number:08d}.png").write_bytes(png(number))
    with pytest.raises(FileNotFoundError, match=r"val/ is flat, and no LOC_val_solution.csv"):
        read(f"imagenet:{imagenet}")
    (imagenet / file).write_text(text)
    assert found(f"imagenet:{imagenet}") == [
        ("val/ILSVRC2012_val_00000001.png", "val", ("crane bird",), ())
    ]
    assert problems(f"imagenet:{imagenet}") == ["no list says of which class it is"]


def test_imagenet_broken(imagenet):
    (imagenet / "val/dogs").mkdir()
    (imagenet / "val/dogs/x.png").write_bytes(b"x")
    with pytest.raises(ValueError, match="val/dogs is no synset of"):
        read(f"imagenet:{imagenet}")
    (imagenet / "LOC_synset_mapping.txt").write_text("tench\n")
    with pytest.raises(ValueError, match="names no synset; a line is as"):
        read(f"imagenet:{imagenet}")
    (imagenet / "LOC_synset_mapping.txt").unlink()
    with pytest.raises(FileNotFoundError, match=r"no file LOC_synset_mapping.txt"):
        read(f"imagenet:{imagenet}")
    (imagenet / "LOC_synset_mapping.txt").write_text(SYNSETS)
    for split in ("train", "val"):
        shutil.rmtree(imagenet / split)
    with pytest.raises(FileNotFoundError, match="no folder train or val"):
        read(f"imagenet:{imagenet}")


# --- CIFAR ---


class Python2Pickler(pickle._Pickler):
    """Writes bytes as Python 2 wrote its strings, as in the batches that people have."""

    def save_bytes(self, value):
        self.write(pickle.BINSTRING + len(value).to_bytes(4, "little") + value)

    dispatch: ClassVar = pickle._Pickler.dispatch | {bytes: save_bytes}


def write_pickle(path, content, python2=True):
    with path.open("wb") as file:
        (Python2Pickler if python2 else pickle.Pickler)(file, protocol=2).dump(content)
    if python2:
        # NumPy was laid out otherwise then.
        path.write_bytes(path.read_bytes().replace(b"numpy._core", b"numpy.core"))


def cifar_rows(*levels):
    return np.repeat(np.array(levels, np.uint8)[:, None], 3072, axis=1)


@pytest.mark.parametrize("python2", [True, False])
def test_cifar10(tmp_path, python2):
    names = [f"class_{i}".encode() for i in range(10)]
    write_pickle(tmp_path / "batches.meta", {b"label_names": names}, python2)
    write_pickle(
        tmp_path / "data_batch_2", {b"data": cifar_rows(20, 90), b"labels": [3, 11]}, python2
    )
    rows = cifar_rows(160)
    rows[0, 1024:] = 0  # red alone
    write_pickle(tmp_path / "test_batch", {b"data": rows, b"labels": [0]}, python2)
    shown = built(f"cifar10:{tmp_path}", tmp_path / "out", max_reject_share=0.5)
    assert shown == {
        "train": [("data_batch_2/00000", 20, (), ("class 3",))],
        "test": [("test_batch/00000", 160, (), ("class 0",))],
    }
    assert problems(f"cifar10:{tmp_path}") == ["label 11 must be within 0..9"]
    red = sources.read_bytes(read(f"cifar10:{tmp_path}")[-1], DEFAULT_LIMITS)
    assert red[:4] == b"\x89PNG"


def test_cifar100(tmp_path):
    names = [str(i).encode() for i in range(100)]
    write_pickle(tmp_path / "meta", {b"fine_label_names": names, b"coarse_label_names": [b"x"]})
    content = {b"data": cifar_rows(20), b"fine_labels": [99], b"coarse_labels": [1]}
    write_pickle(tmp_path / "test", content)
    assert found(f"cifar100:{tmp_path}") == [("test/00000", "test", ("99",), ())]
    with pytest.raises(FileNotFoundError, match=r"batches.meta: the names of CIFAR-10"):
        read(f"cifar10:{tmp_path}")


class Planted:
    def __reduce__(self):
        import os

        return os.system, ("touch planted",)


def test_a_pickle_that_would_run_code_runs_none(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "batches.meta").write_bytes(pickle.dumps(Planted()))
    with pytest.raises(ValueError, match=r"names posix.system, which no CIFAR batch does"):
        read(f"cifar10:{tmp_path}")
    assert not (tmp_path / "planted").exists()


@pytest.mark.parametrize(
    "content", [b"", b"\x80\x02]q", b"garbage", pickle.dumps([1]), pickle.dumps({b"labels": 3})]
)
def test_what_is_no_cifar_batch(tmp_path, content):
    names = [f"class_{i}".encode() for i in range(10)]
    write_pickle(tmp_path / "batches.meta", {b"label_names": names})
    with pytest.raises(FileNotFoundError, match="no batch of CIFAR-10"):
        read(f"cifar10:{tmp_path}")
    (tmp_path / "test_batch").write_bytes(content)
    with pytest.raises(ValueError, match=r"test_batch (is no CIFAR batch|has no 'labels')"):
        read(f"cifar10:{tmp_path}")


# --- videos ---


@pytest.fixture
def ucf101(tmp_path):
    lists = tmp_path / "ucfTrainTestlist"
    lists.mkdir()
    (lists / "classInd.txt").write_text("1 ApplyEyeMakeup\n2 YoYo\n")
    for name, number in (("trainlist01", 1), ("trainlist02", 9)):
        (lists / f"{name}.txt").write_text(f"ApplyEyeMakeup/v_g0{number}.avi 1\n")
    for number in (1, 2):
        (lists / f"testlist0{number}.txt").write_text(f"YoYo/v_g0{number}.avi\r\n\n")
    return tmp_path


def test_ucf101(ucf101):
    options = {"modalities": ["video"]}
    items = read(f"ucf101:{ucf101}", **options)
    assert [(i.id, i.split, i.labels) for i in items] == [
        ("ApplyEyeMakeup/v_g01.avi", "train", ("apply eye makeup",)),
        ("YoYo/v_g01.avi", "test", ("yo yo",)),
    ]
    assert items[1].path == f"{ucf101}/UCF-101/YoYo/v_g01.avi"
    assert sources.classes(f"ucf101:{ucf101}") == ("apply eye makeup", "yo yo")
    second = f"ucf101:{ucf101}/ucfTrainTestlist/{{train,test}}list02.txt"
    items = read(second, root=str(ucf101), **options)
    assert [i.path for i in items] == [
        f"{ucf101}/ApplyEyeMakeup/v_g09.avi",
        f"{ucf101}/YoYo/v_g02.avi",
    ]


def test_ucf101_broken(ucf101):
    options = {"modalities": ["video"]}
    (ucf101 / "ucfTrainTestlist/testlist01.txt").write_text("Juggling/x.avi\n../YoYo/v.avi\n")
    said = problems(f"ucf101:{ucf101}", **options)
    assert len(said) == 2
    assert "'Juggling/x.avi' is of no class that classInd.txt names" in said[0]
    (ucf101 / "ucfTrainTestlist/testlist01.txt").write_text("\n")
    with pytest.raises(ValueError, match=r"testlist01.txt lists no video"):
        read(f"ucf101:{ucf101}", **options)
    (ucf101 / "ucfTrainTestlist/classInd.txt").unlink()
    with pytest.raises(FileNotFoundError, match=r"classInd.txt: it names UCF101's classes"):
        read(f"ucf101:{ucf101}", **options)


def test_hmdb51(tmp_path, clip):
    (tmp_path / "brush_hair").mkdir()
    for name, level in (("a b", 40), ("c", 200)):
        (tmp_path / f"brush_hair/{name}.avi").write_bytes(clip([level] * 4, kind="avi"))
    splits = tmp_path / "brush_hair_test_split1.txt"
    splits.write_text("a b.avi 1 \nc.avi 2 \nd.avi 0 \n")
    view = VideoView(frames=2, size=4, fps=8.0)
    spec = f"hmdb51:{tmp_path}/*_test_split1.txt"
    shown = built(spec, tmp_path / "out", view)
    assert {s: [(i, round(n, -1), labels) for i, n, _, labels in r] for s, r in shown.items()} == {
        "train": [("brush_hair/a b.avi", 40, ("brush hair",))],
        "test": [("brush_hair/c.avi", 200, ("brush hair",))],
    }
    splits.write_text("a b.avi 1\nc.avi 3\n../../x.avi 1\n")
    said = problems(spec, modalities=["video"])
    assert [s.partition(" is")[0] for s in said] == ["'c.avi 3'", "'../../x.avi 1'"]
    shutil.copy(splits, tmp_path / "brush_hair_test_split2.txt")
    with pytest.raises(ValueError, match="two splits of one class"):
        read(f"hmdb51:{tmp_path}/*_test_split?.txt", modalities=["video"])
    (tmp_path / "m.csv").write_text("")
    with pytest.raises(ValueError, match=r"m.csv is no CLASS_test_splitN.txt"):
        read(f"hmdb51:{tmp_path}/m.csv", modalities=["video"])


def test_msrvtt(tmp_path):
    videos = tmp_path / "videos/all"
    videos.mkdir(parents=True)
    for number in (7, 8):
        (videos / f"video{number}.mp4").write_bytes(b"x")
    content = {
        "videos": [{"video_id": f"video{n}", "split": "test"} for n in (7, 8, 9)],
        "sentences": [
            {"video_id": "video7", "caption": "a man", "sen_id": 0},
            {"video_id": "video9", "caption": "a cat", "sen_id": 1},
            {"video_id": "video7", "caption": "a person", "sen_id": 2},
        ],
    }
    (tmp_path / "data.json").write_text(json.dumps(content))
    options = {"modalities": ["video"], "root": str(tmp_path)}
    assert found(f"msrvtt:{tmp_path}/data.json", **options) == [
        ("video7", "test", (), ("a man", "a person")),
        ("video9", "test", (), ("a cat",)),
    ]
    assert problems(f"msrvtt:{tmp_path}/data.json", **options) == ["video8 has no sentence"]
    paths = [item.path for item in read(f"msrvtt:{tmp_path}/data.json", **options)]
    assert paths[0] == f"{videos}/video7.mp4"
    assert paths[2] == f"{tmp_path}/video9.mp4"
    (tmp_path / "1k.csv").write_text(
        'key,vid_key,video_id,sentence\nret0,msr8,video8,"a dog, running"\n'
    )
    assert found(f"msrvtt:{tmp_path}/1k.csv", **options) == [
        ("video8", "test", (), ("a dog, running",))
    ]
    for file, text, said in (
        ("x.json", "[]", "is not MSR-VTT"),
        ("x.json", '{"videos": [{"video_id": "v"}], "sentences": []}', "KeyError: 'split'"),
        ("x.csv", "id,sentence\n", "no column 'video_id'"),
    ):
        (tmp_path / file).write_text(text)
        with pytest.raises(ValueError, match=said):
            read(f"msrvtt:{tmp_path}/{file}", **options)


# --- sounds ---


def test_esc50(tmp_path, tone):
    for folder in ("meta", "audio"):
        (tmp_path / folder).mkdir()
    (tmp_path / "audio/1-a-0.wav").write_bytes(tone(300))
    head = "filename,fold,target,category,esc10,src_file,take\n"
    row = "1-a-0.wav,1,14,chirping_birds,False,a,A\n"
    meta = tmp_path / "meta/esc50.csv"
    meta.write_text(head + row)
    shown = built(f"esc50:{tmp_path}", tmp_path / "out", AudioView(frames=8))
    assert [(s, r[0][0], r[0][3]) for s, r in shown.items()] == [
        ("fold1", "1-a-0.wav", ("chirping birds",))
    ]
    meta.write_text(head + row + "b.wav,6,14,dog,False,a,A\n../../etc/x.wav,1,1,dog,False,a,A\n")
    said = problems(f"esc50:{tmp_path}", modalities=["audio"])
    assert len(said) == 2
    assert all("needs a filename, a category and a fold of 1 to 5" in s for s in said)
    meta.write_text("name\n")
    with pytest.raises(ValueError, match="no column 'filename'; ESC-50's has"):
        read(f"esc50:{tmp_path}", modalities=["audio"])
    meta.unlink()
    with pytest.raises(FileNotFoundError, match="write the folder that holds meta/ and audio/"):
        read(f"esc50:{tmp_path}", modalities=["audio"])


# --- captions ---

TWO = [{"raw": "one", "tokens": ["one"]}, {"raw": "two", "tokens": ["two"]}]


def test_karpathy(root):
    content = {
        "images": [
            {"filename": "a.png", "split": "test", "sentences": TWO},
            {"filename": "b.png", "split": "restval", "sentences": TWO[:1], "filepath": "x"},
            {"filename": "c.png", "split": "train", "sentences": []},
        ],
        "dataset": "flickr30k",
    }
    path = root / "dataset.json"
    path.write_text(json.dumps(content))
    shown = found(f"karpathy:{path}", root=str(root / "x"))
    assert shown == [
        ("a.png", "test", (), ("one", "two")),
        ("x/b.png", "train", (), ("one",)),
    ]
    assert problems(f"karpathy:{path}") == ["c.png has no captions"]
    for text in ("[]", '{"images": [{"filename": "a.png"}]}', '{"images": 3}', "{"):
        path.write_text(text)
        with pytest.raises(ValueError, match="is not Karpathy's"):
            read(f"karpathy:{path}")
    path.write_text('{"images": []}')
    with pytest.raises(ValueError, match="has no captions"):
        read(f"karpathy:{path}")


@pytest.mark.parametrize(
    ("name", "text", "split"),
    [
        ("results_20130124.token", "a.png#0\tone , two\na.png#1\tthree\n", "train"),
        (
            "results.csv",
            "image_name| comment_number| comment\na.png| 0| one , two\na.png| 1| three\n",
            "train",
        ),
        (
            "flickr_annotations_30k.csv",
            "raw,sentids,split,filename,img_id\n"
            '"[""one , two"", ""three""]","[0, 1]",val,a.png,0\n',
            "val",
        ),
    ],
)
def test_flickr30k_lists(root, name, text, split):
    (root / "x" / name).write_text(text)
    assert found(f"flickr30k:{root}/x/{name}") == [("a.png", split, (), ("one , two", "three"))]
    (root / "x" / name).write_text("nothing of the kind\n")
    with pytest.raises(ValueError, match="has no captions; write Karpathy's JSON"):
        read(f"flickr30k:{root}/x/{name}")


def test_mutated_cifar_batches_are_read_or_refused(tmp_path):
    names = [f"class_{i}".encode() for i in range(10)]
    write_pickle(tmp_path / "batches.meta", {b"label_names": names})
    batch = tmp_path / "test_batch"
    write_pickle(batch, {b"data": cifar_rows(20), b"labels": [0], b"batch_label": b"x"})
    whole, rng = batch.read_bytes(), np.random.default_rng(0)
    # All but the pixels, which may be anything.
    places = [
        *range(whole.index(bytes([20] * 9))),
        *range(whole.rindex(bytes([20] * 9)), len(whole)),
    ]
    outcomes = {"read": 0, "refused": 0}
    for number in range(400):
        data = bytearray(whole)
        for place in rng.choice(places, rng.integers(1, 4)).tolist():
            data[place] = rng.integers(0, 256)
        batch.write_bytes(data[: rng.choice(places)] if number % 4 == 0 else data)
        try:
            for item in read(f"cifar10:{tmp_path}"):
                sources.read_bytes(item, DEFAULT_LIMITS)
            outcomes["read"] += 1
        except ValueError:
            outcomes["refused"] += 1
    assert min(outcomes.values()) > 20, outcomes
