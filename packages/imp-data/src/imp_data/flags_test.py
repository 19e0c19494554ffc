import pytest

from imp_data.flags import check_given_once


@pytest.mark.parametrize("second", ["--against", "--against=c", "--ag_ainst"])
def test_a_flag_given_twice(second):
    flag = "--ag-ainst" if "_" in second else "--against"
    with pytest.raises(ValueError, match=f"{flag} stands there 2 times; give all of its values"):
        check_given_once(["build", flag, "a", "b", second, "c"])


def test_what_may_be_repeated():
    check_given_once(
        ["--where", "a=1", "--where", "b=--where", "same", "same"], repeatable=["--where"]
    )
