"""A page in the browser: give it a video, see the expressions of the faces in it.

`examine` does what the button does and knows no page; `page` builds the page and is the only
module that knows gradio; `server` lets it be reached.
"""
