"""Two OpenVINO cores, then a signal: unless the newer core ended first, SIGSEGV or overwritten memory. No mar-edge in it.

python docs/results/openvino_signal_stack.py
"""

from __future__ import annotations

import mmap
import os
import signal
import threading


def two_cores_then_a_signal(end: str) -> None:
    """End two cores in the way that `end` says, then handle a signal."""
    import openvino

    cores = [openvino.Core(), openvino.Core()]
    for core in cores:
        core.get_property("CPU", "FULL_DEVICE_NAME")  # loads the CPU's plugin, which sets an alternate signal stack
    if end.startswith("the older core ends first"):
        del cores[0], cores[0], core
    elif end == "the newer core ends first":
        del core, cores[1], cores[0]
    elif end == "they end in another thread":
        del core
        thread = threading.Thread(target=cores.clear)
        thread.start()
        thread.join()
    ours = [mmap.mmap(-1, 12288) for _ in range(400 if end.endswith("memory is asked for") else 0)]  # all zeros
    signal.signal(signal.SIGUSR1, lambda *_: None)  # handled as Ctrl-C is
    signal.raise_signal(signal.SIGUSR1)
    print(
        f"{end}: handled, {sum(12288 - block[:].count(0) for block in ours)} bytes of our memory overwritten",
        flush=True,
    )


ENDS = ["neither ends", "the newer core ends first", "the older core ends first", "they end in another thread"]
for end in [*ENDS, "the older core ends first, then memory is asked for"]:
    child = os.fork()
    if not child:
        two_cores_then_a_signal(end)
        os._exit(0)
    if code := os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]):
        print(f"{end}: {signal.Signals(-code).name if code < 0 else code}")
