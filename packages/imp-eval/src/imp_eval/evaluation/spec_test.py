import pytest

from imp_eval.evaluation.spec import Spec


def test_a_full_spec() -> None:
    text = "mine=csv:a,b/m.csv,root=x=y/z,modality=video+audio,test=*,clips=3,sample=50"
    spec = Spec.parse(text)
    assert (spec.name, spec.kind, spec.place) == ("mine", "csv", "a,b/m.csv")
    assert (spec.root, spec.modality, spec.test) == ("x=y/z", ("video", "audio"), ("*",))
    assert (spec.clips, spec.sample, spec.train, spec.prompts) == (3, 50, (), None)


@pytest.mark.parametrize(
    ("text", "name"),
    [
        ("imagenet:/data/in1k", "imagenet"),
        ("coco:captions_val2017.json,root=val2017", "coco"),
        ("folder:/data/my photos", "my-photos"),
        ("jsonl:/data/games/manifest.jsonl", "games"),
        ("csv:pets.csv,test=val", "pets"),
        ("dataset:data/emoji/", "emoji"),
        ("folder:.", "folder"),
        ("a.b-c_d=folder:C:\\x", "a.b-c_d"),
        ("ucf101:lists/{train,test}list02.txt,clips=4", "ucf101"),
    ],
)
def test_names(text, name) -> None:
    assert Spec.parse(text).name == name


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("photos", "is unclear; write"),
        ("folder:", "is unclear; write"),
        ("folder:x,sampel=5", "no key 'sampel'; keys: modality, root"),
        ("folder:x,sample=0", "sample '0' must be a whole number"),
        ("folder:x,clips=many", "clips 'many' must be a whole number"),
        ("folder:x,root=,test=a", "needs one value of root"),
        ("folder:x,test=a,test=b", "needs one value of test"),
    ],
)
def test_unclear_ones(text, message) -> None:
    with pytest.raises(ValueError, match=message):
        Spec.parse(text)
