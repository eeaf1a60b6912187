"""Everything that README and docs tell people to type is run here, or stands under a mark that says why it is not.

In a page, ```sh holds commands, ``` with `$ ` a session (commands and what they print), ```python lines of one script.
`<!-- not run: WHY -->` above a block leaves it out; `<!-- run with: WORDS -->` adds words to its `wsseg run` commands.
The blocks of a page run in order in one folder. It holds photos with labels, a few files that other repositories would
have left, and runs/quickstart as the commands make it, from a recipe of that name that is only shorter.
"""

from __future__ import annotations

import re
import shlex
import shutil
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import pytest
import typer
import yaml
from end_to_end.toy_run import RECIPE
from PIL import Image
from shell import ROOT, environment

from wsseg_cli.data.palette import palette
from wsseg_cli.main import app
from wsseg_cli.notebook import Run
from wsseg_cli.recipe import loading as recipes

PAGES = sorted([*ROOT.glob("README*.md"), *(ROOT / "docs").glob("*.md")])
TYPED = ("wsseg", "make", "pip", "python", "torchrun", "accelerate")
FENCE = re.compile(r"(?:<!-- (not run|run with): (.*?) -->\n+)?```(\w*)\n(.*?)^```$", re.M | re.S)


SETUP = {
    "cli.md": [
        "wsseg recipes copy quickstart my.yaml",
        "echo 'refine: {refiner: {name: pamr}}' >> my.yaml",
        "wsseg prepare --recipe my.yaml",
        "mkdir other; cp -r runs/quickstart/cam other/cams",
        "wsseg convert cams runs/quickstart/cam out_cam --form psa",
        "wsseg convert labels photos/labels.csv cls_labels.npy",
        "mkdir superpixels; cp runs/quickstart/pseudo/*.png superpixels",
    ]
}
"""What a page takes for granted, beside what all of them do: its commands have no order that would make it."""


@dataclass(frozen=True)
class Block:
    """A fenced block: its language, its text, and the mark above it."""

    language: str
    text: str
    mark: str
    words: str

    @property
    def commands(self) -> list[str]:
        """Commands of the block, a line each, without comments."""
        lines = self.text.replace("\\\n", "").splitlines()
        if self.language == "":
            lines = [line[2:] for line in lines if line.startswith("$ ")]
        elif self.language != "sh":
            return []
        return [line for line in (re.sub(r"(^|\s)#.*", "", line).strip() for line in lines) if line]


def blocks(page: Path) -> list[Block]:
    found = FENCE.findall(page.read_text(encoding="utf-8"))
    return [Block(language, text, mark, words) for mark, words, language, text in found]


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a folder with what the pages talk about; see the module's first lines."""
    box = tmp_path_factory.mktemp("docs")
    shorter = RECIPE.replace("name: tiny", "name: quickstart")
    (box / "quickstart.yaml").write_text(shorter)
    shell(box, "wsseg run --recipe quickstart --quiet")
    shutil.copytree(box / "runs" / "quickstart", box / "runs" / "quickstart_eps")
    shutil.copytree(box / "runs" / "quickstart", box / "runs" / "second")
    run = Run(box / "runs" / "quickstart")
    rows, names = ["image,labels"], set()
    for folder in ("photos", "more", "SegmentationClass", "saliency"):
        (box / folder).mkdir()
    for number, sample in enumerate(run.samples()[:8], 1):
        name = f"IMG_{number:04d}"
        Image.open(sample.image).save(box / "photos" / f"{name}.jpg")
        labels = [run.classes[label] for label in sample.labels]
        rows.append(f"{name}.jpg,{';'.join(labels)}")
        names |= set(labels)
        truth = run.mask(sample.image_id, "truth")
        Image.fromarray(((truth > 0) * 255).astype("uint8")).save(box / "saliency" / f"{name}.png")
        coloured = palette()[truth]
        Image.fromarray(coloured.astype("uint8")).save(box / "SegmentationClass" / f"{name}.png")
    shutil.copyfile(box / "photos" / "IMG_0001.jpg", box / "more" / "new.jpg")
    (box / "photos" / "labels.csv").write_text("\n".join(rows) + "\n")
    (box / "names.txt").write_text("\n".join(sorted(names)) + "\n")
    return box


