"""COCO captions."""

import json

from imp_data.sources.conftest import built


def test_coco_captions(root):
    content = {
        "images": [{"id": 7, "file_name": "a.png"}, {"id": 3, "file_name": "b.png"}],
        "annotations": [
            {"image_id": 3, "id": 1, "caption": "a bee"},
            {"image_id": 7, "id": 2, "caption": "an ape"},
            {"image_id": 3, "id": 3, "caption": "the bee"},
        ],
    }
    (root / "captions_val2017.json").write_text(json.dumps(content))
    found = built(f"coco:{root}/captions_val2017.json", root / "out", root=str(root / "x"))
    assert found == {
        "val": [("a.png", 20, ("an ape",), ()), ("b.png", 90, ("a bee", "the bee"), ())]
    }
