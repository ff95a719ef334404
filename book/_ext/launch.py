"""The role {launch}`name`: where to change and run `notebooks/name.ipynb`.

Always with `make lab`. Where the book is built for a published repository, whose OWNER/NAME is in GITHUB_REPOSITORY and
branch in GITHUB_REF_NAME (as in GitHub's workflows), also on Binder and Colab; elsewhere no link leads nowhere.
"""

from __future__ import annotations

import os
import re
from pathlib import Path
from typing import Any
from urllib.parse import quote

from docutils import nodes
from sphinx.application import Sphinx
from sphinx.util import logging
from sphinx.util.docutils import SphinxRole

logger = logging.getLogger(__name__)


def addresses(repository: str, branch: str, notebook: str) -> dict[str, str]:
    """Name of a service → its address for a notebook. repository: OWNER/NAME on GitHub; none for any other text."""
    if not re.fullmatch(r"[\w.-]+/[\w.-]+", repository):
        return {}
    place, branch = f"notebooks/{notebook}.ipynb", quote(branch or "main", safe="")
    return {
        "Binder": f"https://mybinder.org/v2/gh/{repository}/{branch}?labpath={quote(place, safe='')}",
        "Colab": f"https://colab.research.google.com/github/{repository}/blob/{branch}/{place}",
    }


class Launch(SphinxRole):
    def run(self) -> tuple[list[nodes.Node], list[nodes.system_message]]:
        name = self.text.strip()
        if not (Path(self.env.srcdir).parent / "notebooks" / f"{name}.ipynb").is_file():
            logger.warning("{launch}`%s`: notebooks/%s.ipynb is no file", name, name, location=self.get_location())
        found: list[nodes.Node] = [nodes.Text("run it: "), nodes.literal("", "make lab")]
        repository, branch = (os.environ.get(key, "") for key in ("GITHUB_REPOSITORY", "GITHUB_REF_NAME"))
        for service, address in addresses(repository, branch, name).items():
            found += [nodes.Text(" · "), nodes.reference("", service, refuri=address, classes=["launch"])]
        return found, []


def setup(app: Sphinx) -> dict[str, Any]:
    app.add_role("launch", Launch())
    return {"parallel_read_safe": True}
