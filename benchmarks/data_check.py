"""What every stage does before it begins, the look whether its data changed, beside a listing of the same files.

Files are made up, small, in folders of a thousand; what is looked at are names, sizes and times, so their content does
not matter. "changes" is the look of a stage whose data did not change, "touched" one where every file has another time
and is read again, "record" what `prepare` adds to reading the data set.

python benchmarks/data_check.py                  # 100 000 files
python benchmarks/data_check.py --count 10000
"""

from __future__ import annotations

import argparse
import os
import statistics
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

from wsseg_cli.data.sources import FILE, changes, hashes_of, write_sources
from wsseg_cli.plugin.sources import Sources


def make(root: Path, count: int) -> list[Path]:
    """Write `count` files, a thousand a folder, and a table; return the files."""
    paths = [root / f"{number // 1000:04d}" / f"{number:07d}.jpg" for number in range(count)]
    for path in paths:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(path.name.encode())
    rows = "".join(f"{path.name},cat\n" for path in paths)
    (root / "labels.csv").write_text(f"image,labels\n{rows}", encoding="utf-8")
    return paths


def seconds(work: Callable[[], object]) -> float:
    """Return the processor's seconds: those of the clock depend on what else the machine does."""
    start = time.process_time()
    work()
    return time.process_time() - start


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--count", type=int, default=100_000, help="files")
    parser.add_argument("--runs", type=int, default=5)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        root, index = Path(folder) / "photos", Path(folder) / "prepare"
        paths = make(root, options.count)
        sources, roots = Sources(tables=(root / "labels.csv",), listed=(root,)), {"root": root}
        record = seconds(lambda: write_sources(index, sources, paths, roots, hashes_of(paths)))
        given = {"root": str(root)}

        def listing() -> int:
            return sum(len(names) for _, _, names in os.walk(root))

        def look() -> None:
            assert not changes(index, given)

        listing()
        look()
        listed = statistics.median(seconds(listing) for _ in range(options.runs))
        looked = statistics.median(seconds(look) for _ in range(options.runs))
        for path in paths:
            os.utime(path)
        touched = seconds(look)
        size = (index / FILE).stat().st_size
    print(f"{options.count} files, record of {size / options.count:.0f} bytes a file")
    for name, value in (("listing", listed), ("changes", looked), ("touched", touched), ("record", record)):
        print(f"{value:7.3f} s  {name:8} {value / listed:6.1f} x listing")


if __name__ == "__main__":
    main()
