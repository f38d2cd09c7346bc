"""What pyproject.toml cannot say: the library of the engine `native` is compiled at installation, where there is a compiler."""

import importlib.util
import subprocess
import sys
from pathlib import Path

from setuptools import Extension, setup
from setuptools.command.build_ext import build_ext

FOLDER = Path("src/longshort/models/compiled")


class BuildLibrary(build_ext):
    """Compiles the library beside its sources in an editable installation, and into the wheel otherwise; goes on without it."""

    def build_extension(self, ext):
        spec = importlib.util.spec_from_file_location("build_native", FOLDER / "build.py")
        build = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(build)
        here = self.inplace or self.editable_mode
        target = build.LIBRARY if here else Path(self.build_lib, *FOLDER.parts[1:], build.LIBRARY.name)
        try:
            target.parent.mkdir(parents=True, exist_ok=True)
            build.build(target.resolve())
        except (OSError, subprocess.CalledProcessError) as error:
            print(f"the engine 'native' is not built: {error}. The others serve as they did.", file=sys.stderr)

    def get_ext_filename(self, fullname):
        return str(Path(*fullname.split("."))) + ".so"

    def get_outputs(self):
        return [name for name in super().get_outputs() if Path(name).exists()]

    def copy_extensions_to_source(self):
        """Nothing: it was built there."""


setup(
    cmdclass={"build_ext": BuildLibrary},
    ext_modules=[Extension("longshort.models.compiled._native", sources=[])],
)
