"""Hooks of the site (`make docs`): pages that the code writes, and links that leave docs/.

The pages of docs/ are read in a repository browser, too, so their links are those of the repository. On the site,
README.md, CONTRIBUTING.md, CHANGELOG.md, the experiments and the notebooks are pages; a link to any other file
becomes its name, because the site does not contain it.
"""

import posixpath
import re
import sys
from pathlib import Path

from mkdocs.config.defaults import MkDocsConfig
from mkdocs.structure.files import File, Files
from mkdocs.structure.pages import Page

HERE = Path(__file__).parent
sys.path.insert(0, str(HERE))
import generated  # noqa: E402 - beside this file
import notebook_pages  # noqa: E402

ROOT = HERE.parent
EXPERIMENTS = sorted(path.parent.name for path in (ROOT / "experiments").glob("[0-9]*/README.md"))
PAGES = {
    "index.md": "README.md",
    "project/contributing.md": "CONTRIBUTING.md",
    "project/changelog.md": "CHANGELOG.md",
    **{f"project/{name}.md": f"experiments/{name}/README.md" for name in EXPERIMENTS},
}
"""Pages of the site, and the files of the repository that they show."""

NOTEBOOKS = {
    f"notebooks/{path.stem}.md": f"notebooks/{path.name}"
    for path in sorted((ROOT / "notebooks").glob("*.ipynb"))
}
PICTURES = {
    f"project/{path.parent.name}-{path.name}": path.relative_to(ROOT).as_posix()
    for path in sorted((ROOT / "experiments").glob("*/*.png"))
}
STANDS_FOR = {
    **{source: page for page, source in (PAGES | NOTEBOOKS | PICTURES).items()},
    **{f"experiments/{name}": f"project/{name}.md" for name in EXPERIMENTS},
    "experiments": "project/experiments.md",
    "notebooks": next(iter(NOTEBOOKS)),
    "zoo/leaderboard": "leaderboard.md",
    "configs/model": "models.md",
}
"""Files and folders of the repository, and the pages of the site that show them."""

GENERATED: dict[str, str] = {}
"""Pages that the code writes: Markdown by path on the site."""

BOARD = "board"
BOARD_LINK = f'\n\n<a href="{BOARD}/index.html">These results as a page</a> that sorts and filters, with plots.\n\n'

LINK = re.compile(r"(!?)\[((?:[^\[\]]|\[[^\]]*\])*)\]\(([^)\s]+)\)")


def on_config(config: MkDocsConfig) -> MkDocsConfig:
    """Put the pages of docs/ that the navigation does not name into a section of their own."""
    named = re.findall(r"[\w./-]+\.md", str(config.nav))
    others = [path.name for path in sorted(HERE.glob("*.md")) if path.name not in named]
    if others:
        config.nav.append({"More": others})
    return config


def on_files(files: Files, config: MkDocsConfig) -> Files:
    """Add the pages that are not in docs/."""
    made = {page: (ROOT / source).read_text(encoding="utf-8") for page, source in PAGES.items()}
    GENERATED.update(generated.pages())
    for page, text in {**made, **GENERATED}.items():
        files.append(File.generated(config, page, content=text))
    for page, source in NOTEBOOKS.items():
        text, pictures = notebook_pages.page(ROOT / source)
        files.append(File.generated(config, page, content=text))
        for name, picture in pictures.items():
            files.append(File.generated(config, f"notebooks/{name}", content=picture))
            STANDS_FOR[f"notebooks/{name}"] = f"notebooks/{name}"
    for page, source in PICTURES.items():
        files.append(File.generated(config, page, abs_src_path=str(ROOT / source)))
    return files


def on_post_build(config: MkDocsConfig) -> None:
    """Add the page of the project's own results."""
    generated.write_board(Path(config.site_dir) / BOARD)


def on_page_markdown(markdown: str, page: Page, config: MkDocsConfig, files: Files) -> str:
    """Turn the links of the repository into those of the site; code blocks stay as they are."""
    name = page.file.src_uri
    if name in GENERATED:
        return markdown  # written for the site
    source = (PAGES | NOTEBOOKS).get(name, f"docs/{name}")
    if name == "leaderboard.md":
        markdown = markdown.replace("\n\n", BOARD_LINK, 1)
    parts = re.split(r"(^```.*?^```$)", markdown, flags=re.M | re.S)
    return "".join(
        part
        if part.startswith("```")
        else LINK.sub(lambda link: _relinked(link, source, name), part)
        for part in parts
    )


def _relinked(link: re.Match[str], source: str, page: str) -> str:
    """Return a link of the file `source` as the page `page` needs it."""
    picture, text, target = link.groups()
    if "://" in target or target.startswith(("#", "mailto:")):
        return link[0]
    path, _, anchor = target.partition("#")
    path = posixpath.normpath(posixpath.join(posixpath.dirname(source), path))
    found = STANDS_FOR.get(path) or (path.removeprefix("docs/") if path.startswith("docs/") else "")
    if found and found != page:
        place = posixpath.relpath(found, posixpath.dirname(page) or ".")
        return f"{picture}[{text}]({place}{'#' + anchor if anchor else ''})"
    return text if text.startswith("`") else f"`{path}`" if text in path else f"{text} (`{path}`)"
