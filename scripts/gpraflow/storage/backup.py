"""Copies of training checkpoints in a bucket, so that another machine can resume training."""

from pathlib import Path

from gpraflow.core import checksums, files
from gpraflow.core.errors import GpraflowError
from gpraflow.storage.connect import connect


class Backup:
    """Copies of checkpoint files in a bucket, so that interrupted training can resume on another machine.

    Parameters
    ----------
    url
        URL of the bucket, as in `upload`.
    folder
        Folder of the files in the bucket.
    """

    def __init__(self, url: str, folder: str):
        self.bucket = connect(f"{url.rstrip('/')}/{folder}")
        self._works = False

    def fetch(self, name: str, path: Path) -> bool:
        """Download a file from the bucket; return whether it exists there.

        Raises
        ------
        GpraflowError
            If the bucket cannot be read.
        """
        if self.bucket.find(name) is None:
            return False
        with files.whole(path) as temporary:
            temporary.write_bytes(self.bucket.get(name))
        return True

    def keep(self, name: str, path: Path) -> None:
        """Copy a file to the bucket.

        Raises
        ------
        GpraflowError
            If the first copy cannot be written. Later failures only print a warning, so that training continues.
        """
        try:
            self.bucket.put(name, path, checksums.crc32c_of(path), self.bucket.find(name))
        except GpraflowError as error:
            if not self._works:
                raise
            print(f"this checkpoint was not copied, training continues: {error}", flush=True)
        self._works = True
