"""The former name of `study.results`, for the pages that still use it."""

from study.results import *  # noqa: F403
