import pytest

from imp_data.pipelines import sources


def read(spec, **options):
    return sources.read(spec, **({"modalities": ["image"]} | options))


@pytest.fixture
def root(tmp_path):
    (tmp_path / "images").mkdir()
    for name in ("a.png", "b.png"):
        (tmp_path / "images" / name).write_bytes(b"x")
    return tmp_path


def test_csv_with_byte_order_mark_and_quotes(root):
    path = root / "m.csv"
    path.write_text(
        '\ufeffpath,caption,label,split\nimages/a.png,"red, big",r,test\nimages/b.png,,,\n'
    )
    a, b = read(f"csv:{path}")
    assert (a.id, a.texts, a.label, a.split) == ("images/a.png", ("red, big",), "r", "test")
    assert (b.texts, b.label, b.split) == ((), None, "train")
    assert read(f"csv:{path}", caption_from="stem")[1].texts == ("b",)


def test_jsonl_with_several_captions(root):
    path = root / "m.jsonl"
    path.write_text('{"path": "images/a.png", "captions": ["one", "two"], "label": 3}\n\n')
    assert read(f"jsonl:{path}")[0].texts == ("one", "two")
    assert read(f"jsonl:{path}")[0].label == "3"


def test_folders_with_and_without_splits(tmp_path):
    for name in ("train/cat/x-y.png", "test/cat/z.PNG", "test/.hidden/q.png", "train/cat/n.txt"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_bytes(b"x")
    items = read(f"folder:{tmp_path}", caption_from="stem")
    assert [(i.id, i.label, i.split, i.texts) for i in items] == [
        ("test/cat/z.PNG", "cat", "test", ("z",)),
        ("train/cat/x-y.png", "cat", "train", ("x y",)),
    ]
    flat = read(f"folder:{tmp_path}/train/cat")
    assert (flat[0].label, flat[0].split) == (None, "train")


@pytest.mark.parametrize("name", ["../secret.png", "/etc/secret.png", "images/../../secret.png"])
def test_a_path_outside_the_root_is_refused(root, name):
    (root / "m.csv").write_text(f"path\n{name}\n")
    with pytest.raises(ValueError, match=r"m\.csv:2 path .* leaves the manifest's folder"):
        read(f"csv:{root}/m.csv")


def test_a_link_out_of_the_root_is_refused(root, tmp_path_factory):
    outside = tmp_path_factory.mktemp("outside") / "secret.png"
    outside.write_bytes(b"x")
    (root / "images/link.png").symlink_to(outside)
    (root / "m.csv").write_text("path\nimages/link.png\n")
    with pytest.raises(ValueError, match="leaves the manifest's folder"):
        read(f"csv:{root}/m.csv")


def test_bytes_that_are_not_utf8_reach_their_item(root):
    (root / "m.csv").write_bytes(b"path,caption\nimages/a.png,caf\xe9\nimages/b.png,ok\n")
    a, b = read(f"csv:{root}/m.csv")
    assert a.texts == ("caf\udce9",)
    assert b.texts == ("ok",)


@pytest.mark.parametrize(
    ("kind", "text", "message"),
    [
        ("csv", "file\nx.png\n", "has no column 'path'"),
        ("csv", "path\na.png,more\n", "more fields than the header"),
        ("csv", "path\nimages/a.png\nimages/a.png\n", "names images/a.png twice"),
        ("csv", "path\na.wav\n", "must end in one of"),
        ("csv", "path\n", "holds no image files"),
        ("csv", "path,split\na.png,../x\n", "split '../x' must be a word"),
        ("csv", 'path,caption\nimages/a.png,"5 inch\nimages/b.png,x\n', "m.csv:2 is no CSV"),
        ("jsonl", "{", "m.jsonl:1 is not JSON"),
        ("jsonl", "[1]", "is not a JSON object"),
        ("jsonl", '{"caption": "x"}', "m.jsonl:1 has no path"),
        ("jsonl", '{"path": "images/a.png", "captions": [1]}', "list of strings"),
    ],
)
def test_broken_manifests_say_where(root, kind, text, message):
    (root / f"m.{kind}").write_text(text)
    with pytest.raises(ValueError, match=message):
        read(f"{kind}:{root}/m.{kind}")


def test_what_is_not_there(tmp_path):
    with pytest.raises(FileNotFoundError, match="no folder at"):
        read(f"folder:{tmp_path}/none")
    with pytest.raises(FileNotFoundError, match="no manifest at"):
        read(f"csv:{tmp_path}/none.csv")
