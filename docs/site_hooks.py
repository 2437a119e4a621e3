"""Hooks of MkDocs: the pages are written for GitHub, and this makes a site of them that needs no repository beside it.

README, CHANGELOG, CONTRIBUTING and the published results become pages, and so do the notebooks. A link from page to
page leads to the page's place in the site; a link to a source file becomes the file's path as text.
"""

import json
import os
import re
from pathlib import Path
from typing import Any

from mkdocs.config.defaults import MkDocsConfig
from mkdocs.structure.files import File, Files
from mkdocs.structure.pages import Page

REPOSITORY = Path(__file__).resolve().parents[1]
ROOT_PAGES = {"README.md": "index.md", "CHANGELOG.md": "changelog.md", "CONTRIBUTING.md": "contributing.md"}
RESULTS = ("results/*.md", "results/published/**/*.md", "results/published/**/*.png")
ROLE = re.compile(r":(?:class|data|mod):(?=<code)")
LINK = re.compile(r"(?P<label>!?\[(?P<text>[^\[\]]*)\])\((?P<target>[^()\s]+)\)")


def on_config(config: MkDocsConfig) -> None:
    """Replace ``folder/*`` in the navigation by the folder's pages."""

    def expand(entry: Any) -> list[Any]:
        if isinstance(entry, dict):
            return [{title: expand_all(inner) if isinstance(inner, list) else inner} for title, inner in entry.items()]
        if entry.endswith("/*"):
            folder = Path(config.docs_dir) / entry[:-2]
            return [f"{entry[:-1]}{stem}.md" for stem in sorted(path.stem for path in folder.glob("[!R]*.md"))]
        return [entry]

    def expand_all(entries: list[Any]) -> list[Any]:
        return [one for entry in entries for one in expand(entry)]

    config.nav = expand_all(config.nav or [])


def on_files(files: Files, config: MkDocsConfig) -> None:
    """Add the pages that are not in docs/."""
    for source, page in ROOT_PAGES.items():
        files.append(File.generated(config, page, content=(REPOSITORY / source).read_text(encoding="utf-8")))
    for path in sorted(path for pattern in RESULTS for path in REPOSITORY.glob(pattern)):
        name = path.relative_to(REPOSITORY).as_posix()
        files.append(File(name, str(REPOSITORY), config.site_dir, config.use_directory_urls))
    for path in sorted(Path(config.docs_dir).glob("examples/*.ipynb")):
        files.append(File.generated(config, f"examples/{path.stem}.md", content=notebook_page(path)))


def notebook_page(path: Path) -> str:
    """Return a notebook as Markdown, with a link to the notebook itself."""
    cells = json.loads(path.read_text(encoding="utf-8"))["cells"]
    texts = ["".join(cell["source"]) for cell in cells]
    parts = [
        f"```python\n{text}\n```" if cell["cell_type"] == "code" else text
        for cell, text in zip(cells, texts, strict=True)
    ]
    return "\n\n".join([*parts, f"The notebook: [{path.name}](./{path.name})"]) + "\n"


def on_page_markdown(markdown: str, page: Page, config: MkDocsConfig, files: Files) -> str:
    """Lead each link to a file of the repository to its place in the site."""
    return mend_links(markdown, page.file.src_uri, set(files.src_uris))


def mend_links(markdown: str, page: str, pages: set[str]) -> str:
    """Return a page's text with its links as the site needs them.

    Args:
        markdown: the text, with links relative to the file in the repository.
        page: the page's path in the site's sources, such as ``methods/dann.md``.
        pages: the paths of all files of the site's sources.
    """
    sources = {inner: outer for outer, inner in ROOT_PAGES.items()}
    own = sources.get(page, page if page.startswith("results/") else f"docs/{page}")

    def mend(match: re.Match[str]) -> str:
        target, hash_, anchor = match["target"].partition("#")
        path = os.path.normpath(Path(own).parent / target)
        if "://" in target or not target or not (REPOSITORY / path).exists():
            return match[0]  # MkDocs names a link that leads nowhere
        place = ROOT_PAGES.get(path, path.removeprefix("docs/"))
        if place.endswith(".ipynb") and not target.startswith("./"):
            place = f"{place.removesuffix('.ipynb')}.md"
        if place in pages:
            return f"{match['label']}({os.path.relpath(place, Path(page).parent)}{hash_}{anchor})"
        return f"`{path}`" if path.endswith(match["text"]) else f"{match['text']} (`{path}`)"

    return LINK.sub(mend, markdown)


def on_page_content(html: str, page: Page, config: MkDocsConfig, files: Files) -> str:
    """Remove the roles of reStructuredText before names in docstrings."""
    return ROLE.sub("", html)
