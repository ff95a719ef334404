"""segment-anything's models without torchvision, each time in a fresh interpreter."""

from __future__ import annotations

import subprocess
import sys


def printed(code: str) -> str:
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


def test_sam_is_built_without_torchvision() -> None:
    code = (
        "import sys; from allinsam_core.annotation.sam import build, Sam\n"
        "print(isinstance(build('mini'), Sam), 'torchvision' in sys.modules)"
    )
    assert printed(code) == "True False"


def test_the_whole_package_can_still_be_imported_after_and_has_the_same_classes() -> None:
    code = (
        "import sys, types\n"
        "for name, members in {'torchvision': (), 'torchvision.ops': (), 'torchvision.transforms': (),\n"
        "        'torchvision.ops.boxes': ('batched_nms', 'box_area'),\n"
        "        'torchvision.transforms.functional': ('resize', 'to_pil_image')}.items():\n"
        "    sys.modules[name] = types.ModuleType(name); sys.modules[name].__dict__.update(dict.fromkeys(members))\n"
        "from allinsam_core.annotation.sam import Sam\n"
        "import segment_anything\n"
        "print(segment_anything.SamPredictor.__name__, segment_anything.modeling.Sam is Sam)\n"
        "from allinsam_core import _segment_anything; _segment_anything.ensure()\n"
        "print(sys.modules['segment_anything'] is segment_anything, hasattr(segment_anything, '__x__'))"
    )
    assert printed(code).split("\n") == ["SamPredictor True", "True False"]
