"""The library that is preloaded into a command to let single file operations fail; `faults.c` says what it does."""

from __future__ import annotations

import errno
import shutil
import subprocess
from pathlib import Path

_SOURCE = Path(__file__).with_name("faults.c")
_ERRORS = {"ENOSPC": errno.ENOSPC, "EIO": errno.EIO, "EDQUOT": errno.EDQUOT, "EROFS": errno.EROFS}
KINDS = (*_ERRORS, "short", "kill")


def build(folder: Path) -> Path | None:
    """Return the compiled library; None without a C compiler."""
    if shutil.which("cc") is None:
        return None
    library = folder / "faults.so"
    subprocess.run(["cc", "-shared", "-fPIC", "-O1", "-o", str(library), str(_SOURCE), "-ldl"], check=True)
    return library


def variables(kind: str, place: int, root: Path, mark: Path) -> dict[str, str]:
    """Return the environment in which operation number `place` of a run meets `kind`; `mark` then takes its name."""
    return {
        "FAULT_KIND": str(_ERRORS.get(kind, kind)),
        "FAULT_AT": str(place),
        "FAULT_ROOT": str(root / "runs"),
        "FAULT_MARK": str(mark),
    }
