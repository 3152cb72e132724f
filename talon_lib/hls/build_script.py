"""build.py: the script in every project that repeats its build from the folder alone."""

from __future__ import annotations

from pathlib import Path

from talon_lib.hls.vitis import OPTIONS, PROGRAMS, STEPS, VIVADO_VARIABLES, VSYNTH_SCRIPT

COMPILER_FLAGS = ("-O1", "-std=c++17", "-w", "-I.", "-Ifirmware/ap_types")
"""How g++ compiles the project and its driver, ``csim_main.cpp``, as one unit."""

_TEMPLATE = Path(__file__).parent / "templates" / "build.py.j2"


def build_script(project_name: str) -> str:
    """The text of build.py."""
    import jinja2  # `import talon_lib` needs numpy alone

    template = jinja2.Template(_TEMPLATE.read_text(), keep_trailing_newline=True)
    text: str = template.render(
        project=project_name,
        compiler_flags=COMPILER_FLAGS,
        options=OPTIONS,
        steps=STEPS,
        programs=PROGRAMS["vitis"],
        vivado_variables=VIVADO_VARIABLES,
        vsynth_script=VSYNTH_SCRIPT,
    )
    return text
