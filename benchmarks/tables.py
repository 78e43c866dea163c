"""Write the tables of README.md, docs/loaders.md and docs/privacy.md: `python -m benchmarks.tables`."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any

from benchmarks.measure import RESULTS

README = Path(__file__).with_name("README.md")
PRIVACY = Path(__file__).parents[1] / "docs" / "privacy.md"
LOADERS = PRIVACY.with_name("loaders.md")


def result(name: str) -> Any:
    """One benchmark's result."""
    return json.loads((RESULTS / f"{name}.json").read_text())


def has_result(name: str) -> bool:
    """Whether a benchmark was run and kept."""
    return (RESULTS / f"{name}.json").exists()


def reading() -> Iterator[tuple[str, ...]]:
    """Epochs and rivals at 205 MB."""
    yield "work, 100,000 x 512 float32", "batch 256", "batch 4,096", "target"
    by = result("read")["by_batch"]
    rows = (
        (
            "shuffled epoch, opening included, against memmap",
            ("shuffled", "against_memmap", "dof"),
            "1.05",
        ),
        ("… with labels", ("shuffled", "against_memmap", "dof, with labels"), "1.05"),
        ("… later epochs on a kept map", ("shuffled", "against_memmap", "dof, kept"), "1.4"),
        ("sequential epoch against memmap", ("sequential", "against_memmap", "dof"), "0.9"),
        ("balanced (tensor, label) against a tensor in RAM", ("tensors", "against_ram"), "0.5"),
    )
    for label, path, target in rows:
        yield label, *(_spread(by[size], path) for size in ("256", "4096")), target
    large = result("read")["large"]
    yield (
        "shuffled rows of 10 GB, against memmap",
        *(f"{large[s]['against_memmap']:.2f}" for s in large),
        "",
    )


def rivals() -> Iterator[tuple[str, ...]]:
    """Rows a second of others, opening included, and how many times faster we are by the same protocol."""
    yield "rival", "thousand rows a second, batch 256", "dof is faster, batch 256", "batch 4,096"
    by = result("read")["by_batch"]
    ours = {size: by[size]["rivals"]["dof"]["rows_per_second"] for size in by}
    for name in by["256"]["rivals"]:
        if name != "dof":
            rates = {size: by[size]["rivals"][name]["rows_per_second"] for size in by}
            yield (
                name,
                f"{rates['256'] / 1e3:,.0f}",
                *(f"{ours[size] / rates[size]:.1f}" for size in ("256", "4096")),
            )


def opening() -> Iterator[tuple[str, ...]]:
    """Milliseconds at 205 MB and at 10 GB."""
    yield "milliseconds", "205 MB", "10 GB"
    small, large = result("read")["first_batch"]
    for name in small["seconds"]:
        yield name, *(f"{each['seconds'][name]['median'] * 1e3:.2f}" for each in (small, large))
    memory = result("read")["memory"]
    yield (
        "private memory of a shuffled epoch, MB",
        *(f"{each['plain'] / 1e6:.0f}" for each in memory),
    )


