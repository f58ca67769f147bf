"""The memory of the migrating process: the same for many rows as for few."""

from dataclasses import replace

from benchmarks import specs
from benchmarks.result import Result, Sizes
from benchmarks.server import copy, template
from benchmarks.surroundings import Surroundings

NAMES = ("memory_growth", "memory_peak")
_GROWTH, _PEAK = 1.10, 250.0


def measure(place: Surroundings, sizes: Sizes) -> list[Result]:
    """Carry out the same migration, with its gates, on a small table and on a large one."""
    spec = specs.write(place.folder, "memory", specs.ADD, specs.WIDEN)
    found = {}
    for rows in (sizes.small, sizes.large):
        with template(place.postgres, rows) as name, copy(place.postgres, name) as url:
            here = replace(place, environment={**place.environment, specs.URL: url})
            found[rows] = here.migrate("whole", spec, place.folder / "benchmark.toml")
    small, large = found[sizes.small], found[sizes.large]
    floor = f"{large['bare']:.0f} MB with Prefect and the flow imported, {large['imported']:.0f} MB with GX"
    peaks = f"{small['peak']:.0f} MB at {sizes.small:,} rows, {large['peak']:.0f} MB at {sizes.large:,}"
    return [
        Result(
            name="memory_growth",
            measured=round(large["peak"] / small["peak"], 3),
            goal=_GROWTH,
            unit="x",
            detail=f"most memory of the process that migrates, gates included: {peaks}",
        ),
        Result(
            name="memory_peak",
            measured=round(max(small["peak"], large["peak"])),
            goal=_PEAK,
            unit="MB",
            detail=f"{peaks}; of that before it begins: {floor}",
        ),
    ]
