"""What README says of data is what the declarations say."""

from pathlib import Path

from pacl_bench.cli import catalog as listing

README = Path(__file__).parents[1] / "README.md"
START, END = "<!-- data table -->", "<!-- end of data table -->"


def test_the_data_table_is_that_of_the_declarations() -> None:
    text = README.read_text()
    table = text.partition(START)[2].partition(END)[0]
    assert table.strip() == listing.data_table(), (
        "write it anew: python -c 'from pacl_bench.cli.catalog import data_table; print(data_table())'"
    )
