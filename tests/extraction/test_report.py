"""What became of inputs and rows, planned and done."""

from __future__ import annotations

from pathlib import Path

import pytest

from dof_arrow.extraction.extract import planned
from dof_arrow.extraction.report import TOGETHER, of_plan, of_run
from tests.support.pictures import KEY, core, folder_of


@pytest.mark.parametrize("layout", ["mapped", "compact"])
@pytest.mark.parametrize("classes", ["a,b", "0,1", "1,0"])
def test_rows_of_each_class_and_split_before_and_after(
    layout: str, classes: str, tmp_path: Path
) -> None:
    first, second = classes.split(",")
    lines = ["f,y,s,many,age"]
    for number in range(6):
        label = "" if number == 5 else (first, second)[number > 2]
        lines.append(f"{number:04d},{label},{'train' if number < 4 else 'test'},x|z,{number}.5")
    (tmp_path / "t.csv").write_text("\n".join([*lines, f"gone,{first},train,x,1"]))
    run = planned(
        folder_of(tmp_path / "p", 6),
        core=core(),
        out=tmp_path / "x.parquet",
        id_key=KEY,
        table=tmp_path / "t.csv",
        key="f",
        label=["y", "many", "age"],
        classes={"y": classes, "many": "x,z"},
        kind={"many": "several", "age": "number"},
        split="s",
        layout=layout,
    )
    expected = {first: 3, second: 2, "none": 1}
    assert of_plan(run).values["y"] == {**expected, first: 4}  # with the one that is not there
    report = of_run(run, run.run())
    assert report.values["y"] == expected and list(report.values["y"])[:2] == [first, second]
    assert report.values["many"] == {"x": 6, "z": 6}
    assert report.values["split"] == {"test": 2, "train": 4}
    assert report.values["age"] == {"numbers 0.5 to 5.5": 6}
    assert [str(line).split()[0] for line in report.inputs[:2]] == ["6", "1"]


def test_a_directory_tells_which_inputs_came_together(tmp_path: Path) -> None:
    folder = folder_of(tmp_path / "p", 2)
    for out, told in (("x.parquet", False), ("x.dof", True)):
        run = planned(folder, core=core(), out=tmp_path / out, id_key=KEY)
        for report in (of_plan(run), of_run(run, run.run())):
            assert (TOGETHER in report.remarks) == told
