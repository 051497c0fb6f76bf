"""Packaging. The wheel carries configs, model_zoo and the tools under interngv/.mim, as OpenMMLab's packages do."""

import shutil
from pathlib import Path

from setuptools import find_packages, setup
from setuptools.command.build_py import build_py

ROOT = Path(__file__).parent
SHIPPED = ("configs", "model_zoo", "model-index.yml", "tools/train.py", "tools/test.py", "tools/build_mmcv.py")


def requirements(extra: str) -> list[str]:
    lines = (ROOT / "requirements" / f"{extra}.txt").read_text().splitlines()
    return [name for line in lines if (name := line.split("#")[0].strip())]


def version() -> str:
    scope: dict[str, str] = {}
    exec((ROOT / "interngv" / "version.py").read_text(), scope)
    return scope["__version__"]


class BuildWithShippedFiles(build_py):
    """Copies what ships into the build folder, never into the checkout; an editable install reads the checkout."""

    def run(self) -> None:
        super().run()
        if self.editable_mode:
            return
        target = Path(self.build_lib) / "interngv" / ".mim"
        shutil.rmtree(target, ignore_errors=True)
        for name in SHIPPED:
            source = ROOT / name
            (target / name).parent.mkdir(parents=True, exist_ok=True)
            if source.is_dir():
                shutil.copytree(source, target / name, ignore=shutil.ignore_patterns("__pycache__"))
            elif source.exists():
                shutil.copy(source, target / name)


setup(
    name="interngv",
    version=version(),
    description="The INTERN paradigm for general vision (arXiv 2111.08687) on the OpenMMLab stack",
    license="Apache-2.0",
    python_requires=">=3.11",
    packages=find_packages(include=["interngv", "interngv.*"]),
    package_data={"interngv": ["**/*.json", "**/*.yml", "**/*.txt"]},
    install_requires=requirements("runtime"),
    extras_require={extra: requirements(extra) for extra in ("mm", "openmmlab", "gvb", "amateur", "dev")},
    entry_points={"console_scripts": ["interngv = interngv.cli:app"]},
    cmdclass={"build_py": BuildWithShippedFiles},
)
