"""Checkpoints of a training, copied to a bucket so that another machine can resume it."""

from pathlib import Path

from gpraflow.core import files
from gpraflow.core.errors import GpraflowError
from gpraflow.storage.connect import connect


class Backup:
    """Copies of files that a program goes on from after it was killed, in a bucket: so that it can be on another machine.

    Parameters
    ----------
    url
        Bucket, as in `upload`.
    folder
        Of these files, in the bucket.
    """

    def __init__(self, url: str, folder: str):
        self.bucket = connect(f"{url.rstrip('/')}/{folder}")
        self._works = False

    def fetch(self, name: str, path: Path) -> bool:
        """Bring a file here; return whether there is a copy of it.

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
            If the first copy cannot be written. That a later one cannot is printed: a copy is not worth the work that it is of.
        """
        try:
            self.bucket.put(name, path, files.crc32c_of(path), self.bucket.find(name))
        except GpraflowError as error:
            if not self._works:
                raise
            print(f"this checkpoint was not copied, training continues: {error}", flush=True)
        self._works = True
