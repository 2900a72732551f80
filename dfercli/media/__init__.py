"""Images and videos in and out of files."""
