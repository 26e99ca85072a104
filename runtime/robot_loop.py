"""Recognition inside a loop that you own: here a robot that checks whether it really turns as it was told.

    python runtime/robot_loop.py

The frames come from the demo camera; put your own camera and clock in its place.
"""

from __future__ import annotations

import mar_edge


def main() -> None:
    """Push frames, and say when what the camera does changes."""
    model = mar_edge.load("egomotion", threads=1)  # leave the other cores to the robot
    session = model.session(stream="head camera")
    before = None
    with mar_edge.Reading(mar_edge.DemoSource(realtime=False)) as camera:
        for frame in camera:
            for warning in session.warnings.take():  # gaps, a camera that is too slow: the newest 100 are kept
                print(f"warning: {warning}")
            try:
                result = session.push(frame.picture, frame.time_s, color=frame.color)
            except mar_edge.FrameError as error:  # a broken frame costs itself, nothing more
                print(f"frame refused: {error}")
                continue
            if result is None:  # the window is not full, or not enough is new
                continue
            if result.reliable and result.label != before:
                print(f"{result.time_s:6.2f} s  the camera does: {result.label} ({result.score:.0%})")
                before = result.label
            tell(result.events)
    tell(session.finish())  # what had not ended yet


def tell(events: tuple[mar_edge.Event, ...]) -> None:
    """Print the events that ended."""
    for event in events:
        if isinstance(event, mar_edge.EventEnded):
            print(f"{event.end_s:6.2f} s  it did: {event.label} from {event.start_s:.2f} s")


if __name__ == "__main__":
    main()
