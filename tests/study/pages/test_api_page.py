import ast

from study.pages import api_page


def parsed(source: str) -> ast.FunctionDef:
    (node,) = ast.parse(source).body
    assert isinstance(node, ast.FunctionDef)
    return node


def test_signature_and_summary() -> None:
    node = parsed('def f(a: int, *, b: str = "x") -> bool:\n    """Is |a| *b* in `x|y`?\n\n    More."""')
    assert api_page.signature(node) == "f(a: int, *, b: str='x') -> bool"
    assert api_page.summary(node) == r"Is \|a\| \*b\* in `x|y`?"


def test_an_odd_backtick_is_dropped() -> None:
    assert api_page.summary(parsed('def f():\n    """A ` b_c."""')) == r"A  b\_c."


def test_every_part_is_listed_and_nothing_private(tmp_path) -> None:
    text = api_page.fragments(tmp_path).tables["api"]
    for part in api_page.PARTS:
        assert f"\n## {part.replace('/', '.')}\n" in f"\n{text}"
    assert "### `allinsam_core.metrics.instance`" in text
    assert "- `evaluate(pred: np.ndarray, truth: np.ndarray) -> InstanceScores`: Score a label map" in text
    assert "- `_" not in text
