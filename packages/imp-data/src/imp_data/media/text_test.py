import pytest

from imp_data.media import Limits, MediaError, text


def test_byte_order_mark_and_white_space_go():
    assert text.decode("\ufeffein  Baum\r\n am See ".encode()) == "ein Baum am See"


def test_what_is_not_utf8_is_refused():
    with pytest.raises(MediaError, match=r"byte 3 is not UTF-8 \(0xe9\)"):
        text.decode("café".encode("latin-1"))


@pytest.mark.parametrize("words", ["", " \n", "a\x00b", "a\udcffb"])
def test_unusable_text_is_refused(words):
    with pytest.raises(MediaError):
        text.clean(words)


def test_the_limit():
    with pytest.raises(MediaError, match="over the limit of 4 bytes"):
        text.clean("ééé", limits=Limits(max_text_bytes=4))
