"""A file appears only once it is complete."""

import pytest

from ops.whole_file import whole_file


def test_a_file_appears_at_the_end_of_the_block_for_its_owner_only(tmp_path) -> None:
    path = tmp_path / "out.csv"

    with whole_file(path) as file:
        file.write(b"all")
        assert not path.exists()

    assert path.read_bytes() == b"all"
    assert path.stat().st_mode & 0o777 == 0o600
    assert [*tmp_path.iterdir()] == [path]


@pytest.mark.parametrize("error", [OSError, KeyboardInterrupt])
def test_an_error_leaves_no_file(tmp_path, error) -> None:
    def write_half() -> None:
        with whole_file(tmp_path / "out.csv") as file:
            file.write(b"half")
            raise error

    with pytest.raises(error):
        write_half()

    assert [*tmp_path.iterdir()] == []
