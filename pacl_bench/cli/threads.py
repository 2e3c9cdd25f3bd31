"""Settings of OpenMP, which must stand before torch is imported."""

from collections.abc import MutableMapping

from pacl_bench.cores import container_share, cores

# How often a thread that waits looks whether there is work before it sleeps. GNU's OpenMP, which torch brings, looks
# millions of times: beside other busy processes that takes the time from the thread that is waited for. The passes of
# a small transformer took 8.1 s with two such threads on two busy cores, 4.6 s with one thread, 2.6 to 3.8 s so.
SPINS = "1000"


def set_up_threads(environment: MutableMapping[str, str]) -> None:
    """Waiting threads sleep soon, and in a container there are as many as it has cores, where torch would count those
    of the machine; unless the user set OpenMP up in any way.
    """
    if any(name.startswith(("OMP_", "GOMP_")) for name in environment):
        return
    environment["GOMP_SPINCOUNT"] = SPINS
    if container_share():
        environment["OMP_NUM_THREADS"] = str(cores())
