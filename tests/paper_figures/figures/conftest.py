import pytest


@pytest.fixture(scope="module")
def evidence_of(write_records, tmp_path_factory):
    """Complete records of a grid, made once: evidence_of("samples")."""
    made = {}

    def make(grid):
        if grid not in made:
            made[grid] = write_records(tmp_path_factory.mktemp(grid), grid=grid)
        return made[grid]

    return make
