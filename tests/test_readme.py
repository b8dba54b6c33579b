"""What the README and the guides show runs as it stands there.

The Python blocks of one file share a namespace and run in order, in an empty folder. A block that
should not run is preceded by the line `<!-- test: skip -->`.
"""

import re
from pathlib import Path

import pytest
import transformers

from engram_transformers.pretrained import load_pretrained
from engram_transformers.wheel_models import WHEEL_MODELS

ROOT = Path(__file__).parent.parent
PAGES = sorted(ROOT.glob("README.md")) + sorted(ROOT.glob("docs/**/*.md"))

_BLOCK = re.compile(
    r"^(?P<skip><!-- test: skip -->\n)?```python\n(?P<code>.*?)^```$", re.MULTILINE | re.DOTALL
)


def python_blocks(text):
    """Return (code, lines before it) of each Python block that is to run."""
    return [
        (block["code"], text.count("\n", 0, block.start("code")))
        for block in _BLOCK.finditer(text)
        if block["skip"] is None
    ]


@pytest.fixture
def hub_or_copy(monkeypatch):
    """Let `from_pretrained` find the models that PyPI has copies of, also without a Hub."""

    def patched(auto_class, loaded):
        original = auto_class.from_pretrained

        def from_pretrained(name, *args, **kwargs):
            if name not in WHEEL_MODELS:
                return original(name, *args, **kwargs)
            return load_pretrained(name, dtype=kwargs.get("dtype"))[loaded]

        monkeypatch.setattr(auto_class, "from_pretrained", from_pretrained)

    # load_pretrained itself calls from_pretrained, but with folders or after the Hub has answered.
    patched(transformers.AutoModelForCausalLM, 0)
    patched(transformers.AutoTokenizer, 1)


@pytest.mark.usefixtures("hub_or_copy")
@pytest.mark.real_model
@pytest.mark.slow
@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_python_blocks_run(page, monkeypatch, tmp_path):
    text = page.read_text(encoding="utf-8")
    monkeypatch.chdir(tmp_path)
    namespace = {"__name__": "__main__"}
    for code, lines_before in python_blocks(text):
        # Blank lines first, so that a traceback shows the line of the page.
        exec(compile("\n" * lines_before + code, str(page), "exec"), namespace)


def test_blocks_are_found_with_their_lines():
    text = (
        "# Title\n\n```python\na = 1\n```\n\n```bash\nls\n```\n"
        "<!-- test: skip -->\n```python\nb = 2\n```\n```python\nc = 3\n```\n"
    )
    assert python_blocks(text) == [("a = 1\n", 3), ("c = 3\n", 14)]
