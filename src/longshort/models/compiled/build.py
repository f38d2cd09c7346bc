"""Build the library of the engine `native` with the C++ compiler of this machine; nothing but the standard library is needed.

    python src/longshort/models/compiled/build.py

Installation does it by itself where it finds a compiler ($CXX, c++, g++ or clang++), and goes on without one.
"""

from __future__ import annotations

import hashlib
import os
import platform
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path

FOLDER = Path(__file__).parent
LIBRARY = FOLDER / "_native.so"
COMMAND = f"{Path(sys.executable).name} {FOLDER / 'build.py'}"
# no option here lets the compiler change what is computed; -ffast-math would
OPTIONS = ("-std=c++20", "-fPIC", "-ffp-contract=off", "-fno-math-errno", "-fvisibility=hidden", "-pthread", "-Wno-psabi")
OPTIMISED = ("-O3",)
X86 = platform.machine().lower() in ("x86_64", "amd64")
# a width's namespace and what its code may use; the library chooses at run time. Each is compiled with sixteen lanes and with eight,
# but for what stands in where an x86 is older than AVX2: nobody should wait half a minute of each installation for that to be quick
STANDS_IN: set[str] = {"plain", "plain_tiles"} if X86 else set()
WIDTHS: dict[str, tuple[str, ...]] = {
    **({"avx512": ("-DLANES_AVX512", "-mavx512f", "-mavx2", "-mfma"), "avx2": ("-DLANES_AVX2", "-mavx2", "-mfma")} if X86 else {}),
    "plain": ("-DWITHOUT_EIGHT",) if X86 else (),
}
# likewise for bfloat16, by AMX or an emulation of it; with sixteen lanes alone
IN_TILES = ("-DIN_TILES", "-DWITHOUT_EIGHT")
TILES: dict[str, tuple[str, ...]] = {
    **(
        {
            "amx": (*IN_TILES, *WIDTHS["avx512"], "-mamx-tile", "-mamx-bf16"),
            "avx2_tiles": (*IN_TILES, *WIDTHS["avx2"]),
        }
        if X86
        else {}
    ),
    "plain_tiles": IN_TILES,
}


def digest() -> str:
    """Of all that the library is made from: sources and options."""
    found = hashlib.sha256(repr((OPTIONS, OPTIMISED, WIDTHS, TILES, sorted(STANDS_IN))).encode())
    for path in sorted([*FOLDER.glob("*.cpp"), *FOLDER.glob("*.h")]):
        found.update(path.name.encode() + b"\0" + path.read_bytes())
    return found.hexdigest()


def compiler() -> str | None:
    """The C++ compiler, or None."""
    named = [os.environ["CXX"]] if "CXX" in os.environ else ["c++", "g++", "clang++"]
    return next((found for name in named if (found := shutil.which(name))), None)


def build(library: Path = LIBRARY, optimised: Sequence[str] = OPTIMISED, main: Path | None = None) -> None:
    """Compile and link; the old library is replaced in one step.

    optimised  in place of OPTIMISED
    main       a source with a `main` of its own: then a program is made
    raises     FileNotFoundError when there is no compiler; subprocess.CalledProcessError when it fails
    """
    program = compiler()
    if program is None:
        raise FileNotFoundError("there is no C++ compiler: none of $CXX, c++, g++ and clang++ was found. Install one, for example g++")
    with tempfile.TemporaryDirectory(dir=library.parent, prefix=".build.tmp.") as place:
        parts: dict[str, tuple[Path, list[str]]] = {
            f"{width}-{lanes}": (FOLDER / "width.cpp", [f"-DWIDTH={width}{within}", f"-DLANES={lanes}", *flags])
            for width, flags in WIDTHS.items()
            for lanes, within in ((16, ""), (8, "::eight"))
            if lanes == 16 or width not in STANDS_IN
        }
        parts |= {tiles: (FOLDER / "width.cpp", [f"-DWIDTH={tiles}", "-DLANES=16", *own]) for tiles, own in TILES.items()}
        parts["native"] = (FOLDER / "native.cpp", [f'-DSOURCES="{digest()}"'])
        if main is not None:
            parts["main"] = (main, [f"-I{FOLDER}"])
        objects, running = [], []
        for name, (source, flags) in parts.items():
            objects.append(f"{place}/{name}.o")
            level = ["-O1"] if optimised == OPTIMISED and name.removesuffix("-16") in STANDS_IN else optimised
            running.append(subprocess.Popen([program, *OPTIONS, *level, *flags, "-c", str(source), "-o", objects[-1]]))
        for process in running:
            if process.wait():
                raise subprocess.CalledProcessError(process.returncode, process.args)
        made = f"{place}/made"
        shared = [] if main is not None else ["-shared"]
        subprocess.run(
            [program, *shared, "-pthread", *(flag for flag in optimised if flag.startswith("-fsanitize")), *objects, "-o", made], check=True
        )
        Path(made).replace(library)


if __name__ == "__main__":
    try:
        build()
    except (FileNotFoundError, subprocess.CalledProcessError) as error:
        sys.exit(f"{error}. The engine 'native' is not built; the others serve as they did.")
    print(LIBRARY)
