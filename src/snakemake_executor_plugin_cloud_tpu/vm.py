"""Startup script of a TPU VM: downloads a job from a bucket, runs it, and uploads log, results and exit status. Standard library only.

The executor inserts a line ``SETTINGS = {...}`` after the shebang. The image's Python (3.10 on Ubuntu 22.04) runs the script as root at
every boot; the job installs its own dependencies. The VM deletes itself if it still exists some time after the job has ended.
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
    """HTTP client for Google's APIs, or for a test server (http://), which needs no access token."""

    def __init__(self):
        self.token, self.until = "", 0.0

    def ask(self, url, data=None, kind="application/octet-stream", method=None):
        """Send a request and return the response body; transient errors are retried."""
        for attempt in range(ATTEMPTS):
            try:
                request = urllib.request.Request(url, data=data, headers={"Content-Type": kind}, method=method)
                if url.startswith("https:"):
                    request.add_header("Authorization", f"Bearer {self._access()}")
                with urllib.request.urlopen(request, timeout=120) as answer:
                    return answer.read()
            except OSError as error:  # base class of urllib's errors
                refused = isinstance(error, urllib.error.HTTPError) and error.code < 500 and error.code not in (408, 429)
                if refused or attempt == ATTEMPTS - 1:
                    raise
                time.sleep(min(2.0**attempt, 30))
        raise AssertionError

    def _access(self):
        if time.time() > self.until:
            request = urllib.request.Request(TOKEN, headers={"Metadata-Flavor": "Google"})
            with urllib.request.urlopen(request, timeout=30) as answer:
                credentials = json.loads(answer.read())
            self.token, self.until = credentials["access_token"], time.time() + credentials["expires_in"] - 120
        return self.token


class Bucket:
    """A folder of a bucket, accessed by the JSON API of Google Cloud Storage."""

    def __init__(self, google, bucket, folder):
        self.google, self.bucket, self.folder = google, bucket, folder
        self.host = os.environ.get("STORAGE_EMULATOR_HOST") or "https://storage.googleapis.com"

    def _name(self, name):
        return urllib.parse.quote(f"{self.folder}/{name}", safe="")

    def get(self, name):
        """Return the content of an object in the folder."""
        return self.google.ask(f"{self.host}/storage/v1/b/{self.bucket}/o/{self._name(name)}?alt=media")

    def put(self, name, content):
        """Store an object in the folder."""
        self.google.ask(f"{self.host}/upload/storage/v1/b/{self.bucket}/o?uploadType=media&name={self._name(name)}", content)


def send_log(bucket, vm, path, ended, interval):
    """Upload new log lines as consecutively numbered objects until the job has ended."""
    number, sent = 0, 0
    while True:
        last = ended.wait(interval)
        with open(path, "rb") as log:
            log.seek(sent)
            new = log.read()
        if new and not last:
            new = new[: new.rfind(b"\n") + 1]  # complete lines only
        if new:
            try:
                bucket.put(f"{vm}/log/{number:06d}", new)
                number, sent = number + 1, sent + len(new)
            except OSError as error:  # retried at the next interval
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
    """Return an archive of the job's existing outputs and logs. Links are followed, because the executor takes plain files only."""
    with tarfile.open("result.tar.gz", "w:gz", compresslevel=1, dereference=True) as archive:
        for name in settings["results"]:
            if os.path.lexists(os.path.join("work", name)):
                archive.add(os.path.join("work", name), name)
    with open("result.tar.gz", "rb") as archive:
        return archive.read()


def attend(settings, bucket):
    """Run the job, and upload its log, results and exit status."""
    ended, status = threading.Event(), 1
    with open("job.log", "wb", buffering=0) as log:
        teller = threading.Thread(target=send_log, args=(bucket, settings["vm"], "job.log", ended, settings["interval"]))
        teller.start()
        try:
            status = run(settings, bucket, log)
            bucket.put(f"{settings['vm']}/result.tar.gz", pack(settings))
        except Exception:  # noqa: BLE001 (every error is reported to the executor)
            status = status or 1
            log.write(traceback.format_exc().encode())
        finally:
            ended.set()
            teller.join()
    bucket.put(f"{settings['vm']}/exit.json", json.dumps({"status": status}).encode())


def main(settings):
    """Run one job; then wait, and delete this VM if the executor has not."""
    os.environ.setdefault("HOME", "/root")  # not set in startup scripts
    place = os.path.join(os.environ.get("TMPDIR", "/var/tmp"), "snakemake-cloud-tpu", settings["vm"])
    os.makedirs(place, exist_ok=True)
    os.chdir(place)
    google = Google()
    try:
        if not os.path.exists("started"):  # otherwise the VM was rebooted during the job; a new VM will resume it
            with open("started", "w"):
                pass
            attend(settings, Bucket(google, settings["bucket"], settings["folder"]))
    finally:
        time.sleep(settings["linger"])  # the executor normally deletes the VM during this time
        try:
            google.ask(settings["address"], method="DELETE")
        except urllib.error.HTTPError as error:
            print(f"this VM cannot delete itself: its service account lacks the role for that (docs/cloud.md): {error}", file=sys.stderr)


if __name__ == "__main__":
    main(SETTINGS)  # type: ignore[name-defined]  # noqa: F821
