"""Runs docs/demo.ipynb, cell after cell in one namespace, and writes what they put out: `python docs/notebook.py`.

Jupyter is not needed; of its language a cell may use lines that begin with "!" and a last expression that is shown.
"""

from __future__ import annotations

import ast
import base64
import contextlib
import io
import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

DEMO = Path(__file__).resolve().parent / "demo.ipynb"


def execute(notebook: dict[str, Any]) -> None:
    """Run the code cells of a notebook in the working directory and replace their outputs.

    Raises:
        Exception: whatever a cell raises; RuntimeError where a command fails.
    """
    namespace: dict[str, Any] = {"_shell": _shell}
    cells = [cell for cell in notebook["cells"] if cell["cell_type"] == "code"]
    for count, cell in enumerate(cells, 1):
        cell["execution_count"] = count
        cell["outputs"] = list(_outputs("".join(cell["source"]), namespace, count))


def _outputs(source: str, namespace: dict[str, Any], count: int) -> Iterator[dict[str, Any]]:
    source = "\n".join(f"_shell({line[1:]!r})" if line.startswith("!") else line for line in source.split("\n"))
    tree = ast.parse(source)
    last = tree.body.pop() if tree.body and isinstance(tree.body[-1], ast.Expr) else None
    printed = io.StringIO()
    with contextlib.redirect_stdout(printed):
        exec(compile(tree, "demo.ipynb", "exec"), namespace)
        value = eval(compile(ast.Expression(last.value), "demo.ipynb", "eval"), namespace) if last else None
    if printed.getvalue():
        yield {"name": "stdout", "output_type": "stream", "text": printed.getvalue().splitlines(keepends=True)}
    if value is not None:
        data: dict[str, Any] = {"text/plain": [repr(value)]}
        if hasattr(value, "_repr_png_"):
            data = {
                "image/png": base64.b64encode(value._repr_png_()).decode("ascii"),
                # the address that a picture's repr ends in would be another one each time
                "text/plain": [repr(value).split(" at 0x")[0].lstrip("<")],
            }
        yield {"data": data, "execution_count": count, "metadata": {}, "output_type": "execute_result"}


def _shell(line: str) -> None:
    path = os.pathsep.join([os.environ.get("PATH", ""), str(Path(sys.executable).parent)])
    done = subprocess.run(["bash", "-c", line], capture_output=True, encoding="utf-8", env=os.environ | {"PATH": path})
    print(done.stdout, end="")
    if done.returncode:
        raise RuntimeError(f"{line}\n{done.stderr}")


def main() -> None:
    """Run the notebook in a folder that is thrown away; with a file as argument, write the result there instead."""
    target = Path(sys.argv[1]).resolve() if len(sys.argv) > 1 else DEMO
    notebook = json.loads(DEMO.read_text(encoding="utf-8"))
    with tempfile.TemporaryDirectory() as folder:
        os.chdir(folder)
        execute(notebook)
        os.chdir(DEMO.parent)
    target.write_text(json.dumps(notebook, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")
    print(target, file=sys.stderr)


if __name__ == "__main__":
    main()
