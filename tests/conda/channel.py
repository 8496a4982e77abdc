"""Make two local conda channels, conda-forge and bioconda, of the few packages that envs/*.yaml take from conda.

python channel.py ENVS FOLDER PYTHON3.12

python is the given CPython, repacked, of the version that the environment files name; pip is PyPI's wheel of the pinned version;
fastp is Debian's program with its libraries. CONDA_CHANNEL_ALIAS=file://FOLDER then takes the place of conda's server.
Needs patchelf and strip.
"""

import hashlib
import io
import json
import os
import re
import shutil
import subprocess
import sys
import tarfile
import tempfile
import time
import zipfile
from pathlib import Path

import yaml

LEFT_OUT = ("test/", "idlelib/", "turtledemo/", "tkinter/", "ensurepip/", "site-packages/", "lib2to3/")
SUBDIR = {"x86_64": "linux-64", "aarch64": "linux-aarch64"}[os.uname().machine]


def write(channel: Path, tree: Path, name: str, version: str, *, depends=(), noarch=False, link=None, placeholder=None) -> None:
    """Pack what lies in `tree` as a package of `channel`."""
    subdir = "noarch" if noarch else SUBDIR
    build = "pylocal_0" if noarch else "hlocal_0"
    index = {"name": name, "version": version, "build": build, "build_number": 0, "depends": list(depends), "subdir": subdir}
    index |= {"timestamp": int(time.time() * 1000), "license": "LicenseRef-local"}
    index |= {"noarch": "python"} if noarch else {"arch": "x86_64", "platform": "linux"}
    files = sorted(str(p.relative_to(tree)) for p in tree.rglob("*") if p.is_file() or p.is_symlink())
    paths = []
    for file in files:
        path = tree / file
        entry = {"_path": file, "path_type": "softlink" if path.is_symlink() else "hardlink"}
        content = path.read_bytes()
        entry |= {"sha256": hashlib.sha256(content).hexdigest(), "size_in_bytes": len(content)}
        if placeholder and not path.is_symlink() and b"\0" not in content and placeholder.encode() in content:
            entry |= {"prefix_placeholder": placeholder, "file_mode": "text"}
        paths.append(entry)
    info = {"index.json": index, "paths.json": {"paths": paths, "paths_version": 1}, "about.json": {"summary": "repacked for a test"}}
    info |= {"link.json": link} if link else {}
    target = channel / subdir / f"{name}-{version}-{build}.tar.bz2"
    target.parent.mkdir(parents=True, exist_ok=True)
    with tarfile.open(target, "w:bz2", compresslevel=1) as archive:
        texts = {f"info/{key}": json.dumps(value) for key, value in info.items()} | {"info/files": "".join(f"{f}\n" for f in files)}
        for key, text in texts.items():
            member = tarfile.TarInfo(key)
            member.size = len(text.encode())
            archive.addfile(member, io.BytesIO(text.encode()))
        for file in files:
            archive.add(tree / file, file, recursive=False)
    content = target.read_bytes()
    sums = {"md5": hashlib.md5(content).hexdigest(), "sha256": hashlib.sha256(content).hexdigest(), "size": len(content)}
    for each in ("noarch", SUBDIR):
        repodata = channel / each / "repodata.json"
        repodata.parent.mkdir(parents=True, exist_ok=True)
        empty = {"info": {"subdir": each}, "packages": {}, "packages.conda": {}, "repodata_version": 1}
        known = json.loads(repodata.read_text()) if repodata.is_file() else empty
        if each == subdir:
            known["packages"][target.name] = index | sums
        repodata.write_text(json.dumps(known, indent=1))


