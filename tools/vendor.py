"""Fetch the third-party files of the website into book/_vendor (needs npm; for maintainers only).

    python tools/vendor.py

The files are committed, so that neither the build nor a reader's browser asks another site for
anything. Change a version below, run this, look at the site, commit the result.
"""

import re
import shutil
import subprocess
import tempfile
from pathlib import Path

from fontTools import subset
from fontTools.ttLib import TTFont

ROOT = Path(__file__).resolve().parents[1] / "book/_vendor"
FONT = "@fontsource-variable/{0}/files/{0}-latin-wght-normal.woff2"

# The two Vega libraries are those inside vl-convert, which draws the static picture.
# npm package: (version, licence, folder, files)
PACKAGES = {
    "@fontsource-variable/source-serif-4": (
        "5.3.1",
        "OFL-1.1",
        "fonts",
        [FONT.format("source-serif-4")],
    ),
    "@fontsource/source-serif-4": (  # italics in one weight: less than half the size
        "5.3.1",
        "OFL-1.1",
        "fonts",
        ["@fontsource/source-serif-4/files/source-serif-4-latin-400-italic.woff2"],
    ),
    "@fontsource-variable/inter": (
        "5.3.0",
        "OFL-1.1",
        "fonts",
        [FONT.format("inter")],
    ),
    "@fontsource-variable/source-code-pro": (
        "5.3.0",
        "OFL-1.1",
        "fonts",
        [FONT.format("source-code-pro")],
    ),
    "katex": (
        "0.19.1",
        "MIT",
        "katex",
        ["katex/dist/katex.min.js", "katex/dist/katex.min.css", "katex/dist/fonts/*.woff2"],
    ),
    "vega": ("6.2.0", "BSD-3-Clause", "vega", ["vega/build/vega.min.js"]),
    "vega-lite": ("6.4.3", "BSD-3-Clause", "vega", ["vega-lite/build/vega-lite.min.js"]),
    "vega-embed": ("7.3.0", "BSD-3-Clause", "vega", ["vega-embed/build/vega-embed.min.js"]),
}

# The icons that the theme uses, out of the 1,400 that it brings (same version).
# One that is missing here comes from the full font, 160 kB, and the browser test says so.
FONT_AWESOME = ("@fortawesome/fontawesome-free", "6.5.2")
ICONS = """
angle-down angle-left angle-right arrow-up bars bell bolt check chevron-down chevron-left
chevron-right chevron-up circle-check circle-exclamation circle-half-stroke circle-info circle-xmark
code copy download expand file file-lines file-pdf fire house lightbulb link list magnifying-glass
moon outdent pencil play rocket skull-crossbones square-pen sun thumbtack triangle-exclamation xmark
"""


def fetch(modules: Path) -> list[str]:
    rows = []
    for name, (version, licence, folder, patterns) in PACKAGES.items():
        target = ROOT / folder
        for pattern in patterns:
            found = sorted(modules.glob(pattern))
            if not found:
                raise FileNotFoundError(f"{name} {version} has no {pattern}")
            for file in found:
                into = target / "fonts" if "/dist/fonts/" in pattern else target
                into.mkdir(parents=True, exist_ok=True)
                shutil.copyfile(file, into / file.name)
        short = name.rpartition("/")[2]
        shutil.copyfile(modules / name / "LICENSE", target / f"LICENSE-{short}.txt")
        rows.append(f"| {name} | {version} | {licence} | `{folder}/` |")
    return rows


def subset_icons(package: Path) -> str:
    css = (package / "css/fontawesome.min.css").read_text("utf8")
    pattern = r'\.fa-{}:before[^{{}}]*\{{content:"\\([0-9a-f]+)"'
    codes = [int(re.search(pattern.format(name), css)[1], 16) for name in ICONS.split()]
    font = TTFont(package / "webfonts/fa-solid-900.woff2", recalcTimestamp=False)
    subsetter = subset.Subsetter(subset.Options(notdef_outline=True))
    subsetter.populate(unicodes=codes)
    subsetter.subset(font)
    font.flavor = "woff2"
    font.save(ROOT / "fonts/icons.woff2")
    shutil.copyfile(package / "LICENSE.txt", ROOT / "fonts/LICENSE-fontawesome.txt")
    return f"| {FONT_AWESOME[0]} (a subset) | {FONT_AWESOME[1]} | OFL-1.1 | `fonts/icons.woff2` |"


def main() -> None:
    for folder in ("fonts", "katex", "vega"):
        shutil.rmtree(ROOT / folder, ignore_errors=True)
    with tempfile.TemporaryDirectory() as tmp:
        wanted = [f"{name}@{version}" for name, (version, *_) in PACKAGES.items()]
        wanted.append("@".join(FONT_AWESOME))
        npm = ["npm", "install", "--prefix", tmp, "--ignore-scripts", "--no-audit", "--no-fund"]
        subprocess.run([*npm, *wanted], check=True)
        modules = Path(tmp) / "node_modules"
        rows = [*fetch(modules), subset_icons(modules / FONT_AWESOME[0])]
    text = "Third-party files of the website, unchanged except that the icon font is a subset.\n"
    text += "Written by `tools/vendor.py`; each licence is beside its files.\n\n"
    text += "| package | version | licence | here |\n|---|---|---|---|\n" + "\n".join(rows) + "\n"
    (ROOT / "README.md").write_text(text)


if __name__ == "__main__":
    main()
