"""Deinterlacing by FFmpeg's bwdif filter."""

from collections.abc import Iterator

import av
from av.filter import Graph

FILTER = ("bwdif", "mode=send_frame:parity=auto:deint=interlaced")
"""FFmpeg's filter: one frame of the two fields, frames that are not interlaced as they are."""


def deinterlace(frames: Iterator[av.VideoFrame]) -> Iterator[av.VideoFrame]:
    """Yield frames unchanged until the first interlaced one, and filtered ones from there on."""
    graph: Graph | None = None
    form: tuple[int, int, str] | None = None
    for frame in frames:
        now = (frame.width, frame.height, frame.format.name)
        if graph is not None and now != form:
            yield from _drain(graph)
            graph = None
        if graph is None:
            if not frame.interlaced_frame:
                yield frame
                continue
            graph, form = _make_graph(frame), now
        graph.push(frame)
        yield from _pull(graph)
    if graph is not None:
        yield from _drain(graph)


def _make_graph(frame: av.VideoFrame) -> Graph:
    graph = Graph()
    source = graph.add_buffer(
        width=frame.width, height=frame.height, format=frame.format, time_base=frame.time_base
    )
    graph.link_nodes(source, graph.add(*FILTER), graph.add("buffersink")).configure()
    return graph


def _drain(graph: Graph) -> Iterator[av.VideoFrame]:
    """Yield the frames that the filter still buffers."""
    graph.push(None)
    yield from _pull(graph)


def _pull(graph: Graph) -> Iterator[av.VideoFrame]:
    while True:
        try:
            frame = graph.vpull()
        except (av.BlockingIOError, av.EOFError):
            return
        yield frame