def others() -> Iterator[tuple[str, ...]]:
    """Writing, size, editing, start-up, extraction, training."""
    write, edit, start, extraction = (
        result(name) for name in ("write", "edit", "import", "extract")
    )
    yield "work", "measured", "target"
    yield (
        "write against `pq.write_table`, both synced",
        f"{write['speed_against_pyarrow']:.2f} of its speed",
        "0.9",
    )
    yield "size, 512 wide, against raw vectors, ids, labels", f"{write['size_ratio']:.4f}", "1.01"
    yield (
        "`dof edit` of 1 GB against a synced copy",
        f"{edit['edit_over_copy']:.2f} of its time",
        "1.2",
    )
    yield (
        "`import dof_arrow` against `import pyarrow`",
        f"{start['import_over_pyarrow']:.2f} of its time",
        "1.5",
    )
    yield (
        "… and `dof_arrow.open`",
        f"{start['import_and_open_over_pyarrow']:.2f} of its time",
        "1.5",
    )
    labels = result("label")["ways"] if has_result("label") else {}
    for way in [name for name in ("with_columns", "dof label") if name in labels]:
        for figure, of in (("seconds", "a durable copy"), ("processor", "… of the processor's")):
            beyond = labels[way][figure]["median beyond the copy"]
            least = labels[way][figure]["least beyond the copy"]
            yield f"{way}, 410 MB: seconds beyond {of}", f"{beyond:.2f}, least {least:.2f}", "0.1"
    for name in (n for n in extraction if n.endswith(".onnx")):
        figures = extraction[name]
        yield f"extraction, {name}, against the ideal", f"{figures['ours over ideal']:.2f}", "0.95"
        yield (
            "… bare loops against it: what the machine can reach",
            f"{figures['bare loops over ideal']:.2f}",
            "",
        )
        yield "… against the plain loop", f"{figures['ours over plain loop']:.2f}", "1.4"
    train = result("train")
    yield (
        "an epoch from the file against one through MobileNetV2",
        f"{train['ratio']:.0f} times",
        "100",
    )
    scores = " and ".join(f"{score:.3f}" for score in train["validation_f1"].values())
    yield "… validation F1 by either road", scores, "equal"


def foreign() -> Iterator[tuple[str, ...]]:
    """Files of other programs made one, and bags read from it."""
    yield (
        "files of",
        "`dof convert`, s",
        "h5py, SHA-256, write, s",
        "its speed",
        "target",
        "bags read, against h5py",
        "… and summed",
    )
    found = result("foreign")
    for layout in ("trident", "clam", "stamp"):
        figures = found[layout]
        seconds = figures["convert_seconds"]
        yield (
            f"{layout.upper()}, {figures['files']:,} of {figures['bytes'] / 1e6:,.0f} MB",
            f"{seconds['dof convert']['median']:.2f}",
            f"{seconds['h5py, SHA-256, write']['median']:.2f}",
            f"{figures['convert_rate_over_h5py']:.2f}",
            "0.8",
            f"{figures['read_over_h5py']:.0f} times",
            f"{figures['read_and_summed_over_h5py']:.1f} times",
        )


def commands() -> Iterator[tuple[str, ...]]:
    """Whole commands against scripts."""
    yield "work", "by the clock", "of the processors", "seconds, ours and theirs", "target"
    for name, found in (result("commands")["cases"] if has_result("commands") else {}).items():
        seconds = f"{found['ours']['seconds']:.1f} and {found['theirs']['seconds']:.1f}"
        ratios = [f"{found[f'ratio_of_{kind}']:.2f}" for kind in ("seconds", "processor_seconds")]
        yield name, *ratios, seconds, str(found["target"])


def settings() -> Iterator[tuple[str, ...]]:
    """Rates of cores with a setting of ONNX Runtime changed, over ours."""
    found = result("settings") if has_result("settings") else {}
    cores = {}
    for name, rates in found.items():
        if isinstance(rates, dict) and "milliseconds" in rates:
            cores[name] = rates
    yield "changed", *cores
    yield "nothing, ms", *(f"{rates['milliseconds']:.2f}" for rates in cores.values())
    names = next(iter(cores.values()), {})
    for name in names:
        if name != "milliseconds":
            yield name, *(f"{rates[name]:.2f}" for rates in cores.values())


def waiting() -> Iterator[tuple[str, ...]]:
    """Seconds that a command takes on two pictures."""
    yield "command, two pictures", "seconds", "of the processors", "target"
    for name, found in (result("commands")["alone"] if has_result("commands") else {}).items():
        own = (f"{found[kind]:.2f}" for kind in ("seconds", "processor_seconds"))
        yield f"`dof {name}`", *own, str(found["target"])


