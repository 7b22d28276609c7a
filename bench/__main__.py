"""``python -m bench [NAME …]``: runs the benchmarks, all of them by default.

``KUBECONFIG`` has ``submissions`` and ``rows`` run once more on a real cluster. Each runs in a process of its own, because
Django's settings, and with them the database, are a process's for good.
"""

import argparse
import os
import subprocess
import sys
import time

from bench import lists, live, page, quota, report, rows, submissions

NAMES = ("submissions", "quota", "rows", "lists", "live", "page")
ON_REAL_CLUSTERS = ("submissions", "rows")


def main() -> int:
    parser = argparse.ArgumentParser(
        prog="python -m bench", description="Benchmarks; figures with ratios against references."
    )
    parser.add_argument("names", nargs="*", metavar="NAME", help=f"which: {', '.join(NAMES)} (all)")
    parser.add_argument("--small", action="store_true", help="small sizes, to see that everything runs")
    parser.add_argument("--here", action="store_true", help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    unknown = set(arguments.names) - set(NAMES)
    if unknown:
        parser.error(f"there is no benchmark {', '.join(sorted(unknown))}; there are {', '.join(NAMES)}")
    kubeconfig = os.environ.pop("KUBECONFIG", "")
    if arguments.here:
        _run(arguments.names[0], arguments.small, kubeconfig)
        return 0
    print(f"Machine: {report.machine()}", flush=True)
    failed = 0
    for name in arguments.names or NAMES:
        failed += _in_own_process(name, arguments.small, "")
        if kubeconfig and name in ON_REAL_CLUSTERS:
            print("\nOn the cluster that KUBECONFIG names:", flush=True)
            failed += _in_own_process(name, arguments.small, kubeconfig)
    return min(failed, 1)


def _in_own_process(name: str, small: bool, kubeconfig: str) -> int:
    command = [sys.executable, "-m", "bench", "--here", name, *(["--small"] if small else [])]
    began = time.monotonic()
    code = subprocess.run(command, env=os.environ | ({"KUBECONFIG": kubeconfig} if kubeconfig else {})).returncode
    print(f"({name}: {time.monotonic() - began:.0f} s)", flush=True)
    return code


def _run(name: str, small: bool, kubeconfig: str) -> None:
    if name == "submissions":
        submissions.main(kubeconfig=kubeconfig, count=40 if small else 400)
    elif name == "quota":
        quota.main(largest=1_000 if small else 10_000, count=60 if small else 600)
    elif name == "rows":
        rows.main(kubeconfig=kubeconfig, count=40 if small else 400)
    elif name == "lists":
        lists.main(largest=1_000 if small else 1_000_000)
    elif name == "live":
        live.main(jobs=300 if small else 10_000)
    else:
        page.main()


if __name__ == "__main__":
    sys.exit(main())
