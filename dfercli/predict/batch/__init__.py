"""Prediction of any number of videos."""
