"""Commands: ``python -m snakemake_executor_plugin_cloud_tpu list|sweep --project PROJECT --zones ZONES``."""

import argparse
import sys
from collections.abc import Sequence

from snakemake_executor_plugin_cloud_tpu import ExecutorSettings, control


def main(arguments: Sequence[str] | None = None) -> int:
    """List or delete VMs; return 0, or 1 if one could not be deleted."""
    parser = argparse.ArgumentParser(
        prog="snakemake_executor_plugin_cloud_tpu", description="List or delete TPU VMs created by the executor."
    )
    parser.add_argument("command", choices=["list", "sweep"], help="list the VMs, or delete all of them, including those of active runs")
    parser.add_argument("--project", required=True)
    parser.add_argument("--zones", required=True, help="'europe-west4-a us-east5-b'")
    parser.add_argument("--yes", action="store_true", help="delete; without this option, sweep only lists what it would delete")
    parser.add_argument("--compute-endpoint", default=ExecutorSettings.compute_endpoint, help="URL of the API; another one for tests")
    parser.add_argument("--tpu-endpoint", default=ExecutorSettings.tpu_endpoint, help="URL of the API; another one for tests")
    options = parser.parse_args(arguments)
    settings = ExecutorSettings(
        project=options.project, zones=options.zones, compute_endpoint=options.compute_endpoint, tpu_endpoint=options.tpu_endpoint
    )
    failed = count = 0
    for plane in (control.ComputeEngine(settings), control.QueuedResources(settings)):
        for zone in settings.zone_list():
            for vm in plane.find(zone):
                count += 1
                print(f"{vm.machine.name} in {zone}: {vm.kind}, {vm.state}, since {vm.created}", end="")
                if options.command == "sweep" and options.yes:
                    try:
                        plane.delete(vm.machine)
                        print(": deleted", end="")
                    except Exception as error:  # noqa: BLE001 (continue with the other VMs)
                        failed += 1
                        print(f": NOT DELETED: {error}", end="")
                elif options.command == "sweep":
                    print(": would be deleted (--yes)", end="")
                print()
    if not count:
        print("no VMs of the executor in these zones")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
