"""The former name of `study.results`, for the pages that still use it."""

from study.results import *  # noqa: F403
from study.results import fraction_of

PAPER_FRACTION = {printed: fraction_of(printed) for printed in ("All", "100%", "4%", "0.50%", "0.5%")}