@pytest.fixture
def box(made: Path, tmp_path: Path) -> Path:
    """Return a folder of the test's own with all of it."""
    return Path(shutil.copytree(made, tmp_path / "box"))


def shell(box: Path, command: str) -> None:
    words = ["bash", "-o", "pipefail", "-c", command]
    done = subprocess.run(words, capture_output=True, text=True, cwd=box, env=environment(box))
    # `head` ends what it reads from
    assert done.returncode in (0, 141), f"{command}\nexit {done.returncode}\n{done.stdout}\n{done.stderr}"


WITH_COMMANDS = [page for page in PAGES if any(b.commands or b.language == "python" for b in blocks(page))]


@pytest.mark.slow
@pytest.mark.parametrize("page", [p for p in WITH_COMMANDS if p.name != "README.zh.md"], ids=lambda page: page.name)
def test_commands_run(page: Path, box: Path) -> None:
    for command in SETUP.get(page.name, ()):
        shell(box, command)
    python = ""
    for block in blocks(page):
        if block.mark == "not run":
            continue
        python += block.text if block.language == "python" else ""
        for command in block.commands:
            more = f" {block.words}" if block.mark and "wsseg run " in command else ""
            shell(box, command + more)
    if python:
        (box / "page.py").write_text(python)
        shell(box, f"{shlex.quote(sys.executable)} page.py")


def test_the_chinese_page_has_no_commands_of_its_own() -> None:
    ours = {command for block in blocks(ROOT / "README.md") for command in block.commands}
    theirs = [command for block in blocks(ROOT / "README.zh.md") for command in block.commands]
    assert theirs and [command for command in theirs if command not in ours] == []


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_no_command_hides(page: Path) -> None:
    text = page.read_text(encoding="utf-8")
    assert text.count("```") == 2 * len(blocks(page)), "a fence that is not closed, or not at the start of a line"
    for block in blocks(page):
        assert block.language in ("sh", "", "python", "yaml"), block
        assert not block.mark or block.words, block
        shown = block.text.splitlines() if block.language == "" else []
        assert [line for line in shown if line.split(" ")[0] in TYPED] == [], "commands stand in ```sh or after `$ `"
    indented = re.findall(r"^(?: {4}|\t)(.*)$", FENCE.sub("", text), flags=re.M)
    assert [line for line in indented if line.split(" ")[0] in TYPED] == []


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_commands_in_the_text_exist(page: Path) -> None:
    for span in re.findall(r"`([^`\n]+)`", FENCE.sub("", page.read_text(encoding="utf-8"))):
        words = shlex.split(span.replace("…", "")) if span.startswith(("wsseg ", "python ")) else []
        if words[:1] == ["wsseg"]:
            check_command(words[1:])
        elif words[:1] == ["python"] and not words[1].startswith("-"):
            script = ROOT / words[1]
            source = script.read_text(encoding="utf-8")
            assert [w for w in words if w.startswith("--") and f'"{w}"' not in source] == [], span


def check_command(words: list[str]) -> None:
    command = typer.main.get_command(app)
    while words and words[0] in getattr(command, "commands", {}):
        command, words = command.commands[words[0]], words[1:]  # type: ignore[attr-defined]
    if hasattr(command, "commands"):
        assert not words or words[0].startswith("-") or words[0].isupper(), f"no command {words}"
    known = {option for parameter in command.params for option in parameter.opts} | {"--help"}
    assert [word for word in words if word.startswith("-") and word not in known] == []


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_pieces_of_recipes_are_valid(page: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("PHOTOS", "COCO_ROOT", "VOC_ROOT"):
        monkeypatch.setenv(name, str(tmp_path))
    whole = yaml.safe_load((ROOT / "recipes" / "cam_folder.yaml").read_text(encoding="utf-8"))
    for block in blocks(page):
        if block.language == "yaml":
            file = tmp_path / "piece.yaml"
            file.write_text(yaml.safe_dump(whole | yaml.safe_load(block.text)))
            assert recipes.check(file) == []
