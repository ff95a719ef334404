"""Stage 1 by hand, in JupyterLab: boxes on two pictures side by side, answered by SAM at once (paper, §3.1).

    from study.annotator import Annotator
    Annotator("DATA/slide1_a.tif", beside="IF/slide1_a.tif", classes=["podocyte", "mesangial"])

`session` keeps an annotation on disk and asks SAM, `widget` connects it with the browser, `static` draws it where no
kernel runs, `cost` reads what annotating took. The browser's part is in `source`, TypeScript around OpenSeadragon and
Annotorious; `bundle` is made of it by `npm ci && npm run build` there, with the licences of what is inside.
"""

import study.tools.formats  # noqa: F401  # first, as it says which extra is missing
from study.annotator.session import Session
from study.annotator.widget import Annotator

__all__ = ["Annotator", "Session"]
