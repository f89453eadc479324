"""A folder's content as a value, to show that a refusal left it as it was."""

from pathlib import Path


def tree(root: Path) -> dict[str, bytes | None]:
    """Every path under `root` and its bytes; None for folders."""
    return {
        str(path.relative_to(root)): path.read_bytes() if path.is_file() else None
        for path in sorted(Path(root).rglob("*"))
    }