def video() -> Iterator[tuple[str, ...]]:
    """What a recurrent head learns, and what encoding once is worth."""
    found = result("video")
    yield "work", "measured", "target"
    for name, score in found["direction"].items():
        low, high = score["interval"]
        target = ">= 0.95" if name == "gru on 2x2" else "chance" if name.startswith("mean") else ""
        yield (
            f"direction of {found['clips']} clips, {name}",
            f"{score['score']:.2f} ({low:.2f} to {high:.2f})",
            target,
        )
    speed = found["extraction"]
    yield "extraction of clips against the ideal", f"{speed['of_ideal']:.2f}", "0.9"
    yield "… against bare loops beside one another", f"{speed['of_loops']:.2f}", ""
    for name, each in found["epoch"].items():
        yield (
            f"an epoch over encodings, {name}, against encoding again",
            f"{each['ratio']:.0f} times",
            "100",
        )
    memory = found["long clip"]
    yield (
        "400 frames of 640x480 predicted in parts, against at once",
        f"{memory['parts_MiB']:.0f} MiB, {memory['whole_MiB']:.0f} MiB",
        "equal bits",
    )


def side_by_side() -> Iterator[tuple[str, ...]]:
    """From arrays to shuffled batches of torch: lines of code, seconds, and those of the processor."""
    if not has_result("side_by_side"):
        yield ("not measured yet",)
        return
    found = result("side_by_side")
    versions = found["versions"]
    yield ("way", "version", "lines", "to keep, s", "a shuffled epoch, s", "of the processor, s")
    for name, way in found["ways"].items():
        seconds = (f"{way[step]:.2f}" for step in ("keep", "epoch"))
        busy = f"{way['keep, processor']:.2f} and {way['epoch, processor']:.2f}"
        yield name, versions[way["library"]], f"{way['lines']}", *seconds, busy


def side_by_side_briefly() -> Iterator[tuple[str, ...]]:
    """The same for docs/loaders.md: lines of code, and seconds."""
    yield "", "lines", "to keep the data", "a shuffled epoch"
    for name, way in result("side_by_side")["ways"].items():
        nowhere = ", in memory, kept nowhere" if way["keep"] < 0.01 else ""
        yield name + nowhere, f"{way['lines']}", f"{way['keep']:.2f}", f"{way['epoch']:.2f}"


def search() -> Iterator[tuple[str, ...]]:
    """Nearest rows and all pairs against the bare products."""
    metrics = ("cosine", "l2", "dot")
    yield "work", "the bare product", *metrics, "memory beside the map, MB", "target"
    found = result("search")
    works = (
        ("one", "1 query on 100,000 x 384, after the first, ms", 1e3, 1, "20"),
        ("many", "256 queries on 1,000,000 x 512, s", 1, 2, "4"),
    )
    for key, label, unit, digits, target in works:
        medians = {name: each["median"] for name, each in found[key]["seconds"].items()}
        seconds = (f"{medians[name] * unit:.{digits}f}" for name in ("product", *metrics))
        yield label, *seconds, f"{found[key]['peak MB']:.0f}", target
    pairs = found["pairs"]
    seconds = (f"{pairs['seconds'][name]:.1f}" for name in ("product", "duplicates"))
    label = "all pairs of 60,000 x 1,280, s"
    yield label, *seconds, "", "", f"{pairs['peak MB']:.0f}", "90"


def million() -> Iterator[tuple[str, ...]]:
    """Start-up and memory with a million inputs, by what lists them."""
    yield (
        "1,000,000 inputs in a",
        "seconds to the first batch",
        "of the processor",
        "MB at the peak",
    )
    for kind, found in result("million")["kinds"].items():
        seconds = (f"{found[name]:.2f}" for name in ("seconds", "processor seconds"))
        yield kind, *seconds, f"{found['peak MB above']:,.0f}"


def directory() -> Iterator[tuple[str, ...]]:
    """A directory of many parts: filtered, grown, read by row."""
    yield "work", "measured", "target"
    found = result("directory")
    for name, ratios in found["filters against Polars"].items():
        yield f"filter, {name}, against Polars' scan", f"{ratios['kept open']:.2f} of its time", "2"
        yield "… and five columns as Arrow", f"{ratios['with columns']:.2f}", ""
        yield "… opening included, nothing kept", f"{ratios['first']:.2f}", ""
    for name, milliseconds in found["appends, ms"].items():
        yield f"one of 200 parts appended, {name}, ms", f"{milliseconds:.0f}", ""
    yield "every 7th row of 1,500 parts, s", f"{found['every 7th row of 1,500 parts, s']:.1f}", "1"
    yield "5,000 parts opened, 1,024 files allowed, s", f"{found['5,000 parts opened, s']:.1f}", ""


