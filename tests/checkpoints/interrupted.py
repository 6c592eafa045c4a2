"""A Ctrl-C at a chosen moment, the same each time."""

import dis
import gc
import sys

# After these instructions Python looks whether there was a signal; between others none comes through.
_LOOKS = ("CALL", "RESUME", "JUMP_BACKWARD")
_SWALLOW = ("weakref", "_weakrefset")  # what is raised there, when something is freed, Python prints and forgets


def interrupted(call, moment, within=None):
    """Make the call, with a Ctrl-C at number `moment` of those at which one can come; whether there are so many.

    Meanwhile no garbage is collected: a Ctrl-C in someone's gc callback (hypothesis has one) is printed and forgotten.

    within   the code of the only function whose moments count
    """
    count, before = 0, {}

    def trace(frame, event, argument):
        nonlocal count
        if frame.f_globals.get("__name__") in _SWALLOW or (within is not None and frame.f_code is not within):
            return trace
        frame.f_trace_opcodes = True
        if event == "opcode":
            count += before.get(frame, "").startswith(_LOOKS)
            before[frame] = dis.opname[frame.f_code.co_code[frame.f_lasti]]
            if count == moment:
                raise KeyboardInterrupt
        return trace

    tracing, collects = sys.gettrace(), gc.isenabled()
    gc.disable()
    sys.settrace(trace)
    try:
        call()
    except KeyboardInterrupt:
        return True
    finally:
        sys.settrace(tracing)
        if collects:
            gc.enable()
    return False
