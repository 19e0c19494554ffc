"""What a screening's report shows, and in which order."""

import base64
import io

from PIL import Image

from imp_data import cli
from imp_data.near_duplicates.pictures_test import EDITS, scene
from imp_data.pipelines.screen_test import drops, run, save


def test_conflicts_of_labels_come_first(tmp_path, capsys):
    """Scene 0 and its copy are labelled a and b; scene 1 twice a; reference: one label it knows."""
    root = save(
        tmp_path / "source",
        {
            "a/0.png": scene(0),
            "b/0-copy.png": EDITS["jpeg"](scene(0)),
            "a/1.png": scene(1),
            "a/1-copy.png": EDITS["half"](scene(1)),
            "b/5.png": scene(5),
            "b/6.png": scene(6),
        },
    )
    theirs = {"a/5.png": scene(5), "b/7.png": scene(7), "other/6.png": scene(6)}
    reference = save(tmp_path / "reference", theirs)
    out = tmp_path / "out"
    command = ["build", "--source", f"folder:{root}", "--out", str(out), "--views", "image-48"]
    assert cli.main([*command, "--dedup", "--against", f"folder:{reference}"]) == 0
    printed = capsys.readouterr().out
    assert "4 near duplicates dropped" in printed
    assert "2 of them differ in label from what they are like\n" in printed
    found = drops(out)
    conflicts = {name for name, drop in found.items() if drop["label_conflict"]}
    assert conflicts == {"b/5.png", *(found.keys() & {"a/0.png", "b/0-copy.png"})}
    assert found["b/6.png"]["like_labels"] == ["other"]
    page = (out / "near_duplicates/report.html").read_text()
    assert "2 of them differ in label" in page
    assert page.count('<div class="conflict">') == 4
    assert page.index("b/5.png") < page.index("b/6.png")
    assert cli.main(["inspect", str(out)]) == 0
    assert "2 of them differ in label" in capsys.readouterr().out


def test_names_are_escaped_in_the_page(tmp_path):
    picture = scene(1)
    names = {"<b>.png": picture, "a&b.png": picture}
    run(save(tmp_path / "source", names), tmp_path / "out", dedup=True)
    page = (tmp_path / "out/near_duplicates/report.html").read_text()
    assert "<b>" not in page
    assert "&lt;b&gt;.png" in page
    shown = page.split("base64,")[1].split('"')[0]
    with Image.open(io.BytesIO(base64.b64decode(shown))) as thumbnail:
        assert thumbnail.size == (128, 96)
