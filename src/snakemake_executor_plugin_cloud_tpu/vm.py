"""What a TPU VM runs as its startup-script: fetch one job, run it, tell of it, all through a bucket. Nothing but Python's own library.

The executor puts a line ``SETTINGS = {...}`` behind the shebang. The image's own Python runs this (3.10 on Ubuntu 22.04), as root, at every
boot of the VM; the job brings what it needs itself. If nobody deletes the VM when the job has ended, it deletes itself.
"""

import json
import os
import subprocess
import sys
import tarfile
import threading
import time
import traceback
import urllib.error
import urllib.parse
import urllib.request

ATTEMPTS = 8
TOKEN = "http://metadata.google.internal/computeMetadata/v1/instance/service-accounts/default/token"


class Google:
    """Questions to Google, or to what plays Google in a test, which is known by its http:// and wants no token."""

    def __init__(self):
        self.token, self.until = "", 0.0

    def ask(self, url, data=None, kind="application/octet-stream", method=None):
        """Return the answer; what may pass is asked again."""
        for attempt in range(ATTEMPTS):
            try:
                request = urllib.request.Request(url, data=data, headers={"Content-Type": kind}, method=method)
                if url.startswith("https:"):
                    request.add_header("Authorization", f"Bearer {self._access()}")
                with urllib.request.urlopen(request, timeout=120) as answer:
                    return answer.read()
            except OSError as error:  # urllib's own errors are of this kind
                refused = isinstance(error, urllib.error.HTTPError) and error.code < 500 and error.code not in (408, 429)
                if refused or attempt == ATTEMPTS - 1:
                    raise
                time.sleep(min(2.0**attempt, 30))
        raise AssertionError

    def _access(self):
        if time.time() > self.until:
            request = urllib.request.Request(TOKEN, headers={"Metadata-Flavor": "Google"})
            with urllib.request.urlopen(request, timeout=30) as answer:
                found = json.loads(answer.read())
            self.token, self.until = found["access_token"], time.time() + found["expires_in"] - 120
        return self.token


class Bucket:
    """One folder of a bucket, by the JSON interface of Google Cloud Storage."""

    def __init__(self, google, bucket, folder):
        self.google, self.bucket, self.folder = google, bucket, folder
        self.host = os.environ.get("STORAGE_EMULATOR_HOST") or "https://storage.googleapis.com"

    def _name(self, name):
        return urllib.parse.quote(f"{self.folder}/{name}", safe="")

    def get(self, name):
        """Return an object of the folder."""
        return self.google.ask(f"{self.host}/storage/v1/b/{self.bucket}/o/{self._name(name)}?alt=media")

    def put(self, name, content):
        """Store an object in the folder."""
        self.google.ask(f"{self.host}/upload/storage/v1/b/{self.bucket}/o?uploadType=media&name={self._name(name)}", content)


def send_log(bucket, vm, path, ended, interval):
    """Send what is new in the log as objects of ascending numbers, until the job has ended."""
    number, sent = 0, 0
    while True:
        last = ended.wait(interval)
        with open(path, "rb") as log:
            log.seek(sent)
            new = log.read()
        if new and not last:
            new = new[: new.rfind(b"\n") + 1]  # whole lines
        if new:
            try:
                bucket.put(f"{vm}/log/{number:06d}", new)
                number, sent = number + 1, sent + len(new)
            except OSError as error:  # next time
                print(f"the log could not be sent: {error}", file=sys.stderr)
        if last:
            return


def run(settings, bucket, log):
    """Run the job; return its exit status."""
    with open("job.tar.gz", "wb") as archive:
        archive.write(bucket.get("job.tar.gz"))
    with tarfile.open("job.tar.gz") as archive:
        archive.extractall("work")
    command = ["timeout", "--kill-after=60", str(settings["seconds"]), "bash", ".cloud-tpu/job.sh"]
    status = subprocess.run(command, cwd="work", stdout=log, stderr=subprocess.STDOUT, stdin=subprocess.DEVNULL).returncode
    if status == 124:
        log.write(f"the job took longer than its runtime of {settings['seconds'] // 60} minutes and was ended\n".encode())
        log.flush()
    return status


def pack(settings):
    """Return the job's outputs and logs, those that are there, as an archive."""
    with tarfile.open("result.tar.gz", "w:gz", compresslevel=1) as archive:
        for name in settings["results"]:
            if os.path.lexists(os.path.join("work", name)):
                archive.add(os.path.join("work", name), name)
    with open("result.tar.gz", "rb") as archive:
        return archive.read()


def attend(settings, bucket):
    """Run the job, and say how it ended."""
    ended, status = threading.Event(), 1
    with open("job.log", "wb", buffering=0) as log:
        teller = threading.Thread(target=send_log, args=(bucket, settings["vm"], "job.log", ended, settings["interval"]))
        teller.start()
        try:
            status = run(settings, bucket, log)
            bucket.put(f"{settings['vm']}/result.tar.gz", pack(settings))
        except Exception:  # noqa: BLE001 (whatever it is, the executor is to hear of it)
            status = status or 1
            log.write(traceback.format_exc().encode())
        finally:
            ended.set()
            teller.join()
    bucket.put(f"{settings['vm']}/exit.json", json.dumps({"status": status}).encode())


def main(settings):
    """Run one job, then wait to be deleted, and in the end do that."""
    os.environ.setdefault("HOME", "/root")  # a startup-script has none
    place = os.path.join(os.environ.get("TMPDIR", "/var/tmp"), "snakemake-cloud-tpu", settings["vm"])
    os.makedirs(place, exist_ok=True)
    os.chdir(place)
    google = Google()
    try:
        if not os.path.exists("started"):  # else the VM was started again and the job cut off: another VM goes on when this one is gone
            with open("started", "w"):
                pass
            attend(settings, Bucket(google, settings["bucket"], settings["folder"]))
    finally:
        time.sleep(settings["linger"])  # whoever reads the result deletes the VM
        try:
            google.ask(settings["address"], method="DELETE")
        except urllib.error.HTTPError as error:
            print(f"this VM cannot delete itself, its account needs a role for that (docs/cloud.md): {error}", file=sys.stderr)


if __name__ == "__main__":
    main(SETTINGS)  # type: ignore[name-defined]  # noqa: F821
