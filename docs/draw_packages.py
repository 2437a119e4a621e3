"""Draw which package imports which, from the imports in the code: ``python docs/draw_packages.py`` writes packages.svg.

An arrow that follows from others is left out (the transitive reduction), so that the figure can be read.
"""

import ast
from collections.abc import Iterator, Mapping
from itertools import combinations, permutations
from pathlib import Path

REPOSITORY = Path(__file__).resolve().parents[1]
FIGURE = Path(__file__).with_name("packages.svg")
# In pixels: a box, and the space that it takes.
BOX = (132, 34)
CELL = (172, 76)
COLOURS = {"benchmark": "#dbe9f6", "methods": "#e0f0dc", "protocols": "#e0f0dc", "landshift": "#fbe8d3"}

Edges = dict[str, set[str]]
Places = dict[str, tuple[float, float]]


def read_edges(repository: Path = REPOSITORY) -> Edges:
    """Return what each package imports: those of `benchmark`, and `methods`, `protocols` and `landshift`."""
    files = [path for top in ("benchmark", "methods", "protocols") for path in (repository / top).rglob("*.py")]
    edges: Edges = {}
    for path in [*files, repository / "landshift.py"]:
        module = ".".join(path.relative_to(repository).with_suffix("").parts)
        if package := _package_of(module):
            imported = {_package_of(name) for name in _imports(path)}
            edges.setdefault(package, set()).update(imported - {package, ""})
    return edges


def _package_of(module: str) -> str:
    """Return the package of a module, "" for one of another project (or for `benchmark` itself)."""
    top, _, rest = module.partition(".")
    inner = rest.partition(".")[0]
    return (inner if inner != "__init__" else "") if top == "benchmark" else top if top in COLOURS else ""


def _imports(path: Path) -> Iterator[str]:
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module:
            yield from (f"{node.module}.{alias.name}" for alias in node.names)


def reduce_edges(edges: Mapping[str, set[str]]) -> Edges:
    """Leave out each edge that a longer way replaces."""

    def reachable(package: str) -> set[str]:
        return {package}.union(*(reachable(other) for other in edges[package]))

    return {
        package: {other for other in others if not any(other in reachable(via) for via in others - {other})}
        for package, others in edges.items()
    }


def place(edges: Edges) -> Places:
    """Return the centre of each box: rows by the longest way to a package that imports none, with few crossings.

    Row after row takes its best order and shift, the others kept, until none changes.
    """

    def depth(package: str) -> int:
        return 1 + max(map(depth, edges[package]), default=-1)

    rows: list[list[str]] = [[] for _ in range(1 + max(map(depth, edges)))]
    for package in sorted(edges):
        rows[depth(package)].append(package)
    widest = max(map(len, rows))
    options = [
        [
            {
                package: ((column + shift / 2 + 0.5) * CELL[0], (level + 0.5) * CELL[1])
                for column, package in enumerate(one)
            }
            for one in permutations(row)
            for shift in range(2 * (widest - len(row)) + 1)
        ]
        for level, row in enumerate(rows)
    ]
    places: Places = {package: centre for row in options for package, centre in row[len(row) // 2].items()}
    while True:
        before = places
        for row in options:
            places = min(({**places, **one} for one in row), key=lambda candidate: _disorder(candidate, edges))
        if places == before:
            return places


def _disorder(places: Places, edges: Edges) -> tuple[int, float]:
    """Return how many arrows cross each other or a box, and the sum of their squared horizontal lengths."""
    lines = [(places[start], places[end]) for start, ends in edges.items() for end in sorted(ends)]
    crossings = 0
    for ((ax, ay), (bx, by)), ((cx, cy), (dx, dy)) in combinations(lines, 2):
        low, high = max(by, dy), min(ay, cy)  # the heights that both pass; arrows end above where they start
        if low < high:
            gaps = [
                (ax + (bx - ax) * (ay - y) / (ay - by)) - (cx + (dx - cx) * (cy - y) / (cy - dy)) for y in (low, high)
            ]
            crossings += gaps[0] * gaps[1] < 0
    for (ax, ay), (bx, by) in lines:
        passed = [(x, y) for x, y in places.values() if by < y < ay]
        crossings += sum(abs(ax + (bx - ax) * (ay - y) / (ay - by) - x) < BOX[0] / 2 + 4 for x, y in passed)
    return crossings, sum((ax - bx) ** 2 for (ax, _), (bx, _) in lines)


def draw(edges: Edges) -> str:
    """Return the figure as SVG: an arrow leads from a package to one that it imports."""
    places = place(edges)
    width, height = (max(centre[axis] for centre in places.values()) + CELL[axis] / 2 for axis in (0, 1))
    lines = [
        f'<svg xmlns="http://www.w3.org/2000/svg" width="{width:.0f}" height="{height:.0f}" font-family="sans-serif" '
        'font-size="14" text-anchor="middle">',
        "<title>The packages and what they import</title>",
        '<marker id="head" viewBox="0 0 10 10" refX="9" refY="5" markerWidth="8" markerHeight="8" orient="auto">'
        '<path d="M0,0 L10,5 L0,10 z" fill="#555"/></marker>',
        '<rect width="100%" height="100%" fill="white"/>',
    ]
    for start, ends in sorted(edges.items()):
        for end in sorted(ends):
            (ax, ay), (bx, by) = places[start], places[end]
            lines.append(
                f'<path d="M{ax:.0f},{ay - BOX[1] / 2:.0f} L{bx:.0f},{by + BOX[1] / 2:.0f}" stroke="#555" '
                f'marker-end="url(#head)"><title>{start} imports {end}</title></path>'
            )
    for package, (x, y) in sorted(places.items()):
        colour = COLOURS.get(package, COLOURS["benchmark"])
        lines += [
            f'<rect x="{x - BOX[0] / 2:.0f}" y="{y - BOX[1] / 2:.0f}" width="{BOX[0]}" height="{BOX[1]}" rx="6" '
            f'fill="{colour}" stroke="#555"/>',
            f'<text x="{x:.0f}" y="{y + 5:.0f}">{package}</text>',
        ]
    return "\n".join([*lines, "</svg>"]) + "\n"


if __name__ == "__main__":
    FIGURE.write_text(draw(reduce_edges(read_edges())), encoding="utf-8")
