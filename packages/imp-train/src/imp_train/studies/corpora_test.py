"""What a study finds in a data folder."""

import shutil

import pytest

from imp_data.pipelines.build import build_dataset
from imp_data.views import ImageView
from imp_train.studies import make
from imp_train.studies.corpora import Corpora


def test_labelled_datasets_with_a_test_split_are_found(colours):
    for places in ([colours], [colours / "colours"]):
        [seen] = Corpora.find(places).labelled()
        assert (seen.name, seen.benchmark) == (
            "colours/image",
            f"colours-image=dataset:{colours / 'colours'},modality=image",
        )


def test_a_dataset_that_is_scored_in_another_view_is_refused(colours, tmp_path):
    source = f"folder:{colours.parent / 'pictures'}"
    for name, sizes in (("other pictures", (32, 64)), ("large", (64,))):
        views = [ImageView(size=size) for size in sizes]
        build_dataset(
            source=source, out=tmp_path / name, views=views, num_threads=1, progress=False
        )
    both = Corpora.find([colours, tmp_path / "other pictures"]).labelled()
    assert [own.views for own in both] == [(ImageView(size=32),)] * 2
    assert both[1].benchmark.startswith("other-pictures-image=dataset:")
    with pytest.raises(ValueError, match=r"no image alike.*colours: image-32; large: image-64"):
        Corpora.find([colours, tmp_path / "large"]).labelled()


def test_what_is_no_use_is_said(colours, tmp_path):
    with pytest.raises(FileNotFoundError, match=r"no dataset at .*build one"):
        make("objectives", [tmp_path], scale="tiny")
    with pytest.raises(
        ValueError, match="study 'objective' is unknown; one of objectives, mixtures,"
    ):
        make("objective", [colours], scale="tiny")
    with pytest.raises(ValueError, match="scale 'huge' is unknown; one of tiny, small, gpu"):
        make("objectives", [colours], scale="huge")
    shutil.copytree(colours, tmp_path / "data")
    (tmp_path / "data" / "colours" / "tokenizer.model").unlink()
    with pytest.raises(ValueError, match="none of colours holds a tokenizer"):
        make("objectives", [tmp_path / "data"], scale="tiny")
