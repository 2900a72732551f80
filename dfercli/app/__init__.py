"""The browser app: upload a video, see the expressions of the faces in it.

`examine` reads a video and writes the results; `html` renders them. `page`, `guard` and `server`
are the gradio page, its access control and its web server.
"""
