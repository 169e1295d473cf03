"""The project's version: in the user agent, in `--version`, and in the package's metadata."""

from typing import Final

VERSION: Final = "0.1.0"
