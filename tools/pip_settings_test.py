"""pip's configuration reaches uv and Pants as pip would have read it."""

import pip_settings

LISTING = """\
:env:.cert='/env/ca.pem'
global.cert='/file/ca.pem'
global.extra-index-url='file:///a/simple\\nhttps://b.example/simple'
global.find-links='/srv/wheels'
install.index-url='https://mirror.example/simple'
global.index-url='https://other.example/simple'
"""


def test_later_sections_win_and_the_environment_wins_over_all() -> None:
    got = pip_settings.settings(LISTING, {"PIP_FIND_LINKS": "/env/wheels", "PIP_NO_INDEX": ""})
    assert got == {
        "cert": "/env/ca.pem",
        "extra-index-url": "file:///a/simple\nhttps://b.example/simple",
        "find-links": "/env/wheels",
        "index-url": "https://mirror.example/simple",
    }


def test_uv_is_told_all_but_extra_indexes() -> None:
    assert pip_settings.uv_options(pip_settings.settings(LISTING, {})) == [
        "SSL_CERT_FILE=/env/ca.pem",
        "--default-index=https://mirror.example/simple",
        "--find-links=/srv/wheels",
    ]


def test_pants_keeps_its_own_index_beside_an_extra_one() -> None:
    assert pip_settings.pants_options({"extra-index-url": "https://b.example/simple"}) == [
        "PANTS_PYTHON_REPOS_INDEXES=+['https://b.example/simple']"
    ]
    assert pip_settings.pants_options(pip_settings.settings(LISTING, {})) == [
        "PANTS_CA_CERTS_PATH=/env/ca.pem",
        "PANTS_PYTHON_REPOS_INDEXES="
        "['https://mirror.example/simple', 'file:///a/simple', 'https://b.example/simple']",
        "PANTS_PYTHON_REPOS_FIND_LINKS=['file:///srv/wheels']",
    ]


def test_without_configuration_nothing_is_said() -> None:
    assert pip_settings.uv_options({}) == []
    assert pip_settings.pants_options({}) == []


def test_no_index_leaves_only_the_local_wheels() -> None:
    pip = {"no-index": "true", "index-url": "https://b.example/simple", "find-links": "/w"}
    assert pip_settings.uv_options(pip) == ["--no-index", "--find-links=/w"]
