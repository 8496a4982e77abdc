# Sourced on the VM before the job, in the folder with the workflow: brings Python 3.12 and all of requirements/gpraflow-tpu.lock.
# (VM_PYTHON: another one, 3.11 to 3.13.) For Google's TPU images of Ubuntu 22.04, whose own Python is 3.10. Runs as root, without a home of its own and with little on the PATH.
export DEBIAN_FRONTEND=noninteractive PIP_DISABLE_PIP_VERSION_CHECK=1
if ! command -v uv >/dev/null; then
    if ! python3 -m pip --version >/dev/null 2>&1; then
        apt-get update --quiet
        apt-get install --quiet --yes python3-pip
    fi
    python3 -m pip install --quiet --target "$PWD/.cloud-tpu/uv" uv==0.13.9
    export PATH="$PWD/.cloud-tpu/uv/bin:$PATH"
fi
uv venv --quiet --python "${VM_PYTHON:-3.12}" .cloud-tpu/venv
uv pip install --quiet --python .cloud-tpu/venv/bin/python --require-hashes --requirement requirements/gpraflow-tpu.lock
export PATH="$PWD/.cloud-tpu/venv/bin:$PATH"
python -c 'import jax, sys; print("devices:", jax.devices()); sys.exit(jax.default_backend() != "tpu" and "no TPU is seen on this VM: wrong image?")'
