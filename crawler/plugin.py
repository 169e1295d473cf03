"""Classes that people name in settings: the only file that imports by name."""

from __future__ import annotations

import importlib
import importlib.util
import os
import sys
import traceback
from hashlib import blake2b
from types import ModuleType
from typing import Any, TypeVar, overload

from crawler.error import SettingsError
from crawler.strict import did_you_mean

Base = TypeVar("Base")

EXTRAS = {
    "jsonschema_rs": "schema",
    "pika": "rabbit",
    "psycopg": "postgres",
    "pyarrow": "parquet",
    "python_socks": "socks",
    "redis": "redis",
    "warcio": "warc",
}
"""Packages that only some installations have -> the extra that brings them."""


def missing_extra(what: str, error: BaseException) -> SettingsError | None:
    """When an error says that the package of an extra is not installed: the command that installs it."""
    package = error.name.partition(".")[0] if isinstance(error, ModuleNotFoundError) and error.name else ""
    extra = EXTRAS.get(package)
    if extra is None:
        return None
    return SettingsError(f"{what} needs {package}, which is not installed: pip install 'crawler-pipeline[{extra}]'")


def require(what: str, package: str) -> None:
    """Raises SettingsError when a package is not installed. Does not import it."""
    if importlib.util.find_spec(package) is None:
        error = ModuleNotFoundError(f"{what} needs {package}, which is not installed", name=package)
        raise missing_extra(what, error) or SettingsError(str(error))


@overload
def load(spec: str, base: type[Base]) -> type[Base]: ...
@overload
def load(spec: str, base: None = None) -> type[Any]: ...
def load(spec: str, base: type[Any] | None = None) -> type[Any]:
    """The class that `spec` names: `module:Class`, in the current directory or installed, or `path/file.py:Class`.

    The same file gives the same class each time. Raises SettingsError when the module does not import (with the file,
    line and error), has no such class, or the class is not a subclass of `base`. Runs the module's code.
    """
    where, colon, name = spec.rpartition(":")
    if not colon or not where or not name.isidentifier():
        raise SettingsError(f"{spec}: expected module:Class or path/file.py:Class")
    module = _from_file(spec, where) if where.endswith(".py") else _from_module(spec, where)
    found = getattr(module, name, None)
    if found is None:
        classes = [key for key, value in vars(module).items() if isinstance(value, type) and not key.startswith("_")]
        raise SettingsError(f"{spec}: {where} has no class {name}; {did_you_mean(name, classes)}")
    if not isinstance(found, type):
        raise SettingsError(f"{spec}: {name} is not a class but of type {type(found).__name__}")
    if base is not None and not issubclass(found, base):
        raise SettingsError(f"{spec}: {name} is not a subclass of {base.__module__}.{base.__qualname__}")
    return found


def _from_module(spec: str, name: str) -> ModuleType:
    if not all(part.isidentifier() for part in name.split(".")):
        raise SettingsError(f"{spec}: {name} is not a module's name; a file's ends in .py")
    here = os.getcwd()
    if here not in sys.path:
        sys.path.append(here)  # at the end: a file here must not shadow a module that the crawler itself needs
        importlib.invalidate_caches()
    try:
        return importlib.import_module(name)
    except ModuleNotFoundError as error:
        if error.name is not None and (name == error.name or name.startswith(f"{error.name}.")):
            raise SettingsError(f"{spec}: there is no module {error.name} (looked in {here} and installed)") from None
        raise _failed(spec, error) from error
    except (Exception, SystemExit) as error:
        raise _failed(spec, error) from error


def _from_file(spec: str, path: str) -> ModuleType:
    full = os.path.realpath(path)
    if not os.path.isfile(full):
        raise SettingsError(f"{spec}: no such file {path}")
    name = f"{os.path.basename(full)[:-3]}_{blake2b(os.fsencode(full), digest_size=6).hexdigest()}"
    if name in sys.modules:
        return sys.modules[name]
    source = importlib.util.spec_from_file_location(name, full)
    if source is None or source.loader is None:
        raise SettingsError(f"{spec}: {path} cannot be imported")
    if (folder := os.path.dirname(full)) not in sys.path:
        sys.path.append(folder)  # so that a spider can import the files beside it
    module = importlib.util.module_from_spec(source)
    sys.modules[name] = module
    try:
        source.loader.exec_module(module)
    except (Exception, SystemExit) as error:
        del sys.modules[name]
        raise _failed(spec, error) from error
    return module


def _failed(spec: str, error: BaseException) -> SettingsError:
    """The import's error with the innermost place that is not the import machinery's."""
    if missing := missing_extra(spec, error):
        return missing
    place = ""
    if isinstance(error, SyntaxError):
        place = f" at {error.filename}:{error.lineno}"
    else:
        frames = [f for f in traceback.extract_tb(error.__traceback__) if "importlib" not in f.filename]
        outer = [frame for frame in frames if frame.filename != __file__]
        if outer:
            place = f" at {outer[-1].filename}:{outer[-1].lineno}: {outer[-1].line}"
    return SettingsError(f"{spec}: does not import: {type(error).__name__}: {error}{place}")
