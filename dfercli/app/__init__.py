"""The browser app: upload a video, and see the expressions of the faces in it.

`examine` predicts a video and writes its files, and `html` renders them. `page`, `guard` and
`server` are the gradio page, its access control and its web server.
"""
