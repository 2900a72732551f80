"""A page in the browser: give it a video, see the expressions of the faces in it.

`examine` does what the button does and knows no page; `words` has what is said on it; `page` builds
it and `server` lets it be reached, the only modules that know gradio.
"""