def audit() -> Iterator[tuple[str, ...]]:
    """What attackers found in small public collections, by how features are stored."""
    yield (
        "pictures",
        "core",
        "stored as",
        "thumbnail by ridge, R2",
        "by the decoder",
        "… SSIM (shuffled)",
        "same patient first (chance)",
        "sex, AUC",
        "the very picture first, by cosine",
        "… centred (chance)",
    )
    for found in result("audit")["audits"]:
        by = {}
        for each in found["findings"]:
            by[each["attack"], each["of"], each["attacker"], each["metric"]] = each
        thumbnail = ("inversion", "32 x 32 thumbnail")
        link = ("linkage", "another picture of the same group", "cosine", "first of all")
        again = [each for each in found["findings"] if each["attack"] == "same picture"]
        again.sort(key=lambda each: each["baseline"], reverse=True)  # the largest gallery last
        yield (
            f"{found['data']}, {found['rows']}",
            found["core"],
            found["dtype"],
            _reached(by.get((*thumbnail, "ridge", "R2"))),
            _reached(by.get((*thumbnail, "decoder", "R2"))),
            _beside(by.get((*thumbnail, "decoder", "SSIM")), "control"),
            _beside(by.get(link), "baseline"),
            _reached(by.get(("attribute", "sex", "ridge", "AUC"))),
            _reached(again[-2] if again else None),
            _beside(again[-1] if again else None, "baseline"),
        )


def _reached(finding: Any) -> str:
    """A score and its interval."""
    if finding is None:
        return ""
    score = finding["reached"]
    return f"{score['value']:.2f} ({score['low']:.2f} to {score['high']:.2f})"


def _beside(finding: Any, other: str) -> str:
    """A score beside its control or what chance gives."""
    if finding is None:
        return ""
    than = finding[other]
    value = than["value"] if isinstance(than, dict) else than
    return f"{finding['reached']['value']:.2f} ({value:.3f})"


def _spread(found: Any, path: tuple[str, ...]) -> str:
    """A ratio, and the least and the most of several pairs of files where there were some."""
    every = found[path[0]].get("all")
    range_ = f" ({_at(every, path[1:])[0]:.2f} to {_at(every, path[1:])[-1]:.2f})" if every else ""
    return f"{_at(found, path):.2f}{range_}"


def _at(value: Any, path: tuple[str, ...]) -> Any:
    for key in path:
        value = value[key]
    return value


def markdown(rows: Iterator[tuple[str, ...]]) -> str:
    """Rows as a Markdown table, the first its head."""
    head, *body = rows
    return "\n".join("| " + " | ".join(row) + " |" for row in (head, ("---",) * len(head), *body))


def pages() -> dict[Path, tuple[Callable[[], Iterator[tuple[str, ...]]], ...]]:
    """The tables of each page."""
    speed = (reading, rivals, side_by_side, opening, others, video, million, directory)
    return {
        README: (*speed, commands, waiting, settings, search, foreign),
        LOADERS: (side_by_side_briefly,),
        PRIVACY: (audit,) if has_result("audit") else (),
    }


def filled(text: str, tables: Iterable[Callable[[], Iterator[tuple[str, ...]]]]) -> str:
    """A page's text with each table between its marks."""
    for table in tables:
        marks = rf"(<!-- {table.__name__} -->\n).*?(<!-- end -->)"
        rows = markdown(table())
        text, times = re.subn(marks, lambda m, rows=rows: f"{m[1]}{rows}\n{m[2]}", text, flags=re.S)
        assert times == 1, f"{table.__name__}: its marks stand {times} times on the page"
    return text


def main() -> None:
    """Write all tables."""
    for page, tables in pages().items():
        page.write_text(filled(page.read_text(), tables))


if __name__ == "__main__":
    main()
