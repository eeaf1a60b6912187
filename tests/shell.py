"""`wsseg`, `python` and `pip` as commands of a shell, from this source tree, in a folder of a test's own."""

from __future__ import annotations

import os
import shlex
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]

PIP = """\
#!/bin/sh
# no network, and nothing of this environment changes: packages in folders go to `site`, others have to be there already
if [ "$1" = install ] && [ "$2" = -e ] && [ -d "$3" ]; then
  exec {python} -m pip install -q --no-index --no-deps --no-build-isolation --target {site} "./$3"
fi
# the clone itself, which is in sight already: its extras have to be there
case "$1 $2" in "install ."*) set -- install "wsseg${{2#.}}" ;; esac
exec {python} -m pip "$@" --no-index --no-deps
"""


def environment(folder: Path) -> dict[str, str]:
    """Write the commands into folder/bin and return the variables with which a shell finds them."""
    python, site = shlex.quote(sys.executable), folder / "site"
    scripts = {
        "wsseg": f'#!/bin/sh\nexec {python} -m wsseg_cli "$@"\n',
        "python": f'#!/bin/sh\nexec {python} "$@"\n',
        "pip": PIP.format(python=python, site=shlex.quote(str(site))),
    }
    for name, text in scripts.items():
        path = folder / "bin" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
        path.chmod(0o755)
    return os.environ | {
        "PATH": f"{folder / 'bin'}{os.pathsep}{os.environ['PATH']}",
        "PYTHONPATH": os.pathsep.join(map(str, [site, ROOT, ROOT / "plugins"])),
        "OMP_NUM_THREADS": "1",
        "PIP_DISABLE_PIP_VERSION_CHECK": "1",
    }
