"""Pictures of predictions: timelines, and copies of videos with boxes around the faces."""