def python(channel: Path, interpreter: str, tree: Path) -> None:
    """Repack a CPython, so that it finds its library wherever it is put."""
    code = "import sys, platform; print(sys.base_prefix, platform.python_version())"
    prefix, version = subprocess.run([interpreter, "-c", code], check=True, capture_output=True, text=True).stdout.split()
    short = "python" + ".".join(version.split(".")[:2])
    source = Path(prefix)
    (tree / "bin").mkdir(parents=True)
    shutil.copy2(source / "bin" / short, tree / "bin" / short)
    for name in ("python", "python3"):
        (tree / "bin" / name).symlink_to(short)
    library = source / "lib" / short
    for path in library.rglob("*"):
        inside = str(path.relative_to(library))
        if path.is_file() and "__pycache__" not in inside and not inside.startswith(LEFT_OUT) and path.suffix not in (".a", ".o"):
            (tree / "lib" / short / inside).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(path, tree / "lib" / short / inside)
    (tree / "lib" / short / "site-packages").mkdir(exist_ok=True)
    (tree / "lib" / short / "site-packages" / "README.txt").write_text("Packages.\n")
    for path in (source / "lib").glob(f"libpython{short[6:]}*.so*"):
        shutil.copy2(path, tree / "lib" / path.name, follow_symlinks=False)
    shutil.copytree(source / "include" / short, tree / "include" / short)
    programs = [tree / "bin" / short, *(p for p in (tree / "lib").glob("libpython*.so*") if not p.is_symlink())]
    for path in programs:
        subprocess.run(["strip", "--strip-debug", path], check=True)
    subprocess.run(["patchelf", "--set-rpath", "$ORIGIN/../lib", programs[0]], check=True)
    for path in programs[1:]:
        subprocess.run(["patchelf", "--set-rpath", "$ORIGIN", path], check=True)
    for path in (tree / "lib" / short / "lib-dynload").glob("*.so"):
        subprocess.run(["patchelf", "--set-rpath", "$ORIGIN/../..", path], check=True)
    # Compiled, as conda's is; but what holds the prefix is compiled where it is put.
    command = [interpreter, "-m", "compileall", "-q", "--invalidation-mode", "unchecked-hash", tree / "lib" / short]
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
    for path in (tree / "lib" / short / "__pycache__").glob("_sysconfigdata_*"):
        path.unlink()
    write(channel, tree, "python", version, placeholder=prefix)


def pip(channel: Path, version: str, tree: Path, wheels: Path) -> None:
    """Make a noarch package of PyPI's wheel of pip."""
    command = [sys.executable, "-m", "pip", "download", "--quiet", "--no-deps", "--only-binary=:all:", "--dest", wheels, f"pip=={version}"]
    subprocess.run(command, check=True)
    with zipfile.ZipFile(next(wheels.glob("pip-*.whl"))) as wheel:
        wheel.extractall(tree / "site-packages")
    (tree / "site-packages" / f"pip-{version}.dist-info" / "INSTALLER").write_text("conda\n")
    points = ["pip = pip._internal.cli.main:main", "pip3 = pip._internal.cli.main:main"]
    link = {"noarch": {"type": "python", "entry_points": points}, "package_metadata_version": 1}
    write(channel, tree, "pip", version, depends=["python >=3.9"], noarch=True, link=link)


def fastp(channel: Path, tree: Path) -> None:
    """Repack the fastp of this machine."""
    program = shutil.which("fastp")
    said = subprocess.run([program, "--version"], check=True, capture_output=True, text=True)
    version = re.search(r"fastp (\S+)", said.stdout + said.stderr)[1]
    (tree / "bin").mkdir(parents=True)
    (tree / "lib").mkdir()
    shutil.copy2(program, tree / "bin" / "fastp")
    libraries = subprocess.run(["ldd", program], check=True, capture_output=True, text=True).stdout
    for name, path in re.findall(r"(lib(?:isal|deflate)\S+) => (\S+)", libraries):
        shutil.copy2(path, tree / "lib" / name)
    subprocess.run(["patchelf", "--set-rpath", "$ORIGIN/../lib", tree / "bin" / "fastp"], check=True)
    write(channel, tree, "fastp", version)


def main(envs: Path, folder: Path, interpreter: str) -> None:
    """Build the channels."""
    listed = [entry for path in envs.glob("*.yaml") for entry in yaml.safe_load(path.read_text())["dependencies"]]
    pins = dict(entry.split("=", 1) for entry in listed if isinstance(entry, str))
    with tempfile.TemporaryDirectory() as name:
        scratch = Path(name)
        python(folder / "conda-forge", interpreter, scratch / "python")
        pip(folder / "conda-forge", pins["pip"], scratch / "pip", scratch / "wheels")
        fastp(folder / "bioconda", scratch / "fastp")


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]).resolve(), sys.argv[3])
