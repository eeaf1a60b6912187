from __future__ import annotations

import re
import shutil
import subprocess
from pathlib import Path

import numpy as np
import pytest
from made_up_run import write_run
from typer.testing import CliRunner

from wsseg_cli.data.stores import write_confidence
from wsseg_cli.errors import RecipeError
from wsseg_cli.main import app
from wsseg_cli.report import write_report

QUICKSTART = Path(__file__).resolve().parents[3] / "runs" / "quickstart"
BROWSER = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")


@pytest.fixture
def run(tmp_path: Path) -> Path:
    return write_run(tmp_path / "first")


def test_one_run(run: Path) -> None:
    page = write_report([run]).read_text(encoding="utf-8")
    assert (run / "report.html").is_file()
    for said in ("41.5", "40.0 (+1.5)", "0.40, chosen on val masks", "made/up1", "best", "worst", "look &amp; see"):
        assert said in page
    # photo, truth, CAM and pseudo-mask of the three images of val
    assert page.count("data:image/jpeg;base64,") == 12
    assert "learning rate" in page and "gradient norm" in page and "grad_norm" not in page
    assert "not finished" in page and "<b>made/up0</b>" not in page


def test_confidence_stands_beside_its_mask(run: Path) -> None:
    for number in range(1, 4):
        write_confidence(run / "pseudo" / "confidence", f"made/up{number}", np.full((24, 32), 51 * number, np.uint8))
    page = write_report([run]).read_text(encoding="utf-8")
    for mean in ("0.20", "0.40", "0.60"):
        assert f"pseudo-mask: how sure, {mean} on average" in page
    assert page.count("data:image/jpeg;base64,") == 15


def test_nothing_comes_from_outside(run: Path) -> None:
    page = write_report([run]).read_text(encoding="utf-8")
    assert re.findall(r"""(?:src|href)=["'](?!data:|#)""", page) == []
    assert "//" not in re.sub(r"data:image/jpeg;base64,[^\"]*|^//.*$|^\s*#.*$", "", page, flags=re.M).replace("://", "")
    assert "default-src 'none'" in page


def test_names_are_escaped(tmp_path: Path) -> None:
    run = write_run(tmp_path / "first", names=("<script>alert(1)</script>", "a\"b'&"))
    page = write_report([run]).read_text(encoding="utf-8")
    assert "alert(1)</script>" not in page and "&lt;script&gt;alert(1)" in page
    assert page.count("<script>") == 1


def test_two_runs_side_by_side(run: Path, tmp_path: Path) -> None:
    other = write_run(tmp_path / "second", shift=3)
    page = write_report([run, other], tmp_path / "both.html", images=1).read_text(encoding="utf-8")
    assert "2 runs side by side" in page and "first: CAM" in page and "second: CAM" in page
    # what an IoU evaluates is said: runs need not have the same stages
    assert page.count("<span>pseudo-mask, IoU ") == 6
    # of each of three images: photo and truth once, CAM and pseudo-mask twice
    assert page.count("data:image/jpeg;base64,") == 3 * 6


def test_runs_of_other_data_have_pictures_of_their_own(run: Path, tmp_path: Path) -> None:
    other = write_run(tmp_path / "second", names=("hat", "coat"))
    page = write_report([run, other], tmp_path / "both.html").read_text(encoding="utf-8")
    assert page.count("data:image/jpeg;base64,") == 2 * 3 * 4


def test_without_truth_images_are_drawn(tmp_path: Path) -> None:
    run = write_run(tmp_path / "first", truth=False)
    page = write_report([run]).read_text(encoding="utf-8")
    assert "No truth to compare with" in page and "Nothing was evaluated" in page
    assert page.count("data:image/jpeg;base64,") == 9


def test_a_run_that_has_only_begun(tmp_path: Path) -> None:
    (tmp_path / "recipe.yaml").write_text("name: begun\n", encoding="utf-8")
    page = write_report([tmp_path]).read_text(encoding="utf-8")
    assert "holds no index" in page


def test_photos_that_are_gone_are_said(run: Path) -> None:
    shutil.rmtree(run.parent / "photos")
    page = write_report([run]).read_text(encoding="utf-8")
    assert "pictures cannot be shown" in page and "41.5" in page


def test_no_run(tmp_path: Path) -> None:
    with pytest.raises(RecipeError, match="is not a run"):
        write_report([tmp_path / "none"])
    done = CliRunner().invoke(app, ["report", str(tmp_path)])
    assert done.exit_code == 2 and "has no recipe.yaml" in done.stderr


def test_command(run: Path, tmp_path: Path) -> None:
    done = CliRunner().invoke(app, ["report", str(run), "--out", str(tmp_path / "a.html"), "--images", "0"])
    assert done.stdout == f"report     {tmp_path / 'a.html'}\n"
    assert "base64" not in (tmp_path / "a.html").read_text(encoding="utf-8")


@pytest.fixture(params=["one run", "two runs", "quickstart"])
def page(request: pytest.FixtureRequest, run: Path, tmp_path: Path) -> str:
    """Return a report; that of the real quickstart where `make quickstart` has left one, as in .ci/run."""
    if request.param == "quickstart":
        file = QUICKSTART / "report.html"
        if not file.is_file():
            pytest.skip("no runs/quickstart; `make quickstart` makes it")
        assert file.stat().st_size < 5e6
        return file.read_text(encoding="utf-8")
    runs = [run] if request.param == "one run" else [run, write_run(tmp_path / "second", shift=3)]
    return write_report(runs, tmp_path / "report.html").read_text(encoding="utf-8")


@pytest.mark.slow
@pytest.mark.skipif(BROWSER is None, reason="Chromium is not installed")
@pytest.mark.parametrize("scheme", ["dark", "light"])
def test_opens_in_chromium(page: str, tmp_path: Path, scheme: str) -> None:
    # the page says of itself whether a click opens the dialog, whether everything fits across, and its colours
    probe = (
        "<script>document.querySelector('button.open').click();"
        "parent.postMessage([innerWidth,document.getElementById('large').open,"
        "document.documentElement.scrollWidth<=innerWidth,"
        "matchMedia('(prefers-color-scheme: dark)').matches].join(),'*')</script>"
    )
    (tmp_path / "page.html").write_text(page + probe, encoding="utf-8")
    # a window is at least 500 pixels wide, a frame may be as narrow as a phone
    frames = "".join(f'<iframe src="page.html" style="width:{w}px;height:800px"></iframe>' for w in (1280, 390))
    wrapper = f"<title></title><script>onmessage=e=>document.title+=e.data+';'</script>{frames}"
    (tmp_path / "frames.html").write_text(wrapper, encoding="utf-8")
    flags = "--headless --no-sandbox --disable-gpu --disable-quic --no-first-run --disable-background-networking"
    flags += " --disable-component-update --disable-sync --enable-logging=stderr --dump-dom --window-size=1400,900"
    flags += f" --virtual-time-budget=5000 --blink-settings=preferredColorScheme={0 if scheme == 'dark' else 1}"
    command = [str(BROWSER), *flags.split(), f"--user-data-dir={tmp_path / 'user'}"]
    address = (tmp_path / "frames.html").as_uri()
    done = subprocess.run([*command, address], capture_output=True, text=True, timeout=120)
    # the page's own policy refuses every request, and a refused one would stand on the console, too
    assert "default-src 'none'" in page and "CONSOLE" not in done.stderr, done.stderr
    dark = str(scheme == "dark").lower()
    said = re.search("<title>(.*?)</title>", done.stdout)
    assert said and set(said[1].strip(";").split(";")) == {f"1280,true,true,{dark}", f"390,true,true,{dark}"}
